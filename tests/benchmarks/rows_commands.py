"""Rows about short commands: how long it takes to start, connect, and run next to nothing."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from statistics import median

from rshell.channels.process.server import user_shell
from tests.benchmarks.bench import Bench
from tests.benchmarks.measure import in_turns, run_quietly
from tests.benchmarks.result import Result, at_most
from tests.benchmarks.servers import Sshd


def one_shot(bench: Bench) -> list[Result]:
    """Run a whole client process, on a new link, for one command."""
    server = bench.server
    over_tls, over_unix = server.command("true"), server.command("true", address=server.unix)
    works: list[Callable[[], object]] = [
        lambda: run_quietly(over_tls, env=server.env),
        lambda: run_quietly(over_unix, env=server.env),
    ]
    if bench.sshd is not None:
        ssh = bench.sshd.command("true")
        works.append(lambda: run_quietly(ssh))
    times = in_turns(works, bench.effort.starts)
    beside = f"ssh {_ms(times[2])}" if len(times) > 2 else ""
    ratio = [time / times[2] for time in times[:2]] if len(times) > 2 else [None, None]
    return [
        Result("rshell -c true, TLS", _ms(times[0]), beside, at_most(0.6, "of ssh"), ratio[0]),
        Result("rshell -c true, Unix socket", _ms(times[1]), beside, None, ratio[1]),
    ]


def run_true(bench: Bench) -> list[Result]:
    """Run `true` again and again on an open session, by the user's shell and without one."""
    repeats = bench.effort.repeats
    by_shell, alone = [user_shell(os.environ), "-c", "true"], ["true"]
    spawned, spawned_alone = (median(_times_of_spawn(argv, repeats)) for argv in (by_shell, alone))
    took = asyncio.run(_over_session(bench, "true", repeats))
    took_alone = asyncio.run(_over_session(bench, alone, repeats))
    beside = f"a spawn of that shell {_ms(spawned)}"
    if bench.sshd is not None:
        with _control_master(bench.sshd) as ssh:
            (shared,) = in_turns([lambda: run_quietly(ssh)], bench.effort.starts)
        beside += f"; ssh ControlMaster {_ms(shared)}"
    bound, beside_alone = at_most(1.4, "ms"), f"a spawn {_ms(spawned_alone)}"
    return [
        Result('run("true"), open session', _ms(took), beside, bound, took * 1e3),
        Result('run(["true"]), no shell', _ms(took_alone), beside_alone, bound, took_alone * 1e3),
    ]


def builtin(bench: Bench) -> list[Result]:
    """Run a builtin of a persistent shell."""

    async def measure() -> float:
        async with bench.connect() as client, client.open_shell() as shell:
            return await _median(lambda: shell.run(":"), bench.effort.repeats)

    took = asyncio.run(measure())
    bound = at_most(0.4, "ms")
    return [Result("builtin in a persistent shell", _ms(took), "", bound, took * 1e3)]


def at_once(bench: Bench) -> list[Result]:
    """Run many commands at the same time in one session."""
    count = bench.effort.at_once

    async def measure() -> float:
        async with bench.connect() as client:

            async def all_of_them() -> None:
                await asyncio.gather(*(client.run("true", check=True) for _ in range(count)))

            return await _median(all_of_them, bench.effort.rounds) / count

    took = asyncio.run(measure())
    bound = at_most(1.2, "ms each")
    return [Result(f"{count} commands at once, each", _ms(took), "", bound, took * 1e3)]


def connect(bench: Bench) -> list[Result]:
    """Connect, agree on keys, and log in."""

    async def measure() -> list[float]:
        samples = []
        for _ in range(bench.effort.repeats // 4 + 1):
            start = time.perf_counter()
            client = await bench.connect()
            samples.append(time.perf_counter() - start)
            await client.close()
        return samples

    took = median(asyncio.run(measure()))
    return [Result("connect, TLS and login", _ms(took), "", at_most(10, "ms"), took * 1e3)]


async def _over_session(bench: Bench, command: str | list[str], repeats: int) -> float:
    async with bench.connect() as client:
        return await _median(lambda: client.run(command, check=True), repeats)


async def _median(work: Callable[[], Awaitable[object]], repeats: int) -> float:
    await work()
    samples = []
    for _ in range(repeats):
        start = time.perf_counter()
        await work()
        samples.append(time.perf_counter() - start)
    return median(samples)


def _times_of_spawn(argv: list[str], repeats: int) -> Iterator[float]:
    """Yield how long the same command takes without any server."""
    for _ in range(repeats):
        start = time.perf_counter()
        subprocess.run(argv, check=True, start_new_session=True)
        yield time.perf_counter() - start


@contextmanager
def _control_master(sshd: Sshd) -> Iterator[list[str]]:
    """Hold an ssh connection open; the value is the argv of a `true` that shares it."""
    path = f"{sshd.directory}/control"
    with subprocess.Popen(sshd.command("cat", "-M", "-S", path), stdin=subprocess.PIPE) as master:
        try:
            check = sshd.command("true", "-S", path, "-O", "check")[:-1]
            for _ in range(200):
                if not subprocess.run(check, capture_output=True, check=False).returncode:
                    break
                time.sleep(0.02)
            yield sshd.command("true", "-S", path)
        finally:
            master.terminate()


def _ms(duration: float) -> str:
    return f"{duration * 1e3:.3g} ms"
