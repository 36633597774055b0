"""What can be a command's input, and what can't."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest

from rshell.channels.process.feeding import blocks_of


async def text_in_pieces() -> AsyncIterator[bytes | str]:
    for piece in ("ä", b"\xff", bytearray(b"1"), memoryview(b"2")):
        yield piece  # type: ignore[misc]


async def all_of(source: Any, encoding: str = "utf-8") -> bytes:
    return b"".join([bytes(block) async for block in blocks_of(source, encoding)])


class Dry(io.RawIOBase):
    """A file that does not wait and has nothing."""

    def read(self, size: int = -1, /) -> None:
        return None


async def test_bytes_text_files_and_iterators_are_input() -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(b"a\nb")
    reader.feed_eof()
    for source, wanted in (
        (b"\xff", b"\xff"),
        (bytearray(b"x"), b"x"),
        (memoryview(b"x"), b"x"),
        ("ä", b"\xc3\xa4"),
        ("", b""),
        (io.BytesIO(b"x" * 1_000_000), b"x" * 1_000_000),
        (io.StringIO("ä"), b"\xc3\xa4"),
        (text_in_pieces(), b"\xc3\xa4\xff12"),
        (reader, b"a\nb"),
    ):
        assert await all_of(source) == wanted
    assert await all_of(io.StringIO("ä"), "latin-1") == b"\xe4"


async def test_what_can_be_no_input_is_told_at_once_and_its_blocks_in_their_turn() -> None:
    for source in (5, [b"x"], object()):
        with pytest.raises(TypeError, match="the input is bytes, text, a file or"):
            blocks_of(source, "utf-8")  # type: ignore[arg-type]

    async def numbers() -> AsyncIterator[int]:
        yield 1

    with pytest.raises(TypeError, match="bytes or text, not int"):
        await all_of(numbers())
    with pytest.raises(BlockingIOError):
        await all_of(Dry())


async def test_a_file_that_has_nothing_now_is_not_taken_for_one_at_its_end() -> None:
    for mode in ("rb", "r"):
        for has_ended in (False, True):
            reading, writing = os.pipe()
            os.set_blocking(reading, False)
            os.write(writing, b"half")
            with os.fdopen(reading, mode) as file:
                blocks = blocks_of(file, "utf-8")
                assert bytes(await blocks.__anext__()) == b"half"
                if has_ended:
                    os.close(writing)
                with pytest.raises(StopAsyncIteration if has_ended else BlockingIOError):
                    await blocks.__anext__()
            if not has_ended:
                os.close(writing)
