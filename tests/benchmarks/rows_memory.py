"""Rows about memory: of a session that does nothing, and of a reply that never ends."""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import time
from contextlib import AsyncExitStack
from pathlib import Path

import rshell
from tests.benchmarks.bench import Bench
from tests.benchmarks.measure import MIB, memory, size_text
from tests.benchmarks.result import Result, at_most
from tests.benchmarks.servers import RshellServer

_CONNECTING = 16  # at once


def idle_session(bench: Bench) -> list[Result]:
    """Hold many sessions open that do nothing."""
    with bench.fresh_server("idle") as server:
        count = min(bench.effort.sessions, _descriptors() - 100)
        each, cpu = asyncio.run(_hold(server, count, *bench.effort.idle_seconds))
    return [
        Result(
            f"idle session over TLS, each of {count}",
            f"{each / 1024:.1f} KiB",
            "",
            at_most(48, "KiB"),
            each / 1024,
        ),
        Result(f"CPU of {count} idle sessions", f"{cpu:.1f} %", "", at_most(2, "%"), cpu),
    ]


async def _hold(
    server: RshellServer, count: int, settling: float, idle: float
) -> tuple[float, float]:
    """Return bytes a session and the share of a CPU in percent that `count` of them take."""
    turns = asyncio.Semaphore(_CONNECTING)
    async with AsyncExitStack() as stack:

        async def open_one() -> None:
            async with turns:
                await stack.enter_async_context(rshell.connect(server.address, token=server.token))

        # What the first sessions cost is the server's: modules, buffers, pools.
        await asyncio.gather(*(open_one() for _ in range(_CONNECTING)))
        before = memory(server.pid)
        await asyncio.gather(*(open_one() for _ in range(count)))
        await asyncio.sleep(settling)  # the last acknowledgement follows within a second
        each = (memory(server.pid) - before) / count
        used = _cpu_seconds(server.pid)
        await asyncio.sleep(idle)
        used = _cpu_seconds(server.pid) - used
    return each, used / idle * 100


def large_reply(bench: Bench) -> list[Result]:
    """Pass a reply through that is larger than any memory should be."""
    size = bench.effort.reply
    with bench.fresh_server("reply") as server:
        argv = server.command(f"head -c {size} /dev/zero")
        client = 0
        with subprocess.Popen(argv, env=server.env, stdout=subprocess.DEVNULL) as process:
            while process.poll() is None:
                client = max(client, memory(process.pid, "VmHWM"))
                time.sleep(0.01)
        assert process.returncode == 0
        peak = memory(server.pid, "VmHWM")
    what = f"peak memory for a reply of {size_text(size)}"
    return [
        Result(f"{what}, {end}", f"{held / MIB:.1f} MiB", "", at_most(40, "MiB"), held / MIB)
        for end, held in (("server", peak), ("client", client))
    ]


def _cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used, 0 where the system tells none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _descriptors() -> int:
    """Return how many descriptors this process may hold, after asking for all it can have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most
