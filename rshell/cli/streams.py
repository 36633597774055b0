"""What a command has of its own process: stdin, stdout and stderr, and the signals.

The descriptors may be files, pipes or terminals, and may block. Each one that is used gets a
thread that blocks in its place. Making them non-blocking instead would change them for every
other process that shares them, such as the shell that started us, and files can't be waited for
at all.

A signal's handler is set for a stretch of the program and taken away after it, never where the
signal was ignored when this process began. `nohup` and `&` in a script start programs that way,
and mean it: a closed terminal, or a Ctrl-C for the script, is not for them.

Hazard: a thread that is blocked in a read can't be stopped. The threads are daemons, and the
program ends over their heads.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import select
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from functools import partial
from typing import Any, TypeVar, cast

from rshell.aio import Changes, first_of, timeout
from rshell.execution.pipes import grow_pipe

Result = TypeVar("Result")
Way = TypeVar("Way", bound="Leaving")

BLOCK = 240 * 1024
_AHEAD = 2  # blocks read before anybody asked
_BEHIND = 4 * BLOCK  # bytes handed to the writer and not yet written
_PIPE = 1024 * 1024  # fewer turns move the same bytes
_LAST_SECONDS = 2.0
_PIECE = 16 * 1024  # of a block that a terminal is given at once: it may be slow, and we leave


@contextlib.contextmanager
def on_signals(handlers: Mapping[signal.Signals, Callable[[], object]]) -> Iterator[None]:
    """Call `handlers[signal]()` in the running loop whenever that signal comes.

    For the main thread. What is set again meanwhile, as by prompt_toolkit, is taken away as well.
    """
    loop = asyncio.get_running_loop()
    handled = [number for number in handlers if signal.getsignal(number) is not signal.SIG_IGN]
    try:
        for number in handled:
            loop.add_signal_handler(number, handlers[number])
        yield
    finally:
        for number in handled:
            loop.remove_signal_handler(number)


class Left(Exception):
    """The user leaves before the work has ended: `status` is what to exit with."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Leaving:
    """The ways out of work that is not done: signals, and whatever else calls `leave`.

    The signals count inside its `async with` block. `on_leave` is called with what `unless_left`
    raises.
    """

    def __init__(self) -> None:
        self._taken = contextlib.ExitStack()
        self.on_leave: Callable[[Left], None] = lambda left: None
        self._left: Left | None = None
        self._is_left = asyncio.Event()

    async def __aenter__(self: Way) -> Way:
        with contextlib.ExitStack() as taken:
            self._take(taken)
            self._taken = taken.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._taken.close()

    def _take(self, taken: contextlib.ExitStack) -> None:
        """Enter what is to be left again after the block."""
        # The default of these would leave the terminal raw, or the remote command to itself.
        ending = (signal.SIGTERM, signal.SIGHUP)
        taken.enter_context(
            on_signals({number: partial(self._end, Left(128 + number)) for number in ending})
        )

    def leave(self, left: Left) -> None:
        """Leave, unless that has begun already."""
        if self._left is None:
            self._end(left)

    @property
    def is_left(self) -> bool:
        """Whether `leave` was called, or a signal came."""
        return self._left is not None

    def raise_if_left(self) -> None:
        """Raise what `leave` was called with, if it was."""
        if self._left is not None:
            raise self._left

    async def unless_left(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Return the result of `work`; cancel it and raise Left when the user leaves first."""
        # Leaving first: it counts even if the work is done, for the next would not be left.
        _, result = await first_of(self._is_left.wait(), work)
        self.raise_if_left()
        return cast(Result, result)

    def _end(self, left: Left) -> None:
        self._left = left
        self._is_left.set()
        self.on_leave(left)


class InputDescriptor:
    """Reads blocks from a descriptor. Nothing is read before the first call of `read`."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._loop = asyncio.get_running_loop()
        self._blocks: asyncio.Queue[bytes] = asyncio.Queue()
        self._permits = threading.Semaphore(_AHEAD)
        self._thread: threading.Thread | None = None
        self._ended = False

    async def read(self) -> bytes:
        """Return the next block, b"" at the end and ever after. Cancelling loses nothing."""
        if self._ended:
            return b""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, daemon=True)
            self._thread.start()
        block = await self._blocks.get()
        self._ended = not block
        self._permits.release()
        return block

    def _work(self) -> None:
        grow_pipe(self._fd, _PIPE)
        block = b"."
        while block:
            self._permits.acquire()
            try:
                block = _read_waiting(self._fd)
            except OSError:
                block = b""  # closed, or a terminal that has gone: its end
            try:
                self._loop.call_soon_threadsafe(self._blocks.put_nowait, block)
            except RuntimeError:
                return  # the loop has ended


class OutputDescriptor:
    """Writes blocks to a descriptor, in order."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._loop = asyncio.get_running_loop()
        self._blocks: queue.SimpleQueue[tuple[int, bytes]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._pending = 0
        self._handed = self._written = 0  # bytes; the latter is the thread's to count
        self._given_up = 0  # how often what waited then was given up
        self._error: OSError | None = None
        self._changed = Changes()

    @property
    def pending(self) -> int:
        """How many bytes were handed on and not written, for ever after an error."""
        return self._handed - self._written

    async def write(self, block: bytes) -> None:
        """Hand on `block`, waiting while much is unwritten.

        Raises the OSError of an earlier write, BrokenPipeError when nobody reads any more.
        """
        while self._pending >= _BEHIND and self._error is None:
            await self._changed.wait()
        if self._error is not None:
            raise self._error
        self._hand_on(block)

    def say(self, line: bytes) -> None:
        """Hand on a line of our own, in order with the rest, without waiting.

        It is dropped where nobody reads what came before it, or any more.
        """
        if self._pending < 2 * _BEHIND and self._error is None:
            self._hand_on(line)

    def _hand_on(self, block: bytes) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, daemon=True)
            self._thread.start()
        self._pending += len(block)
        self._handed += len(block)
        self._blocks.put((self._given_up, block))

    async def drain(self) -> None:
        """Wait until all is written. Raises as `write` does."""
        while self._pending and self._error is None:
            await self._changed.wait()
        if self._error is not None:
            raise self._error

    async def finish(self, last: bytes = b"") -> None:
        """Write what waits and then `last`, within 2 s for each; give up what takes longer.

        For the ways out on which `last` must not be overtaken by what was handed on before. A
        reader that is too slow for the rest still gets `last`.
        """
        await self._try_to_write(b"")
        if last:
            await self._try_to_write(last)

    async def _try_to_write(self, block: bytes) -> None:
        try:
            async with timeout(_LAST_SECONDS):
                if block:
                    await self.write(block)
                await self.drain()
        except (TimeoutError, OSError):
            self._given_up += 1

    def _work(self) -> None:
        grow_pipe(self._fd, _PIPE)
        size = _PIECE if os.isatty(self._fd) else BLOCK
        while True:
            since, block = self._blocks.get()
            error: OSError | None = None
            view = memoryview(block)
            while view and since == self._given_up:
                try:
                    written = os.write(self._fd, view[:size])
                    self._written += written
                    view = view[written:]
                except BlockingIOError:
                    _wait(self._fd, select.POLLOUT)  # somebody else made it non-blocking
                except OSError as caught:
                    error = caught
                    break
            try:
                self._loop.call_soon_threadsafe(self._note, len(block), error)
            except RuntimeError:
                return  # the loop has ended
            if error is not None:
                return

    def _note(self, size: int, error: OSError | None) -> None:
        self._pending -= size
        self._error = error
        self._changed.notify()


def _read_waiting(fd: int) -> bytes:
    while True:
        try:
            return os.read(fd, BLOCK)
        except BlockingIOError:
            _wait(fd, select.POLLIN)  # somebody else made it non-blocking


def _wait(fd: int, what: int) -> None:
    poll = select.poll()
    poll.register(fd, what)
    poll.poll()
