"""Reading one stream of a channel.

A reader keeps blocks as they arrived, and hands them out in the same shape where the caller lets
it; only where many wait are small ones joined, because a block costs more than its bytes. It
reports every byte that it hands out, which grants the sender new credit: a reader that stops
reading stops the sender.

Hazard: an error must not overtake the data before it. What arrived is read first, then the
error is raised, at every later read again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

from rshell.aio import require_loop, running_loop
from rshell.errors import RshellError

_SMALL = 1024  # bytes, up to which blocks are joined
_MANY = 64  # blocks that wait before small ones are joined


class ByteReader:
    """One incoming stream of bytes.

    `async for block in reader` yields non-empty blocks of any size until the end. One task may
    read at a time. Cancelling a read is safe: no byte is lost.
    Every read raises the RshellError that cut the stream short, after what came before it.
    `received` counts the bytes that have arrived, read or not.
    """

    def __init__(self, consumed: Callable[[int], None]) -> None:
        self._consumed = consumed
        self._loop = running_loop()
        self._blocks: deque[bytes] = deque()
        self._at = 0  # so many bytes of the first block were read
        self._size = 0
        self._credited = 0  # bytes at the front that were credited, then put back
        self.received = 0
        self._ended = False
        self._error: RshellError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._is_collecting = False
        self._arrived: Callable[[int], None] | None = None

    # What the channel calls.

    def feed(self, data: bytes) -> None:
        """Add arrived bytes."""
        blocks = self._blocks
        if len(data) < _SMALL and len(blocks) >= _MANY and len(blocks[-1]) < _SMALL:
            blocks[-1] += data
        else:
            blocks.append(data)
        self._size += len(data)
        self.received += len(data)
        if self._is_collecting:
            self._consumed(len(data))
            if self._arrived is not None:
                self._arrived(len(data))
        self._wake()

    def feed_eof(self) -> None:
        """Note the end of the stream. The first end counts."""
        self._ended = True
        self._wake()

    def fail(self, error: RshellError) -> None:
        """Note what cut the stream short. The first end counts."""
        if not self._ended:
            self._ended = True
            self._error = error
        self._wake()

    def let_go(self) -> None:
        """Report no more bytes: no credit is due, and who hears of them may hold this reader."""
        self._consumed, self._arrived = _ignore, None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # What readers call.

    @property
    def size(self) -> int:
        """How many bytes are kept now."""
        return self._size

    def at_eof(self) -> bool:
        """Whether the stream has ended and everything was read."""
        return self._ended and not self._blocks

    def collect(self, arrived: Callable[[int], None] | None = None) -> None:
        """Grant credit on arrival from now on: the caller wants all of it, in memory.

        `arrived` is told the size of each block, those kept already included.
        """
        self._arrived = arrived
        if not self._is_collecting:
            self._is_collecting = True
            if self._size:
                self._consumed(self._size - self._credited)
                self._credited = 0
                if arrived is not None:
                    arrived(self._size)

    def take(self) -> bytes:
        """Return everything that is kept now, without waiting."""
        self._cut_front()
        data = self._blocks[0] if len(self._blocks) == 1 else b"".join(self._blocks)
        self._blocks.clear()
        self._hand_out(len(data))
        return data

    async def read_block(self) -> bytes:
        """Return the next block as it arrived, b"" at the end."""
        if not await self._wait_for(1):
            return b""
        return self._split(len(self._blocks[0]) - self._at)

    async def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes, at least one unless at the end; -1 reads to the end."""
        if size < 0:
            self.collect()
            while not self._ended:
                await self._wait_for(self._size + 1)
            self._raise_error_at_end(final=True)
            return self.take()
        if size == 0 or not await self._wait_for(1):
            return b""
        return self._split(min(size, len(self._blocks[0]) - self._at))

    async def readexactly(self, size: int) -> bytes:
        """Return exactly `size` bytes.

        Raises asyncio.IncompleteReadError, with what there is, at an earlier end.
        """
        collected = bytearray()
        try:
            while len(collected) < size:
                part = await self.read(size - len(collected))
                if not part:
                    raise asyncio.IncompleteReadError(bytes(collected), size)
                collected += part
        except (asyncio.CancelledError, RshellError):
            self._put_back(collected)
            raise
        return bytes(collected)

    async def readline(self) -> bytes:
        """Return one line with its newline, the rest without one at the end, then b""."""
        line = bytearray()
        try:
            while await self._wait_for(1):
                block = self._blocks[0]
                end = block.find(b"\n", self._at) + 1
                line += self._split((end or len(block)) - self._at)
                if end:
                    break
        except (asyncio.CancelledError, RshellError):
            self._put_back(line)
            raise
        return bytes(line)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while block := await self.read_block():
            yield block

    def _split(self, size: int) -> bytes:
        """Take `size` bytes, at most what is left of the first block."""
        block, start = self._blocks[0], self._at
        self._at += size
        if self._at == len(block):
            self._blocks.popleft()
            self._at = 0
        self._hand_out(size)
        return block if size == len(block) else block[start : start + size]

    def _cut_front(self) -> None:
        """Drop what was read of the first block. A copy, so not for each line of it."""
        if self._at:
            self._blocks[0] = self._blocks[0][self._at :]
            self._at = 0

    def _hand_out(self, size: int) -> None:
        self._size -= size
        if not self._is_collecting:
            before = min(size, self._credited)
            self._credited -= before
            if size > before:
                self._consumed(size - before)

    def _put_back(self, data: bytearray) -> None:
        """Keep bytes for the next read after all; their credit is granted already."""
        if data:
            self._cut_front()
            self._blocks.appendleft(bytes(data))
            self._size += len(data)
            if not self._is_collecting:
                self._credited += len(data)

    async def _wait_for(self, size: int) -> bool:
        """Wait until `size` bytes are kept; False when the stream ends before."""
        while self._size < size:
            if self._ended:
                self._raise_error_at_end(final=False)
                return False
            require_loop(self._loop, "this stream")
            if self._waiter is not None:
                raise RuntimeError("two tasks read one stream")
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return True

    def _raise_error_at_end(self, *, final: bool) -> None:
        if self._error is not None and (final or not self._blocks):
            raise self._error


def _ignore(size: int) -> None:
    """Count bytes for nobody."""


class TextReader:
    """A `ByteReader` decoded incrementally: yields strings, never half a character."""

    def __init__(self, reader: ByteReader, encoding: str) -> None:
        import codecs

        self._reader = reader
        self._decoder = codecs.getincrementaldecoder(encoding)("replace")
        self._text = ""  # decoded; what comes before `_at` was handed out
        self._at = 0

    async def read(self) -> str:
        """Return the text up to the end."""
        data = await self._reader.read()
        return self._take() + self._decoder.decode(data, final=True)

    async def readline(self) -> str:
        """Return one line with its newline, the rest without one at the end, then ""."""
        searched = self._at
        while not (end := self._text.find("\n", searched) + 1):
            searched = len(self._text) - self._at
            block = await self._reader.read_block()
            self._text = self._take() + self._decoder.decode(block, final=not block)
            if not block:
                return self._take()
        start, self._at = self._at, end
        return self._text[start:end]

    async def __aiter__(self) -> AsyncIterator[str]:
        if text := self._take():
            yield text
        async for block in self._reader:
            if text := self._decoder.decode(block):
                yield text
        if text := self._decoder.decode(b"", final=True):
            yield text

    def _take(self) -> str:
        text = self._text[self._at :]
        self._text, self._at = "", 0
        return text
