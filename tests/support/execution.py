"""What the tests of execution/ share: commands, collected output, and looking for leaks."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import select
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from rshell.aio import timeout
from rshell.execution.pipes import PipeSource, output_pipe
from rshell.execution.running_process import RunningProcess
from rshell.execution.spawn import Command, spawn
from rshell.terminal.pty import open_pty
from rshell.values import ExitStatus, TerminalSize

DEADLINE = 20.0
ROOM = 1 << 30


def command(*argv: str, cwd: str | None = None, env: dict[str, str] | None = None) -> Command:
    return Command(argv, cwd=cwd, env=dict(os.environ) if env is None else env)


def script(text: str) -> Command:
    return command("/bin/sh", "-c", text)


def begin(*argv: str, stdout: int | None = None) -> subprocess.Popen[bytes]:
    """A process in a session of its own, without `spawn`."""
    return subprocess.Popen(argv, stdout=stdout, start_new_session=True)


@dataclass
class Output:
    """Collects what a source hands on."""

    chunks: list[bytes] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    room: int = ROOM

    def on_data(self, data: bytes) -> None:
        self.chunks.append(data)
        self.room -= len(data)
        self.changed.set()

    def on_end(self) -> None:
        assert not self.ended.is_set()
        self.ended.set()
        self.changed.set()

    @property
    def text(self) -> bytes:
        return b"".join(self.chunks)

    async def until(self, part: bytes) -> None:
        """Wait until `part` was read; fail if the end comes first."""
        async with timeout(DEADLINE):
            while part not in self.text:
                assert not self.ended.is_set(), f"ended without {part!r}: {self.text!r}"
                self.changed.clear()
                await self.changed.wait()

    def source(self, fd: int, *, block: int = 65536) -> PipeSource:
        return PipeSource(fd, self.on_data, self.on_end, block=block, room=lambda: self.room)


@asynccontextmanager
async def piped(what: Command) -> AsyncIterator[tuple[RunningProcess, PipeSource, Output]]:
    """Run `what` with stdout and stderr in one pipe; ends it at the end if it still runs."""
    ours, theirs = output_pipe()
    null = os.open(os.devnull, os.O_RDONLY)
    output = Output()
    source = output.source(ours)
    try:
        process = spawn(what, {0: null, 1: theirs, 2: theirs})
    except BaseException:
        source.close()
        raise
    finally:
        os.close(theirs)
        os.close(null)
    try:
        yield process, source, output
    finally:
        await process.end(0)
        source.close()


@asynccontextmanager
async def on_terminal(
    what: Command, size: TerminalSize | None = None
) -> AsyncIterator[tuple[RunningProcess, PipeSource, Output, int]]:
    """Run `what` on a terminal; the last value is its master, for writing."""
    master, slave = open_pty(size)
    output = Output()
    source = output.source(os.dup(master))
    try:
        process = spawn(what, {}, terminal=slave)
    except BaseException:
        source.close()
        os.close(master)
        raise
    finally:
        os.close(slave)
    try:
        yield process, source, output, master
    finally:
        await process.end(0)
        source.close()
        os.close(master)


async def finish(process: RunningProcess, source: PipeSource, output: Output) -> ExitStatus:
    async with timeout(DEADLINE):
        status = await process.wait()
        source.drain_then_end()
        await output.ended.wait()
    return status


async def placed(what: Command, places: Mapping[int, int]) -> tuple[bytes, ExitStatus]:
    """Run `what` with descriptors under the given numbers; return what it printed, and its end."""
    ours, theirs = output_pipe()
    null = os.open(os.devnull, os.O_RDWR)
    output = Output()
    source = output.source(ours)
    try:
        process = spawn(what, {0: null, 1: theirs, 2: theirs, **places})
    except BaseException:
        source.close()
        raise
    finally:
        os.close(theirs)
        os.close(null)
    status = await finish(process, source, output)
    return output.text, status


async def until(condition: Callable[[], bool], what: str) -> None:
    """Let the loop pass until `condition()`; fail after the deadline."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        await asyncio.sleep(0)


def fields(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; none when there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return []
    return text.rpartition(")")[2].split()


def is_alive(pid: int) -> bool:
    state = fields(pid)[:1]
    return bool(state) and state[0] not in "ZX"


def await_gone(pid: int) -> None:
    """Block until `pid` has ended; fail after the deadline."""
    try:
        fd = os.pidfd_open(pid)
    except OSError as error:
        # The number may still be that of a group or session, whose members live on.
        assert error.errno in (errno.ESRCH, errno.EINVAL), error
        return
    try:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        assert poll.poll(DEADLINE * 1000), f"{pid} still runs"
    finally:
        os.close(fd)


def children_of(parent: int) -> set[int]:
    """Every child of a process, zombies too."""
    return {
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and fields(int(entry.name))[1:2] == [str(parent)]
    }


def our_children() -> set[int]:
    """Every child of this process, zombies too."""
    return children_of(os.getpid())


def open_descriptors() -> dict[str, str]:
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found[entry.name] = str(entry.readlink())
        except OSError:
            pass  # the descriptor of this very listing
    return found


@contextmanager
def no_descriptors() -> Iterator[None]:
    """Let nothing more be opened in this process."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(entry.name) for entry in Path("/dev/fd").iterdir()) + 1
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest, limits[1]))
    fillers = []
    try:
        with suppress(OSError):
            while True:
                fillers.append(os.open(os.devnull, os.O_RDONLY))
        yield
    finally:
        for filler in fillers:
            os.close(filler)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@contextmanager
def no_leak() -> Iterator[None]:
    """Fail if the block leaves a descriptor or a child, running or zombie."""
    descriptors, children = open_descriptors(), our_children()
    yield
    assert open_descriptors() == descriptors
    assert our_children() == children
