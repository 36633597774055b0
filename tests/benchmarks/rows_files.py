"""Rows about files: one large file and many small ones, beside what people use else.

Files live where memory does (/dev/shm, where there is one): a disk's own moods are no part of what
is compared.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.benchmarks.bench import Bench
from tests.benchmarks.measure import MIB, in_turns, memory, peak, rate, run_quietly, size_text
from tests.benchmarks.proxy import delayed
from tests.benchmarks.result import Bound, Result, at_most
from tests.benchmarks.servers import HOST, program

_SMALL = 4096
_IN_DIRECTORY = 500
_ONE_WAY = 0.05
_SHELL = ["sh", "-c"]


@contextmanager
def _room() -> Iterator[Path]:
    where = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with TemporaryDirectory(prefix="rshell-benchmark-", dir=where) as name:
        yield Path(name)


def _make_tree(root: Path, count: int) -> Path:
    for number in range(count):
        directory = root / f"d{number // _IN_DIRECTORY}"
        if number % _IN_DIRECTORY == 0:
            directory.mkdir(parents=True)
        (directory / f"f{number}").write_bytes(os.urandom(_SMALL))
    return root


def _cp(*arguments: str) -> list[str]:
    return [*program("rshell-cp"), *arguments]


def _fresh(target: Path, argv: list[str], env: dict[str, str] | None) -> Callable[[], None]:
    def work() -> None:
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        run_quietly(argv, env=env)

    return work


def _over_ssh(bench: Bench, source: Path, target: Path) -> dict[str, list[str]]:
    """Return what copies `source` into `target` over ssh, of the programs that are here."""
    if bench.sshd is None:
        return {}
    *ssh, login, _ = bench.sshd.command("")
    options = [word if word != "-p" else "-P" for word in ssh[1:]]
    untar = shlex.join([*ssh, login, f"tar x -C {target}"])
    sftp = shlex.join(["sftp", "-q", "-b", "-", *options, login])
    commands = {
        "scp": ["scp", "-q", "-r", *options, str(source), f"{login}:{target}"],
        "sftp": [*_SHELL, f"echo put -r {source} {target} | {sftp}"],
        "rsync": ["rsync", "-a", "-e", shlex.join(ssh), str(source), f"{login}:{target}"],
        "tar": [*_SHELL, f"tar c -C {source.parent} {source.name} | {untar}"],
    }
    return {name: argv for name, argv in commands.items() if shutil.which(name)}


def _beside(
    what: str, figure: str, took: float, others: dict[str, tuple[str, float]], scp: Bound
) -> list[Result]:
    """Return a row beside each of the others, which are a figure and a time."""
    return [
        Result(
            what,
            figure,
            f"{name} over ssh {shown}" if name != "scp" else f"scp {shown}",
            scp if name == "scp" else None,
            took / seconds,
        )
        for name, (shown, seconds) in others.items()
    ]


def large_file(bench: Bench) -> list[Result]:
    """Send and fetch one large file over TLS, beside a remote cat and what goes over ssh."""
    size, server = bench.effort.file, bench.server
    results = []
    with _room() as room:
        source, target = room / "source", room / "target"
        with source.open("wb") as file:
            for _ in range(size // MIB):
                file.write(os.urandom(MIB))
        cat_up = shlex.join(server.command(f"cat > {target}/f")) + f" < {source}"
        cat_down = shlex.join(server.command(f"cat {source}")) + f" > {target}/f"
        remote = f"{server.address}:"
        others = _over_ssh(bench, source, target)
        works = [
            _fresh(target, [*_SHELL, cat_up], server.env),
            _fresh(target, _cp(str(source), f"{remote}{target}/f"), server.env),
            _fresh(target, [*_SHELL, cat_down], server.env),
            _fresh(target, _cp(f"{remote}{source}", f"{target}/f"), server.env),
            *(_fresh(target, argv, None) for argv in others.values()),
        ]
        times = in_turns(works, bench.effort.rounds)
        copies = _cp(str(source), f"{remote}{target}/f"), _cp(f"{remote}{source}", f"{target}/f")
        clients = []
        for argv in copies:
            shutil.rmtree(target)
            target.mkdir()
            clients.append(peak(argv, env=server.env))
    beside = {name: (f"{rate(size, took):.0f} MB/s", took) for name, took in zip(others, times[4:])}
    for name, cat, own in (("sent", times[0], times[1]), ("fetched", times[2], times[3])):
        what = f"{size_text(size)} in one file {name}, TLS, rshell-cp"
        figure = f"{rate(size, own):.0f} MB/s"
        bound = at_most(1.15, "of cat's time")
        results.append(Result(what, figure, f"cat {rate(size, cat):.0f} MB/s", bound, own / cat))
        results += _beside(what, figure, own, beside, at_most(1.0, "of scp's time"))
    results.append(_memory(f"{size_text(size)} in one file, client", max(clients)))
    return results


def _memory(what: str, size: int) -> Result:
    figure = f"{size / MIB:.1f} MiB"
    return Result(f"peak memory of {what}", figure, "", at_most(80, "MiB"), size / MIB)


def small_files(bench: Bench) -> list[Result]:
    """Send, fetch and compare many small files over TLS, beside tar and what goes over ssh."""
    count, server = bench.effort.files, bench.server
    with _room() as room:
        source, target = _make_tree(room / "source", count), room / "target"
        remote = f"{server.address}:"
        untar = shlex.join(server.command(f"tar x -C {target}"))
        tar = shlex.join(server.command(f"tar c -C {room} source"))
        put = _cp("-r", str(source), f"{remote}{target}")
        get = _cp("-r", f"{remote}{source}", str(target))
        others = _over_ssh(bench, source, target)
        works = [
            _fresh(target, [*_SHELL, f"tar c -C {room} source | {untar}"], server.env),
            _fresh(target, put, server.env),
            _fresh(target, [*_SHELL, f"{tar} | tar x -C {target}"], server.env),
            _fresh(target, get, server.env),
            *(_fresh(target, argv, None) for argv in others.values()),
        ]
        times = in_turns(works, bench.effort.rounds)
        clients = []
        for argv in (put, get):
            shutil.rmtree(target)
            target.mkdir()
            clients.append(peak(argv, env=server.env))
        works[1]()
        (again,) = in_turns([lambda: run_quietly(put, env=server.env)], bench.effort.rounds)
        largest = memory(server.pid, "VmHWM")
    results = []
    ssh = {name: (f"{took:.2f} s", took) for name, took in zip(others, times[4:])}
    for name, tar_took, own in (("sent", times[0], times[1]), ("fetched", times[2], times[3])):
        what = f"{count} files of 4 KiB {name}, TLS, rshell-cp"
        figure = f"{own:.2f} s"
        bound = at_most(1.5, "of tar's time")
        beside = f"tar over rshell {tar_took:.2f} s"
        results.append(Result(what, figure, beside, bound, own / tar_took))
        results += _beside(what, figure, own, ssh, at_most(1 / 3, "of scp's time"))
    what = f"{count} files that are the same already"
    results.append(Result(what, f"{again:.2f} s", "", at_most(0.5, "s"), again))
    for name, size in (("server", largest), ("client", max(clients))):
        results.append(_memory(f"{count} files, {name}", size))
    return results


def far_files(bench: Bench) -> list[Result]:
    """Send many small files over a link with a round trip of 100 ms."""
    count = bench.effort.files
    with _room() as room, delayed(bench.server.port, _ONE_WAY) as port:
        source, target = _make_tree(room / "source", count), room / "target"
        took = asyncio.run(_far_put(bench, f"{HOST}:{port}", source, target))
    what = f"100 ms round trip, {count} files of 4 KiB sent"
    return [Result(what, f"{took:.2f} s", "", at_most(5, "s"), took)]


async def _far_put(bench: Bench, address: str, source: Path, target: Path) -> float:
    async with bench.connect(address) as client:
        start = time.perf_counter()
        await client.put(source, target, recursive=True)
        return time.perf_counter() - start
