"""Kills both ends of `rshell-cp` and cuts its link while bytes move, and looks at the files.

Run as `python -m tests.support.copy_storm SEED CLIENTS SERVERS CUTS VERB SIZE FILES`: so many
clients and servers are killed by SIGKILL, and links cut. The tree has a file of SIZE bytes, some
that are smaller, and FILES small ones; the VERB is put or get. The same command is run again until
it is done, and then a new target begins, beside an old tree with other content. It prints what was
found amiss, a line each, and exits with 1 if there was anything:

- a target that was, at any moment, neither the old file nor the new one;
- a tree that differs at the end, or has a file more, such as one that was not finished;
- bytes that travelled twice: more than a block for each kill, and what was on its way.

A kill comes once some megabytes have passed a relay between both ends, never at the start of a
program. What was on its way is bounded by `IN_FLIGHT`.
"""

from __future__ import annotations

import asyncio
import filecmp
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from rshell.channels.files.records import PIECE

IN_FLIGHT = 8 * 2**20  # what both ends and the kernel hold of a stream
_BLOCK = 256 * 1024
_PATIENCE = 300.0
_ENOUGH = 5  # that is amiss, and the rest would be alike
_WINDOW = 3.0  # seconds for which a server keeps the session of a client without a witness
_LIMITS = json.dumps({"resume_window": _WINDOW})


class Relay:
    """Passes links on from one Unix socket to another; `passed` counts bytes of the given way."""

    def __init__(self, here: Path, there: Path, *, up: bool) -> None:
        self.passed = 0
        self.due: Callable[[], object] | None = None
        self.due_at = 0
        self._here, self._there, self._up = here, there, up
        self._links: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Relay:
        self._server = await asyncio.start_unix_server(self._take, str(self._here), limit=_BLOCK)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._server.close()
        self.cut()

    def cut(self) -> None:
        """Cut all links."""
        for writer in self._links:
            writer.transport.abort()

    def when(self, more: int, action: Callable[[], object]) -> None:
        """Have `action` called once so many bytes more have passed."""
        self.due_at, self.due = self.passed + more, action

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            theirs, out = await asyncio.open_unix_connection(str(self._there), limit=_BLOCK)
        except OSError:
            writer.transport.abort()
            return
        self._links |= {writer, out}
        flows = [
            asyncio.create_task(self._flow(reader, out, is_counted=self._up)),
            asyncio.create_task(self._flow(theirs, writer, is_counted=not self._up)),
        ]
        await asyncio.wait(flows, return_when=asyncio.ALL_COMPLETED)
        self._links -= {writer, out}

    async def _flow(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_counted: bool
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(_BLOCK):
                writer.write(data)
                await writer.drain()
                if is_counted:
                    self.passed += len(data)
                    if self.due is not None and self.passed >= self.due_at:
                        due, self.due = self.due, None
                        due()
        writer.close()


def fill(path: Path, size: int, seed: int) -> None:
    """Write noise."""
    noise = random.Random(seed).randbytes(min(size, 2**22))
    with path.open("wb") as file:
        for at in range(0, size, len(noise) or 1):
            stamp = (seed * 2**32 + at).to_bytes(16, "big")
            file.write((stamp + noise)[: min(size - at, len(noise))])


def _kill(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGKILL)  # its own `kill` would reap it


@dataclass
class CopyStorm:
    """One run in `directory`; `amiss` has what was found."""

    directory: Path
    seed: int
    verb: str
    size: int
    files: int
    amiss: list[str] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    rounds: int = 0
    most_twice: int = 0

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._env = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "XDG_STATE_HOME": str(self.directory / "state"),
        }
        self._source = self.directory / "tree"
        (self._source / "sub" / "deep").mkdir(parents=True)
        fill(self._source / "large", self.size, 1)
        for index in range(self.files):
            fill(self._source / "sub" / f"f{index}", self._random.randrange(20_000), index + 10)
        for index in range(4):
            fill(self._source / "sub" / "deep" / f"m{index}", self.size // 16 + index, index + 3)
        self._names = ["large", *(f"sub/deep/m{index}" for index in range(4))]
        self._total = sum(p.stat().st_size for p in self._source.rglob("*") if p.is_file())
        self._server: asyncio.subprocess.Process | None = None

    async def run(self, kills: list[str]) -> None:
        """Do all these kills ("client", "server" or "link"), and what has to be done in between."""
        left = list(kills)
        async with Relay(
            self.directory / "relay", self.directory / "socket", up=self.verb == "put"
        ) as relay:
            await self._start()
            try:
                while left and len(self.amiss) < _ENOUGH:
                    await self._round(relay, left)
            finally:
                await self._end(self._server)

    async def _start(self) -> None:
        self._server = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.support.limited", "server", _LIMITS),
            *("--unix", str(self.directory / "socket"), "--state", str(self.directory / "s")),
            env=self._env,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert self._server.stdout is not None
        await self._server.stdout.readline()

    async def _end(self, process: asyncio.subprocess.Process | None) -> None:
        if process is not None:
            _kill(process)
            await process.wait()

    async def _round(self, relay: Relay, left: list[str]) -> None:
        """One target, until it is whole."""
        self.rounds += 1
        target = self.directory / f"target{self.rounds}"
        (target / "sub" / "deep").mkdir(parents=True)
        for index, name in enumerate(self._names):
            fill(target / name, self.size // 8, 1000 + index)
        checker = asyncio.create_task(asyncio.to_thread(self._watch, target))
        killed = 0
        before = relay.passed
        self._is_watched = True
        try:
            while await self._attempt(relay, target, left):
                killed += 1
            moved = relay.passed - before
        finally:
            self._is_watched = False
            await checker
        twice = moved - self._total - killed * PIECE
        self.most_twice = max(self.most_twice, twice // max(1, killed))
        if twice > (killed + 1) * IN_FLIGHT:
            self.amiss.append(f"{twice} bytes too many travelled, with {killed} kills")
        await asyncio.to_thread(self._compare, target)

    async def _attempt(self, relay: Relay, target: Path, left: list[str]) -> bool:
        """Run the command; return whether it was killed, or its server."""
        there = f"unix:{self.directory}/relay:"
        ends = (
            (f"{self._source}/", f"{there}{target}")
            if self.verb == "put"
            else (f"{there}{self._source}/", str(target))
        )
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "rshell.cli.cp", "-r", "--json", *ends),
            env=self._env,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        struck: list[str] = []

        def strike() -> None:
            what = left.pop()
            struck.append(what)
            self.done[what] += 1
            if what == "client":
                _kill(process)
            elif what == "server":
                assert self._server is not None
                _kill(self._server)
            else:
                relay.cut()
                prepare()

        def prepare() -> None:
            if left:
                relay.when(self._random.randrange(2**20, self.size // 4 + 2**21), strike)

        prepare()
        talking = asyncio.create_task(process.communicate())
        while not talking.done():
            await asyncio.wait([talking], timeout=0.05)
            if struck[-1:] == ["server"]:
                await self._end(self._server)
                await self._start()  # or the client would wait for it
                await asyncio.wait_for(talking, _PATIENCE)
        out, err = talking.result()
        relay.due = None
        if struck and struck[-1] != "link":
            if not process.returncode:
                self.amiss.append("it was killed, and says that it is done")
            await asyncio.sleep(self._random.choice((0, 0, 0.3, 1.5)))
            return True
        if process.returncode:
            self.amiss.append(f"status {process.returncode}: {err.decode()[-300:]}")
            return len(self.amiss) < _ENOUGH
        done = json.loads(out.splitlines()[-1])
        if done["failed"]:
            self.amiss.append(f"{done}")
        return False

    def _watch(self, target: Path) -> None:
        """Look at the target all the time: each file is the old one, or the whole new one."""
        chosen = random.Random(self.seed)
        sources = {name: (self._source / name).open("rb") for name in self._names}
        before = {name: (target / name).open("rb") for name in self._names}
        is_new = dict.fromkeys(self._names, False)
        self._looks = 0
        while self._is_watched:
            name = chosen.choice(self._names)
            try:
                fd = os.open(target / name, os.O_RDONLY)
            except FileNotFoundError:
                self.amiss.append(f"{name} is not there")
                return
            try:
                now = os.fstat(fd).st_size
                same = os.path.samestat(os.fstat(fd), os.fstat(before[name].fileno()))
                if is_new[name] and same:
                    self.amiss.append(f"{name} became the old one again")
                is_new[name] = not same
                like = before[name] if same else sources[name]
                if now != os.fstat(like.fileno()).st_size:
                    self.amiss.append(f"{name} has {now} bytes")
                for _ in range(8):
                    at = chosen.randrange(now)
                    if os.pread(fd, 4096, at) != os.pread(like.fileno(), 4096, at):
                        self.amiss.append(f"{name} is torn at {at}")
                        break
            finally:
                os.close(fd)
            self._looks += 1
            time.sleep(0.002)
        for file in (*sources.values(), *before.values()):
            file.close()

    def _compare(self, target: Path) -> None:
        deadline = time.monotonic() + 5 * _WINDOW
        while time.monotonic() < deadline and list(target.rglob("*.rshell-part*")):
            time.sleep(0.1)  # the sessions of clients that were killed have to end
        names = {str(p.relative_to(self._source)) for p in self._source.rglob("*")}
        found = {str(p.relative_to(target)) for p in target.rglob("*")}
        if names != found:
            self.amiss.append(
                f"more: {sorted(found - names)[:5]}, less: {sorted(names - found)[:5]}"
            )
        for name in names & found:
            one, other = self._source / name, target / name
            if one.is_file():
                if not filecmp.cmp(one, other, shallow=False):
                    self.amiss.append(f"{name} differs")
                if one.stat().st_mtime_ns != other.stat().st_mtime_ns:
                    self.amiss.append(f"{name} has another time")
                other.unlink()


def main() -> None:
    """Run a storm."""
    seed, clients, servers, cuts = map(int, sys.argv[1:5])
    kills = ["client"] * clients + ["server"] * servers + ["link"] * cuts
    random.Random(seed).shuffle(kills)
    verb, size, files = sys.argv[5], int(sys.argv[6]), int(sys.argv[7])
    with tempfile.TemporaryDirectory(prefix="storm") as directory:
        storm = CopyStorm(Path(directory), seed, verb, size, files)
        asyncio.run(storm.run(kills))
        for what in storm.amiss:
            print(what)
        print(
            f"{dict(storm.done)}, {storm.rounds} targets; at most {storm.most_twice} bytes a kill"
            f" beyond a block; {len(storm.amiss)} things amiss"
        )
        sys.exit(bool(storm.amiss))


if __name__ == "__main__":
    main()
