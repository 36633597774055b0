"""The one channel for all of a client's calls, and who waits for which answer.

It is opened at the first call, and again after it has ended. Any number of calls may be on their
way; each answer is told by its number. A task writes, so that a caller who gives up leaves no half
of a record behind, and another one reads; both end with the channel.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Optional, Union

from rshell.aio import Changes, Tasks
from rshell.channels.base import ask
from rshell.channels.files.messages import CallAnswer, FileCall, FilesRequest, FileStat
from rshell.channels.files.records import (
    ANSWER,
    BYTES,
    CALL,
    RecordDecoder,
    decode_json,
    encode,
)
from rshell.channels.files.trouble import from_trouble
from rshell.errors import ChannelReset, RemoteProtocolError, RshellError
from rshell.protocol.codec import encode_json
from rshell.transport.channel import Channel
from rshell.transport.live_session import LiveSession

_WAITING = 1024 * 1024  # bytes that wait to be sent
Answer = Union[CallAnswer, bytes]


class CallChannel:
    """Sends calls and returns what becomes of them."""

    def __init__(self, live: LiveSession) -> None:
        self._live = live
        self._opening: Optional[asyncio.Task[Channel]] = None
        self._tasks = Tasks()
        self._pending: dict[int, tuple[asyncio.Future[Answer], dict[str, Any]]] = {}
        self._count = 0
        self._queue: deque[bytes] = deque()
        self._queued = 0
        self._changes = Changes()

    @property
    def channel(self) -> Channel:
        """The channel of the last call."""
        assert self._opening is not None
        return self._opening.result()

    async def call(self, call: FileCall, channel: Optional[Channel] = None) -> CallAnswer:
        """Do a call that is answered by no bytes. Raises FileError, and what ends the session."""
        answer = await (await self.begin(CALL, encode_json(call.encode()), channel))
        if isinstance(answer, bytes):
            raise RemoteProtocolError("bytes came as the answer to a call for none")
        return answer

    async def begin(
        self, record_type: int, payload: bytes, channel: Optional[Channel] = None
    ) -> asyncio.Future[Answer]:
        """Send a call once there is room; the future gets an answer, bytes, or an error.

        One that names a file goes to the `channel` that the file was opened on: on the next one its
        number is another file's.
        """
        if channel is not None and channel.is_over:
            raise ChannelReset("closed", "the channel on which the file was open has ended")
        opening = self._opening
        if opening is None or (opening.done() and _has_failed(opening)):
            self._opening = opening = asyncio.get_running_loop().create_task(self._connect())
        await asyncio.shield(opening)
        while self._queued >= _WAITING:
            await self._changes.wait()
        self._count = self._count % (2**32 - 1) + 1
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._pending[self._count] = future, {}
        record = encode(record_type, self._count, payload)
        self._queue.append(record)
        self._queued += len(record)
        self._changes.notify()
        return future

    async def _connect(self) -> Channel:
        channel = await ask(self._live, "files", FilesRequest("call"))
        self._queue.clear()
        self._queued = 0
        self._tasks.own(self._listen(channel))
        self._tasks.own(self._write(channel))
        return channel

    async def _write(self, channel: Channel) -> None:
        try:
            while not channel.is_over:
                if not self._queue:
                    await self._changes.wait()
                    continue
                record = self._queue.popleft()
                await channel.write(record)
                self._queued -= len(record)
                self._changes.notify()
        except RshellError:
            pass  # whoever listens tells it

    async def _listen(self, channel: Channel) -> None:
        """Hand answers to those who wait, until the channel ends."""
        decoder = RecordDecoder(ANSWER, BYTES)
        error: RshellError = ChannelReset("closed", "the server closed the channel")
        try:
            async for block in channel.stream(0):
                for record in decoder.feed(block):
                    if record.type == BYTES:
                        self._answer(record.number, bytes(record.payload))
                    else:
                        self._answer(record.number, CallAnswer.decode(decode_json(record)))
            await channel.wait_closed()
        except RemoteProtocolError as wrong:
            error = wrong
            channel.reset("bad-message", str(wrong))
            await channel.wait_closed()
        except RshellError as over:
            error = over
            await channel.wait_closed()
        finally:
            # Also where a loop that ends cancels all tasks: those who wait have files to close.
            if not channel.is_over:
                channel.reset("cancelled", "the client gave up")
            self._end_all(error)

    def _end_all(self, error: RshellError) -> None:
        pending, self._pending = self._pending, {}
        self._queued = 0
        self._changes.notify()
        for future, _ in pending.values():
            if not future.done():
                future.set_exception(error)
                future.exception()  # whoever gave up does not ask

    def _answer(self, number: int, answer: Answer) -> None:
        found = self._pending.get(number)
        if found is None:
            raise RemoteProtocolError(f"an answer to the call {number}, which waits for none")
        future, entries = found
        if isinstance(answer, CallAnswer):
            entries.update(answer.entries)
            if answer.more:
                return
            answer = answer.replace(entries=entries)
        del self._pending[number]
        if future.done():  # nobody waits any more
            return
        if isinstance(answer, CallAnswer) and answer.trouble is not None:
            future.set_exception(from_trouble(answer.trouble))
            future.exception()
        else:
            future.set_result(answer)


def _has_failed(opening: asyncio.Task[Channel]) -> bool:
    return opening.cancelled() or bool(opening.exception()) or opening.result().is_over


def stat_of(answer: CallAnswer) -> FileStat:
    """Return what an answer says of a file. Raises RemoteProtocolError where it says nothing."""
    if answer.stat is None:
        raise RemoteProtocolError("an answer lacks what was asked for")
    return answer.stat
