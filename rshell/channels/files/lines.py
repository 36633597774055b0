"""Between the event loop and the one thread that does the work of a channel.

Files can't be waited for by an event loop. So the work of a `files` channel, reading, hashing and
writing, is plain code in a thread of its own, which takes blocks from a `Line` and puts blocks into
another one; `converse` moves them from and to the channel. Whoever is ahead waits: the thread in
`put`, the channel because what has not been taken is not credited.

Hazard: a sender that waits for room hears nothing. If the receiver waited as well, nobody would
move again; so what it answers has room as good as without end (`keep_answers`).

Hazard: a thread can't be cancelled. `stop` makes every later `put`, `take` and `look` raise
Stopped, and long work looks now and then. `converse` waits for the thread before it returns, so
that no file is written to afterwards, but not for ever: a dead network drive may hold it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Optional, TypeVar, Union

from rshell.aio import accompanied, all_of, in_thread
from rshell.channels.files.records import (
    HEADER,
    NOTE,
    PART,
    Payload,
    Record,
    RecordDecoder,
)
from rshell.errors import FileError, RemoteProtocolError, RshellError
from rshell.protocol.codec import Json, encode_json
from rshell.transport.channel import Channel
from rshell.values import Bounds

_log = logging.getLogger("rshell")

Result = TypeVar("Result")

_BATCH = 192 * 1024  # small records leave together, in one frame with the one that is too much
_SOON = 4 * 1024  # and sooner where they are answers, which more of the same may wait for
_WAITING = 1024 * 1024  # bytes in a line
_LAST_SECONDS = 5.0
_USUAL = Bounds()


def _nobody() -> None:
    """Tell nobody."""


class Stopped(Exception):
    """Nobody waits for this work any more."""


class Line:
    """Blocks on their way between the loop and a thread, in order.

    Waking the loop costs more than a block does, so it is told only what it can be waiting for:
    `came` is called when there is a block or the end after nothing, `freed` when half of a line
    that was full has been taken.
    """

    def __init__(
        self,
        *,
        came: Callable[[], object] = _nobody,
        freed: Callable[[], object] = _nobody,
        room: int = _WAITING,
    ) -> None:
        self._came = came
        self._freed = freed
        self._room = room
        self._blocks: deque[Payload] = deque()
        self.size = 0
        self.is_full = False  # more should wait
        self.is_ended = False
        self._is_stopped = False
        self._condition = threading.Condition()

    def widen(self, room: int) -> None:
        """Have it take so many bytes before anybody waits."""
        self._room = room

    def look(self) -> None:
        """Raise Stopped where nobody waits for the work any more."""
        if self._is_stopped:
            raise Stopped

    def put(self, block: Payload, *, wait: bool = True) -> None:
        """Add a block; wait for room before that. Raises Stopped."""
        with self._condition:
            while wait and self.is_full and not self._is_stopped:
                self._condition.wait()
            self.look()
            is_first = not self._blocks
            self._blocks.append(block)
            self.size += len(block)
            self.is_full = self.is_full or self.size >= self._room
            if is_first:
                self._condition.notify_all()
        if is_first:
            self._came()

    def take(self, *, wait: bool) -> Optional[Payload]:
        """Return the next block; None where there is none yet, or after the end. Raises Stopped."""
        if not (wait or self._blocks):
            self.look()
            return None
        with self._condition:
            while wait and not (self._blocks or self.is_ended or self._is_stopped):
                self._condition.wait()
            self.look()
            if not self._blocks:
                return None
            block = self._blocks.popleft()
            self.size -= len(block)
            has_room = self.is_full and self.size <= self._room // 2
            if has_room:
                self.is_full = False
                self._condition.notify_all()
        if has_room:
            self._freed()
        return block

    def end(self) -> None:
        """Say that no more follows."""
        with self._condition:
            self.is_ended = True
            self._condition.notify_all()
        self._came()

    def stop(self) -> None:
        """Have the thread end its work."""
        with self._condition:
            self._is_stopped = True
            self._condition.notify_all()


class Peer:
    """The other end, as the thread sees it: records out, records in.

    `limits` are those of the session. Small records wait until there are many, or until `flush`.
    Everything here may wait, and raises Stopped, and RemoteProtocolError for what the other end has
    no right to send.
    """

    def __init__(
        self, incoming: Line, outgoing: Line, *allowed: int, limits: Bounds = _USUAL
    ) -> None:
        self.limits = limits
        self._incoming = incoming
        self._outgoing = outgoing
        self._decoder = RecordDecoder(*allowed)
        self._arrived: deque[Record] = deque()
        self._batch: list[bytes] = []  # that leave together
        self._size = 0  # of them

    def look(self) -> None:
        """Raise Stopped where nobody waits for this work any more."""
        self._outgoing.look()

    def keep_answers(self) -> None:
        """Go on where the other end takes no answers: it may be waiting for us to take records."""
        self._outgoing.widen(self.limits.files_answers)

    def send(self, record_type: int, number: int, payload: bytes = b"") -> None:
        """Send a record, later."""
        size = len(payload)
        self._batch.append(HEADER.pack(record_type, number, size))
        if size:
            self._batch.append(payload)
        self._size += HEADER.size + size
        if self._size >= _BATCH:
            self.flush()

    def send_json(self, record_type: int, number: int, values: Json) -> None:
        """Send a record that holds JSON, later."""
        self.send(record_type, number, encode_json(values))

    def send_note(self, values: Json) -> None:
        """Send a NOTE, later."""
        self.send_json(NOTE, 0, values)

    def send_raw(self, record: bytes) -> None:
        """Send a record that is encoded already, later."""
        self._batch.append(record)
        self._size += len(record)
        if self._size >= _BATCH:
            self.flush()

    def send_part(self, index: int, buffer: bytearray, size: int) -> None:
        """Send a PART: `buffer` has room for its header, and `size` bytes behind that.

        The buffer is the channel's afterwards.
        """
        HEADER.pack_into(buffer, 0, PART, index, size)
        self.flush()
        whole = HEADER.size + size
        self._outgoing.put(buffer if whole == len(buffer) else memoryview(buffer)[:whole])

    def flush(self) -> None:
        """Have everything sent now."""
        if self._batch:
            batch = b"".join(self._batch)
            self._batch.clear()
            self._size = 0
            self._outgoing.put(batch)

    def receive(self, *, wait: bool = True, may_end: bool = False) -> Optional[Record]:
        """Return the next record; None where none has come. What we said leaves before we wait.

        Raises RemoteProtocolError where the other end has ended instead, unless it `may_end`,
        which is None then.
        """
        while not self._arrived:
            block = self._incoming.take(wait=False)
            if wait and (block is None or self._size >= _SOON):
                self.flush()
            if block is None and wait:
                block = self._incoming.take(wait=True)
            if block is None:
                is_over = wait or (self._incoming.is_ended and not self._incoming.size)
                if is_over and not may_end:
                    raise RemoteProtocolError("the other end closed the channel too early")
                return None
            self._arrived.extend(self._decoder.feed(bytes(block)))
        return self._arrived.popleft()


async def converse(
    channel: Channel, work: Callable[[Peer], Result], allowed: tuple[int, ...], limits: Bounds
) -> Result:
    """Do `work(peer)` in a thread, with the peer at the other end of an open channel.

    Raises what the work raises, and what cuts the channel short. Cancelling ends the work.
    """
    loop = asyncio.get_running_loop()
    woken = {name: asyncio.Event() for name in ("incoming", "outgoing")}

    def wake(name: str) -> Callable[[], object]:
        # A thread that outlives its loop has nobody to wake.
        def woke() -> None:
            try:
                loop.call_soon_threadsafe(woken[name].set)
            except RuntimeError:
                pass

        return woke

    incoming, outgoing = Line(freed=wake("incoming")), Line(came=wake("outgoing"))
    done = in_thread(lambda: work(Peer(incoming, outgoing, *allowed, limits=limits)), "files")
    future = asyncio.wrap_future(done)

    async def finish() -> Union[Result, FileError]:
        try:
            return await asyncio.shield(future)
        except FileError as error:  # the other end is told of it, which comes first
            return error
        finally:
            outgoing.end()

    async def send() -> None:
        while not (outgoing.is_ended and not outgoing.size):
            woken["outgoing"].clear()
            while (block := outgoing.take(wait=False)) is not None:
                await channel.write(block)
            if not outgoing.is_ended:
                await woken["outgoing"].wait()

    async def receive() -> None:
        reader = channel.stream(0)
        while block := await reader.read_block():
            incoming.put(block, wait=False)
            while incoming.is_full:
                woken["incoming"].clear()
                if incoming.is_full:
                    await woken["incoming"].wait()
        incoming.end()

    try:
        result, _ = await accompanied(all_of(finish(), send()), receive())
        if isinstance(result, FileError):
            raise result
        answer: Result = result
        return answer
    finally:
        incoming.stop()
        outgoing.stop()
        future.add_done_callback(_see)  # it was raised, or nobody waits for it
        if not future.done():
            await asyncio.wait([future], timeout=_LAST_SECONDS)


def _see(future: asyncio.Future[Any]) -> None:
    """Look at an outcome that nobody may have seen; what was foreseen needs no word."""
    error = None if future.cancelled() else future.exception()
    if error is not None and not isinstance(error, (Stopped, RshellError, OSError)):
        _log.error("work on files failed", exc_info=error)
