"""Rows about much data: how fast it moves, near and far."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Callable

from tests.benchmarks.bench import Bench
from tests.benchmarks.measure import in_turns, rate, run_fed, run_quietly, size_text
from tests.benchmarks.proxy import delayed, own_rate
from tests.benchmarks.result import Bound, Result, at_least
from tests.benchmarks.servers import HOST

_GCM = ("-c", "aes128-gcm@openssh.com")
_ONE_WAY = 0.05


def output(bench: Bench) -> list[Result]:
    """Read a large reply over TLS: the command line's, the API's, and ssh's."""
    server, size = bench.server, bench.effort.output
    command = f"head -c {size} /dev/zero"
    by_command = server.command(command)
    works: list[Callable[[], object]] = [
        lambda: run_quietly(by_command, env=server.env),
        lambda: asyncio.run(_stream(bench, server.address, command, size)),
    ]
    if bench.sshd is not None:
        default, gcm = bench.sshd.command(command), bench.sshd.command(command, *_GCM)
        works += [lambda: run_quietly(default), lambda: run_quietly(gcm)]
    rates = [rate(size, took) for took in in_turns(works, bench.effort.rounds)]
    results = []
    for name, mine in zip(("rshell -c", "API"), rates[:2]):
        what = f"{size_text(size)} of output, TLS, {name}"
        results += _against_ssh(what, mine, rates[2:], at_least(1.2, "of ssh"))
    return results


def output_unix(bench: Bench) -> list[Result]:
    """Read a large reply over a Unix socket, beside a pipe."""
    server, size = bench.server, bench.effort.output
    command = f"head -c {size} /dev/zero"
    by_command = server.command(command, address=server.unix)
    pipe, mine, api = in_turns(
        [
            lambda: run_quietly(["sh", "-c", f"{command} | cat > /dev/null"]),
            lambda: run_quietly(by_command, env=server.env),
            lambda: asyncio.run(_stream(bench, server.unix, command, size)),
        ],
        bench.effort.rounds,
    )
    beside = f"head | cat {_mb(rate(size, pipe))}"
    return [
        Result(
            f"{size_text(size)} of output, Unix socket, {name}",
            _mb(rate(size, took)),
            beside,
            at_least(0.75, "of head | cat"),
            pipe / took,
        )
        for name, took in (("rshell -c", mine), ("API", api))
    ]


def input(bench: Bench) -> list[Result]:
    """Send a large stdin over TLS."""
    server, size = bench.server, bench.effort.input
    command = "cat > /dev/null"
    by_command = server.command(command)
    works: list[Callable[[], object]] = [lambda: run_fed(by_command, size, env=server.env)]
    if bench.sshd is not None:
        default, gcm = bench.sshd.command(command), bench.sshd.command(command, *_GCM)
        works += [lambda: run_fed(default, size), lambda: run_fed(gcm, size)]
    rates = [rate(size, took) for took in in_turns(works, bench.effort.rounds)]
    what = f"{size_text(size)} of input, TLS, rshell -c"
    return _against_ssh(what, rates[0], rates[1:], at_least(1.0, "of ssh"))


def far_away(bench: Bench) -> list[Result]:
    """Read one channel over a link with a round trip of 100 ms and no limit to its rate."""
    size, ssh_size = bench.effort.delayed, bench.effort.delayed_ssh
    carried = own_rate(size, _ONE_WAY)
    with delayed(bench.server.port, _ONE_WAY) as port:
        address = f"{HOST}:{port}"
        whole, last = asyncio.run(_far_stream(bench, address, size))
    beside = f"the proxy alone {_mb(carried)}"
    if bench.sshd is not None:
        with delayed(bench.sshd.port, _ONE_WAY) as port:
            argv = bench.sshd.command(f"head -c {ssh_size} /dev/zero", port=port)
            start = time.perf_counter()
            subprocess.run(argv, stdout=subprocess.DEVNULL, check=True)
            beside += f"; ssh {_mb(rate(ssh_size, time.perf_counter() - start))}"
    bound = at_least(100, "MB/s")
    what = f"100 ms round trip, {size_text(size)}"
    return [
        Result(f"{what}, the whole", _mb(whole), beside, bound, whole),
        Result(f"{what}, second half", _mb(last), beside, bound, last),
    ]


async def _stream(bench: Bench, address: str, command: str, size: int) -> None:
    async with bench.connect(address) as client, client.open_process(command) as process:
        received = 0
        async for block in process.stdout:
            received += len(block)
        assert received == size


async def _far_stream(bench: Bench, address: str, size: int) -> tuple[float, float]:
    """Return megabytes a second of the whole reply, and of its second half."""
    async with (
        bench.connect(address) as client,
        client.open_process(f"head -c {size} /dev/zero") as process,
    ):
        start = half = time.perf_counter()
        received = 0
        async for block in process.stdout:
            if received < size // 2 <= received + len(block):
                half = time.perf_counter()
            received += len(block)
        end = time.perf_counter()
    return rate(size, end - start), rate(size // 2, end - half)


def _against_ssh(what: str, mine: float, ssh: list[float], bound: Bound) -> list[Result]:
    """Return a line beside ssh's default cipher and one beside its fastest."""
    if not ssh:
        return [Result(what, _mb(mine), "", bound)]
    default, gcm = ssh
    fastest = at_least(1.0, "of ssh gcm")
    return [
        Result(what, _mb(mine), f"ssh {_mb(default)}", bound, mine / default),
        Result(what, _mb(mine), f"ssh aes128-gcm {_mb(gcm)}", fastest, mine / gcm),
    ]


def _mb(rate: float) -> str:
    return f"{rate:.0f} MB/s"
