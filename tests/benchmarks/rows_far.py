"""Rows about far paths: the steady rate of each way to move bytes, beside ssh on the same path.

Strategy: every transfer runs for the same few seconds and is then over, whatever it moved. The
first seconds don't count: TCP begins slowly for both. Files are sparse, as large as needed.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from tests.benchmarks.bench import Bench
from tests.benchmarks.path import FAR, far_path
from tests.benchmarks.result import Result, at_least
from tests.benchmarks.servers import RshellServer, Sshd, Unavailable, private_sshd, rshell_server
from tests.benchmarks.steady import Counter

_ROOT = Path(__file__).parents[2]
_STEADY = (sys.executable, "-m", "tests.benchmarks.steady")
_LOOK_SECONDS = 0.05
_PATIENCE = 30.0  # seconds beyond those that count
_PLENTY = 2**40


@dataclass(frozen=True)
class Far:
    """Both servers at the far end, where clients run, and which seconds count."""

    near: tuple[str, ...]
    directory: Path
    server: RshellServer
    sshd: Sshd | None
    seconds: tuple[float, float]

    @property
    def env(self) -> dict[str, str]:
        """The environment of clients."""
        return self.server.env | {"RSHELL_TOKEN": self.server.token}

    def count(self) -> list[str]:
        """Return the argv of what counts its stdin and prints the steady rate."""
        return [*_STEADY, "count", *map(str, self.seconds)]

    def remote_count(self) -> str:
        """Return the same as a command for the far end."""
        return f"cd {shlex.quote(str(_ROOT))} && exec {shlex.join(self.count())}"


Command = Callable[[str], list[str]]


def far_paths(bench: Bench) -> list[Result]:
    """Move bytes over each path in each way, in turns with ssh."""
    results: list[Result] = []
    for milliseconds, loss, mtu in bench.effort.far_paths:
        try:
            with open_far(milliseconds / 2000, loss, mtu, bench.effort.far_seconds) as far:
                rates = measure(far, bench.effort.far_rounds)
        except Unavailable as error:
            return [Result("far paths", "skipped", str(error))]
        path = f"{milliseconds:g} ms, {loss * 100:g} % lost"
        results += [_result(f"{path}, {way}", *both) for way, both in rates.items()]
    return results


@contextmanager
def open_far(delay: float, loss: float, mtu: int, seconds: tuple[float, float]) -> Iterator[Far]:
    """Make a path with both servers at its far end. Raises Unavailable."""
    with TemporaryDirectory(prefix="rshell-far-") as name, far_path(delay, loss, mtu) as path:
        directory = Path(name)
        with (directory / "big").open("wb") as big:
            big.truncate(_PLENTY)
        with rshell_server(directory / "rshell", host=FAR, inside=path.far) as server:
            try:
                ssh = private_sshd(directory / "ssh", host=FAR, inside=path.far, near=path.near)
                with ssh as sshd:
                    yield Far(path.near, directory, server, sshd, seconds)
            except Unavailable:
                yield Far(path.near, directory, server, None, seconds)


def measure(far: Far, rounds: int) -> dict[str, tuple[list[float], list[float]]]:
    """Return, for each way, the rates of rshell and those of ssh in bytes a second."""
    found: dict[str, tuple[list[float], list[float]]] = {}
    ways: dict[str, Callable[[Far, Command], float]] = {
        "download, pipe": _download_pipe,
        "download, file": _download_file,
        "upload, pipe": _upload_pipe,
        "upload, file": _upload_file,
    }
    api = {"download, API": _download_api, "upload, API": _upload_api}
    for _ in range(rounds):
        for name, way in ways.items():
            mine, theirs = found.setdefault(name, ([], []))
            mine.append(way(far, far.server.command))
            if far.sshd is not None:
                theirs.append(way(far, far.sshd.command))
        for name, by_api in api.items():
            # ssh has no API: its pipe stands beside it.
            mine, _ = found.setdefault(name, ([], found[name.replace("API", "pipe")][1]))
            mine.append(by_api(far))
    return found


def _download_pipe(far: Far, command: Command) -> float:
    with subprocess.Popen(
        [*far.near, *command(f"cat {far.directory}/big")], env=far.env, stdout=subprocess.PIPE
    ) as sender:
        try:
            return _told(far, far.count(), env=os.environ, stdin=sender.stdout)
        finally:
            sender.terminate()


def _download_file(far: Far, command: Command) -> float:
    counter = Counter(*far.seconds)
    path = far.directory / "received"
    with path.open("wb") as file:
        argv = [*far.near, *command(f"cat {far.directory}/big")]
        with subprocess.Popen(argv, env=far.env, stdout=file) as receiver:
            deadline = time.monotonic() + far.seconds[1] + _PATIENCE
            size = before = 0
            while size == before or counter.add(size - before):
                if receiver.poll() is not None or time.monotonic() > deadline:
                    break
                time.sleep(_LOOK_SECONDS)
                before, size = size, os.fstat(file.fileno()).st_size
            receiver.terminate()
    path.unlink()
    return counter.rate


def _upload_pipe(far: Far, command: Command) -> float:
    argv = ["head", "-c", str(_PLENTY), "/dev/zero"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as feeder:
        try:
            return _told(
                far, [*far.near, *command(far.remote_count())], env=far.env, stdin=feeder.stdout
            )
        finally:
            feeder.kill()


def _upload_file(far: Far, command: Command) -> float:
    with (far.directory / "big").open("rb") as file:
        argv = [*far.near, *command(far.remote_count())]
        return _told(far, argv, env=far.env, stdin=file)


def _download_api(far: Far) -> float:
    what = ("download", *map(str, far.seconds), far.server.address, f"cat {far.directory}/big")
    return _told(far, [*far.near, *_STEADY, *what], env=far.env)


def _upload_api(far: Far) -> float:
    what = ("upload", *map(str, far.seconds), far.server.address, far.remote_count())
    return _told(far, [*far.near, *_STEADY, *what], env=far.env)


def _told(
    far: Far, argv: Sequence[str], *, env: Mapping[str, str], stdin: object = subprocess.DEVNULL
) -> float:
    """Return the rate that a program prints; 0 when it takes too long."""
    try:
        told = subprocess.run(
            argv,
            env=env,
            stdin=stdin,  # type: ignore[call-overload]
            stdout=subprocess.PIPE,
            timeout=far.seconds[1] + _PATIENCE,
            cwd=_ROOT,
        )
    except subprocess.TimeoutExpired:
        return 0.0
    return float(told.stdout or 0)


def _result(what: str, mine: list[float], theirs: list[float]) -> Result:
    def text(rates: list[float]) -> str:
        lowest = f", lowest {min(rates) / 1e6:.1f}" if len(rates) > 1 else ""
        return f"{median(rates) / 1e6:.1f} MB/s{lowest}"

    if not theirs:
        return Result(what, text(mine), "", at_least(2, "of ssh"))
    ratio = median(mine) / max(median(theirs), 1.0)
    return Result(what, text(mine), f"ssh {text(theirs)}", at_least(2, "of ssh"), ratio)
