"""The driver: feeds a `Link` from a byte stream and writes what the link wants to say.

Every call into the core goes through here and ends in `flush`, the one place that writes. Reading
never waits for writing: windows bound what a peer may send, and an acknowledgement or a PING gets
through while the way out is full.

A read may hold twenty thousand small frames, a tenth of a second of work. A link does a helping of
it at once and is put off with the rest of that one read: nothing more is read of it meanwhile. All
links of a loop that were put off share half a millisecond of each pass (`Turns`). So a peer that
makes work slows itself down, and others by that much, however many do so.

A trace of all frames goes to the logger `rshell.frames` where that is at DEBUG when the link
begins; with RSHELL_TRACE=1 in the environment it also goes to stderr (protocol/frames.py).

Hazard: what comes after bytes that were put off, the end of the stream included, waits behind them,
or a GOODBYE would be lost to the end that follows it.

Hazard: handling an event may call `flush` again. Nested calls are put off to the outer one, and
all frames that one read causes leave in one write.

Hazard: asyncio says that there is room in the middle of its own writing. A write that fails in
there, or a close, would end the transport twice. The driver therefore writes a moment later.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import sys
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import ClassVar, Protocol, Union
from weakref import WeakKeyDictionary

from rshell.errors import LinkLost
from rshell.protocol.channel import ChannelEvent, ChannelState
from rshell.protocol.frames import Buffer, FrameTrace
from rshell.protocol.link import Event, Link
from rshell.protocol.login import LINK_EVENTS, LinkEvent

_ROUNDS = 8  # of writing and refilling, before other clients get their turn
_TURN = 0.0005  # seconds of a pass of the loop for all links that were put off


class ByteStream(Protocol):
    """What the driver needs of TLS, a Unix socket or a pair of pipes."""

    def write(self, buffers: list[Buffer]) -> None:
        """Write all buffers, in order; never blocks, keeps what the kernel does not take."""

    def room(self) -> int:
        """Return how many bytes may be written before the stream holds its limit."""

    def pause(self) -> None:
        """Read no more until `resume`."""

    def resume(self) -> None:
        """Read again."""

    def close(self) -> None:
        """Write what is kept, then close. Does nothing when it is closed."""

    def abort(self) -> None:
        """Close at once; what is kept is lost. Does nothing when it is closed."""


class ChannelOwner(Protocol):
    """The object that acts on what happens in the channels of a link's session."""

    def handle(self, event: ChannelEvent) -> None:
        """Act on one event. Called in order, never reentrantly."""

    def has_room(self, channel: ChannelState) -> None:
        """A channel that asked for room has it."""


class Driver:
    """Joins a link, the byte stream under it and the owner above it.

    `handle` acts on each event of the link itself, in order and never reentrantly. `live` is the
    session that the link carries, once one was attached.

    The stream calls `stream_opened` once it exists, `stream_ready` once it can carry frames,
    then `receive_data`, `receive_eof` and `stream_writable`, and `stream_lost` last. `done` is
    set once the stream is gone. `heard_at` is when bytes came last, or the driver was made.
    """

    def __init__(self, link: Link, handle: Callable[[LinkEvent], None]) -> None:
        self.link = link
        self._handle = handle
        link.trace = _open_trace(link.role.name.lower())
        self.has_begun = False  # the peer has said something, were it only TLS
        self.live: ChannelOwner | None = None
        self.stream: ByteStream | None = None
        self.done = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self.heard_at = self._loop.time()
        self._busy = False
        self._is_ready = False
        self._later: deque[Union[bytes, memoryview, Callable[[], None]]] = deque()
        self._is_in_line = False
        self._is_dropped = False
        self._timer: asyncio.TimerHandle | None = None
        self._closer: asyncio.TimerHandle | None = None
        self._arm()

    @property
    def now(self) -> float:
        """The clock that the link is told, in seconds."""
        return self._loop.time()

    # What the stream calls.

    def stream_opened(self, stream: ByteStream) -> None:
        """Take a stream that can be closed, and carry frames later."""
        self.stream = stream
        if self.link.error is not None:  # it was given up while the stream was being made
            stream.abort()

    def stream_ready(self) -> None:
        """The stream can carry frames now."""
        self._is_ready = True
        self.flush()

    def receive_data(self, data: memoryview) -> None:
        """Take bytes; the buffer may be reused after the call."""
        if self._is_dropped:
            return  # records of a TLS stream that were put off
        self.heard_at = self._loop.time()
        if self._later:
            self.put_off(bytes(data))
            return
        rest = self._take(data)
        if len(rest):
            self.put_off(bytes(rest))

    def receive_eof(self) -> None:
        """Take the end of the stream."""
        self.in_order(self._take_eof)

    def stream_writable(self) -> None:
        """The stream has room again."""
        self._loop.call_soon(self.flush)

    def stream_lost(self, error: Exception | None) -> None:
        """The stream is gone. `error` says why, None after an orderly end."""
        self.stream = None
        self.in_order(partial(self._take_loss, error))

    def in_order(self, work: Callable[[], None]) -> None:
        """Do `work()` now, or behind what was put off."""
        if self._later:
            self.put_off(work)
        else:
            work()

    def put_off(self, work: bytes | Callable[[], None]) -> None:
        """Have bytes taken, or `work()` done, in a later pass of the loop, and read no more yet."""
        self._later.append(work)
        if not self._is_in_line:
            self._is_in_line = True
            if self.stream is not None:
                self.stream.pause()
            Turns.of(self._loop).add(self)

    # Its turn.

    def take_turn(self) -> bool:
        """Do a helping of what was put off; return whether there is more of it."""
        try:
            self._take_next()
        except Exception as error:  # asyncio would drop the stream, were this its own call
            self._loop.call_exception_handler({"message": "a link failed", "exception": error})
            self.abort()
        self._is_in_line = bool(self._later)
        if not self._is_in_line and self.stream is not None:
            self.stream.resume()
        return self._is_in_line

    def _take_next(self) -> None:
        work = self._later.popleft() if self._later else b""  # it may be dropped meanwhile
        if callable(work):
            behind, self._later = self._later, deque()
            try:
                work()  # what it puts off was there before what is behind it
            finally:
                self._later += behind
        elif len(work) and not self._is_dropped:
            rest = self._take(work)
            if len(rest) and not self._is_dropped:
                self._later.appendleft(memoryview(rest))

    def _take(self, data: Buffer) -> Buffer:
        """Take a helping of bytes; return the rest."""
        events = self.link.receive_data(data, self._loop.time(), helping=True)
        rest = self.link.rest
        self._act(events)
        return rest

    def _take_eof(self) -> None:
        self._act(self.link.receive_eof())

    def _take_loss(self, error: Exception | None) -> None:
        if events := self.link.receive_lost(error):
            self._act(events)
        self._stop_timers()
        self.done.set()
        self._loop.call_soon(self._let_go)  # behind what was put off

    def _let_go(self) -> None:
        """Hold on to nobody: owners hold their driver, and would wait for a garbage collector."""
        self._handle = _ignore
        self.live = None

    # What the owner calls.

    def close(self, code: str, reason: str) -> None:
        """Say GOODBYE and close; the owner hears no more of this link."""
        self.link.goodbye(code, reason)
        self.flush()

    def abort(self) -> None:
        """Drop the link without a word, and what was put off. Does nothing when it is over."""
        self._stop_timers()
        self._is_dropped = True
        self._later = deque(work for work in self._later if callable(work))
        if self.stream is not None:
            self.stream.abort()

    def flush(self) -> None:
        """Write what the link has to say, and let channels refill what was written."""
        stream = self.stream
        if self._busy or stream is None:
            return
        if not self._is_ready:
            if self.link.error is not None:
                stream.abort()
            return
        link, session = self.link, self.link.session
        self._busy = True
        try:
            for _ in range(_ROUNDS):
                buffers = link.data_to_send(stream.room(), self._loop.time())
                if buffers:
                    stream.write(buffers)
                roomy = session.take_roomy() if session is not None else ()
                for channel in roomy:
                    if self.live is not None:
                        self.live.has_room(channel)
                if not roomy and (not buffers or not link.has_output()):
                    break
            else:
                self._loop.call_soon(self.flush)
        finally:
            self._busy = False
        if link.error is not None:
            self._close_stream(stream)
        else:
            self._arm()

    def _act(self, events: list[Event]) -> None:
        if self._busy:
            # The stream broke while we wrote: the owner hears of it after the present event.
            self._loop.call_soon(self._act, events)
            return
        self._busy = True
        try:
            for event in events:
                if isinstance(event, LINK_EVENTS):
                    self._handle(event)
                elif self.live is not None:
                    self.live.handle(event)
        finally:
            self._busy = False
        self.flush()

    def _close_stream(self, stream: ByteStream) -> None:
        if isinstance(self.link.error, LinkLost):
            stream.abort()  # nobody takes what is kept
            return
        stream.close()
        if self._closer is None and not self.done.is_set():
            # A peer that does not read must not keep the descriptor.
            self._closer = self._loop.call_later(self.link.limits.close_seconds, stream.abort)

    # Time.

    def _arm(self) -> None:
        deadline = self.link.next_deadline()
        if deadline is None:
            return
        if self._timer is not None:
            if self._timer.when() <= deadline:
                return  # it fires too early, looks again and costs nothing meanwhile
            self._timer.cancel()
        self._timer = self._loop.call_at(deadline, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._act(self.link.tick(self._loop.time()))
        if self.link.error is None:
            self._arm()

    def _stop_timers(self) -> None:
        for timer in (self._timer, self._closer):
            if timer is not None:
                timer.cancel()
        self._timer = self._closer = None


class Turns:
    """The links of one event loop that were put off, each of which gets its turn, round and round.

    Hazard: what a frame starts (a task, a reader that wakes) runs in the next pass of the loop. The
    time of a pass beside the turns therefore counts against them: beyond it, one link has one turn.
    """

    _all: ClassVar[WeakKeyDictionary[asyncio.AbstractEventLoop, Turns]] = WeakKeyDictionary()

    @classmethod
    def of(cls, loop: asyncio.AbstractEventLoop) -> Turns:
        """Return those of `loop`."""
        turns = cls._all.get(loop)
        if turns is None:
            turns = cls._all[loop] = cls()
        return turns

    def __init__(self) -> None:
        self._line: deque[Driver] = deque()
        self._is_under_way = False
        self._ended = 0.0

    def add(self, driver: Driver) -> None:
        """Give a link its place in line."""
        self._line.append(driver)
        if not self._is_under_way:
            self._is_under_way = True
            loop = asyncio.get_running_loop()
            self._ended = loop.time()
            loop.call_soon(self._pass, loop)

    def _pass(self, loop: asyncio.AbstractEventLoop) -> None:
        until = self._ended + _TURN
        try:
            while self._line:
                driver = self._line.popleft()
                if driver.take_turn():
                    self._line.append(driver)
                if loop.time() >= until:
                    break
        finally:
            self._ended = loop.time()
            self._is_under_way = bool(self._line)
            if self._is_under_way:
                loop.call_soon(self._pass, loop)


def _ignore(event: LinkEvent) -> None:
    """Take an event for nobody."""


_links = itertools.count(1)


def _open_trace(role: str) -> FrameTrace | None:
    """Return what shows the frames of a new link of this process, None where nobody asks for it."""
    log = logging.getLogger("rshell.frames")
    if os.environ.get("RSHELL_TRACE", "0") not in ("", "0") and not log.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        log.addHandler(handler)
        log.setLevel(logging.DEBUG)
        log.propagate = False  # or a program that shows its own log would show each frame twice
    number = next(_links)
    return FrameTrace(f"{role} {number}", log.debug) if log.isEnabledFor(logging.DEBUG) else None
