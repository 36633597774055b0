"""What a command has of its own process while it runs: stdin, stdout and stderr, and the signals.

The descriptors may be files, pipes or terminals, and may block. Each one that is used gets a
thread that blocks in its place. Making them non-blocking instead would change them for every
other process that shares them, such as the shell that started us, and files can't be waited for
at all.

A signal's handler is set for a stretch of the program and taken away after it, never where the
signal was ignored when this process began. `nohup` and `&` in a script start programs that way,
and mean it: a closed terminal, or a Ctrl-C for the script, is not for them. Stretches nest, and
the innermost handler counts.

Hazard: a read that fails is no end of the input. Who took it for one would have a half of a file
be the whole of it. Only a terminal that has gone has ended.

Hazard: a thread that is blocked in a read can't be stopped. The threads are daemons, and the
program ends over their heads. One that fails hands its error on: nobody else would see it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import queue
import signal
import termios
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from functools import partial
from typing import Any, TypeVar, Union, cast

from rshell.aio import Changes, first_of, timeout
from rshell.cli.standard import StreamError, read_some, write_some
from rshell.execution.pipes import grow_pipe

Result = TypeVar("Result")
Way = TypeVar("Way", bound="Leaving")

BLOCK = 240 * 1024
_AHEAD = 2  # blocks read before anybody asked
_BEHIND = 4 * BLOCK  # bytes handed to the writer and not yet written
_PIPE = 1024 * 1024  # fewer turns move the same bytes
_LAST_SECONDS = 2.0
_PIECE = 16 * 1024  # of a block that a terminal is given at once: it may be slow, and we leave

_handlers: dict[signal.Signals, list[Callable[[], object]]] = {}  # of this process, innermost last


@contextlib.contextmanager
def on_signals(handlers: Mapping[signal.Signals, Callable[[], object]]) -> Iterator[None]:
    """Call `handlers[signal]()` in the running loop whenever that signal comes.

    For the main thread. What is set again meanwhile, as by prompt_toolkit, is taken away as well.
    """
    loop = asyncio.get_running_loop()
    handled = [number for number in handlers if signal.getsignal(number) is not signal.SIG_IGN]
    begun: list[signal.Signals] = []
    try:
        for number in handled:
            loop.add_signal_handler(number, handlers[number])
            _handlers.setdefault(number, []).append(handlers[number])
            begun.append(number)
        yield
    finally:
        for number in begun:
            outer = _handlers[number]
            outer.pop()
            if outer:
                loop.add_signal_handler(number, outer[-1])
            else:
                loop.remove_signal_handler(number)


def take_signals_back() -> None:
    """Set the handlers again that somebody else, such as prompt_toolkit, took for a while."""
    loop = asyncio.get_running_loop()
    for number, handlers in _handlers.items():
        if handlers:
            loop.add_signal_handler(number, handlers[-1])


class Left(Exception):
    """The user leaves before the work has ended: `status` is what to exit with."""

    def __init__(self, status: int, reason: str = "") -> None:
        super().__init__(reason or f"left with the status {status}")
        self.status = status

    @classmethod
    def by(cls, number: signal.Signals) -> Left:
        """Return the leaving that a signal causes."""
        return cls(128 + number, f"ended by {number.name}")


class Leaving:
    """The ways out of work that is not done: signals, and whatever else calls `leave`.

    The signals count inside its `async with` block. `on_leave` is called with what `unless_left`
    raises. `on_interrupt` is what SIGINT does, which leaves if nobody says otherwise.
    """

    def __init__(self) -> None:
        self._taken = contextlib.ExitStack()
        self.on_leave: Callable[[BaseException], None] = lambda why: None
        self.on_interrupt: Callable[[], None] = partial(self._end, Left.by(signal.SIGINT))
        self._why: BaseException | None = None
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
        ending = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
        handlers = {number: partial(self._end, Left.by(number)) for number in ending}
        taken.enter_context(on_signals({**handlers, signal.SIGINT: self._interrupt}))

    def _interrupt(self) -> None:
        self.on_interrupt()

    def leave(self, why: BaseException) -> None:
        """Leave, unless that has begun already: with a Left, or with an error that ends it all."""
        if self._why is None:
            self._end(why)

    @property
    def is_left(self) -> bool:
        """Whether `leave` was called, or a signal came."""
        return self._why is not None

    def raise_if_left(self) -> None:
        """Raise what `leave` was called with, if it was."""
        if self._why is not None:
            raise self._why

    async def unless_left(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Return the result of `work`; cancel it and raise why when the user leaves first."""
        # Leaving first: it counts even if the work is done, for the next would not be left.
        _, result = await first_of(self._is_left.wait(), work)
        self.raise_if_left()
        return cast(Result, result)

    def _end(self, why: BaseException) -> None:
        self._why = why
        self._is_left.set()
        self.on_leave(why)


class InputDescriptor:
    """Reads blocks from our stdin. Nothing is read before the first call of `read`."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._loop = asyncio.get_running_loop()
        self._blocks: asyncio.Queue[Union[bytes, BaseException]] = asyncio.Queue()
        self._permits = threading.Semaphore(_AHEAD)
        self._thread: threading.Thread | None = None
        self._last: bytes | BaseException | None = None

    async def read(self) -> bytes:
        """Return the next block, b"" at the end and ever after. Cancelling loses nothing.

        Raises StreamError, then and ever after, where reading fails; and what else keeps the
        thread from reading, such as RuntimeError where there is none to be had.
        """
        if self._thread is None:
            thread = threading.Thread(target=self._work, daemon=True)
            thread.start()
            self._thread = thread
        block = self._last if self._last is not None else await self._blocks.get()
        if not isinstance(block, bytes):
            self._last = block
            raise block
        if not block:
            self._last = block
        self._permits.release()
        return block

    def _work(self) -> None:
        grow_pipe(self._fd, _PIPE)
        is_terminal = _is_or_was_terminal(self._fd)
        block: bytes | BaseException = b"."
        while block and isinstance(block, bytes):
            self._permits.acquire()
            try:
                block = read_some(self._fd, BLOCK)
            except OSError as error:
                block = b"" if is_terminal else StreamError(0, error)
            except BaseException as error:  # no memory, for example
                block = error
            try:
                self._loop.call_soon_threadsafe(self._blocks.put_nowait, block)
            except RuntimeError:
                return  # the loop has ended


class OutputDescriptor:
    """Writes blocks to our stdout, or to stderr, in order.

    What is written to one that `is_optional` is dropped once it fails: that decides nothing.
    """

    def __init__(self, fd: int, *, is_optional: bool = False) -> None:
        self._is_optional = is_optional
        self._fd = fd
        self._loop = asyncio.get_running_loop()
        self._blocks: queue.SimpleQueue[tuple[int, bytes]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._handed = 0  # bytes; what follows is the thread's to count
        self._written = self._settled = 0  # and those in blocks that were written or given up
        self._wake_at = -1  # bytes pending at which somebody waits to go on
        self._given_up = 0  # how often what waited then was given up
        self._error: BaseException | None = None
        self._changed = Changes()

    @property
    def pending(self) -> int:
        """How many bytes were handed on and not written, for ever after an error."""
        return self._handed - self._written

    @property
    def _pending(self) -> int:
        return self._handed - self._settled

    async def write(self, block: bytes) -> None:
        """Hand on `block`, waiting while much is unwritten.

        Raises the error of an earlier write: BrokenPipeError when nobody reads any more,
        StreamError, or what else kept it from being written.
        """
        if self._pending >= _BEHIND:
            await self._wait_until(_BEHIND // 2)
        if not self._has_failed():
            self._hand_on(block)

    def say(self, line: bytes) -> None:
        """Hand on a line of our own, in order with the rest, without waiting.

        It is dropped where nobody reads what came before it, or any more.
        """
        if self._pending < 2 * _BEHIND and self._error is None:
            self._hand_on(line)

    def _has_failed(self) -> bool:
        """Whether what is written is to be dropped. Raises the error that decides."""
        if self._error is not None and not self._is_optional:
            raise self._error
        return self._error is not None

    def _hand_on(self, block: bytes) -> None:
        if self._thread is None:
            thread = threading.Thread(target=self._work, daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # there is none to be had
                self._error = error  # for the next `write` or `drain`
                return
            self._thread = thread
        self._handed += len(block)
        self._blocks.put((self._given_up, block))

    async def drain(self) -> None:
        """Wait until all is written. Raises as `write` does."""
        await self._wait_until(0)
        self._has_failed()

    async def _wait_until(self, pending: int) -> None:
        """Wait until no more than that is pending, or writing has failed."""
        while self._error is None:
            self._wake_at = max(self._wake_at, pending)  # before looking: the thread looks after
            if self._pending <= pending:
                return
            await self._changed.wait()

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
            error: BaseException | None = None
            view = memoryview(block)
            try:
                while view and since == self._given_up:
                    written = write_some(self._fd, view[:size])
                    self._written += written
                    view = view[written:]
            except BrokenPipeError as left:
                error = left
            except OSError as failed:
                error = StreamError(1, failed)
            except BaseException as other:  # no memory, for example
                error = other
            self._settled += len(block)
            # A loop that was woken for each block would cost as much as writing it.
            if error is not None or self._pending <= self._wake_at:
                try:
                    self._loop.call_soon_threadsafe(self._note, error)
                except RuntimeError:
                    return  # the loop has ended
            if error is not None:
                return

    def _note(self, error: BaseException | None) -> None:
        self._error = error
        self._wake_at = -1
        self._changed.notify()


def _is_or_was_terminal(fd: int) -> bool:
    try:
        termios.tcgetattr(fd)
    except termios.error as error:
        return bool(error.args[0] == errno.EIO)  # that of one that has gone
    return True
