"""What a program gives a command as its input: bytes, text, a file, or blocks that come one by one.

`blocks_of` makes one thing of all of them, an asynchronous iterator of bytes. What can be no input
is told before anything runs; what goes wrong later is raised by the iterator, in its turn.

Hazard: reading a file blocks, and a pipe or a terminal may block for ever. A thread reads in our
place, which nobody waits for: after a cancellation it may still take one block.

Hazard: a file with a buffer says of a descriptor that does not wait and has nothing now what it
says at the end. Who believed it would take a half for the whole.
"""

from __future__ import annotations

import asyncio
import inspect
import io
import os
import select
from collections.abc import AsyncIterable, AsyncIterator, Callable
from typing import Any, Protocol, Union

from rshell.aio import in_thread

_BLOCK = 240 * 1024


class Readable(Protocol):
    """A file, open for reading: its `read(size)` returns bytes or text, empty at the end."""

    def read(self, size: int, /) -> bytes | str | None:
        """Return up to `size` bytes or characters."""


Block = Union[bytes, bytearray, memoryview, str]
Input = Union[Block, Readable, AsyncIterable[Block]]


def blocks_of(source: Input, encoding: str) -> AsyncIterator[bytes | bytearray | memoryview]:
    """Return the blocks of an input; text becomes bytes of `encoding`.

    Raises TypeError for what is none. The blocks raise what their source raises, TypeError for one
    that is neither bytes nor text, and BlockingIOError for a file that has nothing to read now.
    """
    if isinstance(source, (bytes, bytearray, memoryview, str)):
        return _one(as_block(source, encoding))
    if isinstance(source, AsyncIterable):
        return _each(source, encoding)
    read: Callable[[int], Any] | None = getattr(source, "read1", None) or getattr(
        source, "read", None
    )
    if not callable(read) or inspect.iscoroutinefunction(read):
        raise TypeError(
            "the input is bytes, text, a file or an asynchronous iterator, "
            f"not {type(source).__name__}"
        )
    return _read(source, read, encoding)


def as_block(block: Block, encoding: str) -> bytes | bytearray | memoryview:
    """Return one block as bytes. Raises TypeError, and UnicodeEncodeError."""
    if isinstance(block, str):
        return block.encode(encoding)
    if not isinstance(block, (bytes, bytearray, memoryview)):
        raise TypeError(f"the input is bytes or text, not {type(block).__name__}")
    return block


async def _one(
    block: bytes | bytearray | memoryview,
) -> AsyncIterator[bytes | bytearray | memoryview]:
    yield block


async def _each(
    source: AsyncIterable[Block], encoding: str
) -> AsyncIterator[bytes | bytearray | memoryview]:
    async for block in source:
        yield as_block(block, encoding)


async def _read(
    source: Any, read: Callable[[int], Any], encoding: str
) -> AsyncIterator[bytes | bytearray | memoryview]:
    def read_block() -> Any:
        block = read(_BLOCK)
        if block is not None and not block and (fd := _never_waiting(source)) is not None:
            block = read(_BLOCK) if _is_ready(fd) else None
        if block is None:
            raise BlockingIOError("the input is a file that does not wait, and has nothing now")
        return block

    while block := await asyncio.wrap_future(in_thread(read_block, "reading the input")):
        yield as_block(block, encoding)


def _never_waiting(source: Any) -> int | None:
    """Return the descriptor below a file with a buffer if it does not wait, else None."""
    raw = getattr(getattr(source, "buffer", source), "raw", None)
    if not isinstance(raw, io.FileIO) or os.get_blocking(raw.fileno()):
        return None
    return raw.fileno()


def _is_ready(fd: int) -> bool:
    """Whether there is something to read now, which may be the end."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))
