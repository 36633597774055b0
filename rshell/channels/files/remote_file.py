"""An open file of the server, at the client.

A file that is read or written in order keeps several pieces on their way, so that a round trip does
not count for each.

Hazard: a write that was not answered may have failed. `flush`, `close` and later writes say so.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from typing import Any, TypeVar

from rshell.channels.files.call_channel import Answer, CallChannel
from rshell.channels.files.messages import FileCall, FileStat
from rshell.channels.files.records import CALL, PIECE, WRITE, WRITE_HEAD
from rshell.errors import FileError, RemoteProtocolError
from rshell.protocol.codec import encode_json

_T = TypeVar("_T")
_AHEAD = 8  # pieces on their way


class RemoteFile:
    """An open file of the server. `size` is as it was when it was opened.

    `read`, `write` and `seek` have one position; `read_at` and `write_at` have none. One task may
    use the position. Leaving its `async with` block closes it, and says what could not be written.
    """

    def __init__(
        self, calls: CallChannel, path: str, number: int, stat: FileStat, *, appends: bool
    ) -> None:
        self.path = path
        self.size = stat.size
        self._calls = calls
        self._channel = calls.channel
        self._number = number
        self._at = stat.size if appends else 0
        self._writes: deque[asyncio.Future[Answer]] = deque()
        self._is_open = True

    async def __aenter__(self) -> RemoteFile:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def read_at(self, offset: int, size: int) -> bytes:
        """Return up to `size` bytes from `offset` on, fewer only at the end."""
        parts = []
        async for part in self._read_range(offset, offset + size):
            parts.append(part)
        return b"".join(parts)

    async def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes, fewer only at the end; -1 reads to the end."""
        end = 2**62 if size < 0 else self._at + size
        parts = []
        async for part in self._read_range(self._at, end):
            parts.append(part)
            self._at += len(part)
        return b"".join(parts)

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        async for part in self._read_range(self._at, 2**62):
            self._at += len(part)
            yield part

    async def _read_range(self, at: int, end: int) -> AsyncIterator[bytes]:
        await self.flush()
        waiting: deque[tuple[int, asyncio.Future[Answer]]] = deque()
        asked = at
        try:
            while True:
                while asked < end and len(waiting) < _AHEAD:
                    size = min(PIECE, end - asked)
                    waiting.append((size, await self._begin_read(asked, size)))
                    asked += size
                    if not waiting[0][1].done() and asked > self.size:
                        break  # not far beyond the end
                if not waiting:
                    return
                size, future = waiting.popleft()
                data = await self._of_this(future)
                if not isinstance(data, bytes) or len(data) > size:
                    raise RemoteProtocolError("a read was answered with something else")
                if data:
                    yield data
                if len(data) < size:
                    return
        finally:
            for _, future in waiting:
                future.cancel()

    async def _begin_read(self, offset: int, size: int) -> asyncio.Future[Answer]:
        call = FileCall("read", file=self._number, offset=offset, size=size)
        return await self._calls.begin(CALL, encode_json(call.encode()), self._channel)

    async def write_at(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Write bytes at `offset`; they are written when `flush` or `close` returns."""
        view = memoryview(data).cast("B")
        for start in range(0, len(view), PIECE):
            await self._collect(_AHEAD - 1)
            head = WRITE_HEAD.pack(self._number, offset + start)
            payload = head + view[start : start + PIECE]
            self._writes.append(await self._calls.begin(WRITE, payload, self._channel))

    async def write(self, data: bytes | bytearray | memoryview) -> int:
        """Write bytes at the position; return how many that were."""
        await self.write_at(self._at, data)
        size = memoryview(data).nbytes
        self._at += size
        return size

    async def flush(self) -> None:
        """Wait until everything is written. Raises what a write failed with."""
        await self._collect(0)

    async def _collect(self, most: int) -> None:
        while len(self._writes) > most:
            await self._of_this(self._writes.popleft())

    async def _of_this(self, answer: Awaitable[_T]) -> _T:
        """Return an answer. Raises its error with this file's name."""
        try:
            return await answer
        except FileError as error:
            error.filename = self.path
            raise

    def seek(self, offset: int) -> None:
        """Go to `offset` bytes from the beginning."""
        if offset < 0:
            raise ValueError("a position is not below 0")
        self._at = offset

    def tell(self) -> int:
        """Return the position."""
        return self._at

    async def truncate(self, size: int) -> None:
        """Make the file `size` bytes long."""
        await self.flush()
        await self._call("truncate", size=size)

    async def fsync(self) -> None:
        """Wait until everything is on the disk."""
        await self.flush()
        await self._call("fsync")

    async def close(self) -> None:
        """Close the file. Raises what a write failed with; does nothing when it is closed."""
        if not self._is_open:
            return
        self._is_open = False
        try:
            await self.flush()
        finally:
            await self._call("close")

    async def _call(self, op: str, **more: Any) -> None:
        call = FileCall(op, file=self._number, **more)
        await self._of_this(self._calls.call(call, self._channel))
