"""Reading a stream: every way to read it, credit, errors after data, and half characters."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rshell.errors import LinkLost
from rshell.transport.streams import ByteReader, TextReader

LOST = LinkLost("cut")

Read = Callable[[ByteReader], Awaitable[object]]


class Fed:
    """A reader with what it credited."""

    def __init__(self, *blocks: bytes, ended: bool = True) -> None:
        self.credited = 0
        self.reader = ByteReader(self._consumed)
        for block in blocks:
            self.reader.feed(block)
        if ended:
            self.reader.feed_eof()

    def _consumed(self, size: int) -> None:
        self.credited += size


async def all_blocks(reader: ByteReader) -> list[bytes]:
    return [block async for block in reader]


async def test_iterating_yields_the_blocks_as_they_came() -> None:
    fed = Fed(b"ab", b"c", b"def")
    assert await all_blocks(fed.reader) == [b"ab", b"c", b"def"]
    assert fed.credited == fed.reader.received == 6
    assert fed.reader.at_eof()
    assert await all_blocks(fed.reader) == []


async def test_a_million_blocks_of_one_byte_are_not_a_million_blocks() -> None:
    sent = [bytes((number % 251, number % 241)) for number in range(20_000)]
    blocks = await all_blocks(Fed(*sent).reader)
    assert len(blocks) < 200
    assert b"".join(blocks) == b"".join(sent)


async def test_read_gives_at_most_one_block_and_never_more_than_asked() -> None:
    fed = Fed(b"abc", b"def")
    assert await fed.reader.read(2) == b"ab"
    assert (fed.credited, fed.reader.size) == (2, 4)
    assert await fed.reader.read(100) == b"c"
    assert await fed.reader.read(0) == b""
    assert not fed.reader.at_eof()
    assert await fed.reader.read(100) == b"def"
    assert await fed.reader.read(100) == b""
    assert fed.credited == 6


async def test_read_to_the_end_waits_for_the_end() -> None:
    fed = Fed(b"abc", ended=False)
    reading = asyncio.ensure_future(fed.reader.read())
    await asyncio.sleep(0)
    assert fed.credited == 3  # or the sender would stop at a full window
    fed.reader.feed(b"def")
    await asyncio.sleep(0)
    assert not reading.done()
    fed.reader.feed_eof()
    assert await reading == b"abcdef"
    assert fed.credited == 6
    assert await fed.reader.read() == b""


async def test_readexactly_joins_blocks_and_leaves_the_rest() -> None:
    fed = Fed(b"abc", b"def")
    assert await fed.reader.readexactly(4) == b"abcd"
    assert await fed.reader.readexactly(0) == b""
    with pytest.raises(asyncio.IncompleteReadError) as caught:
        await fed.reader.readexactly(3)
    assert (caught.value.partial, caught.value.expected) == (b"ef", 3)


async def test_readline_joins_blocks_and_ends_without_a_newline() -> None:
    fed = Fed(b"on", b"e\ntwo\n\nthr", b"ee")
    lines = [await fed.reader.readline() for _ in range(5)]
    assert lines == [b"one\n", b"two\n", b"\n", b"three", b""]


async def test_read_block_and_take_and_size() -> None:
    fed = Fed(b"ab", b"cd", b"ef", ended=False)
    assert await fed.reader.read_block() == b"ab"
    assert fed.reader.size == 4
    assert fed.reader.take() == b"cdef"
    assert fed.reader.take() == b""
    assert (fed.reader.size, fed.credited) == (0, 6)
    assert not fed.reader.at_eof()
    fed.reader.feed_eof()
    assert await fed.reader.read_block() == b""


async def test_a_read_waits_until_bytes_arrive() -> None:
    fed = Fed(ended=False)
    reading = asyncio.ensure_future(fed.reader.read(10))
    await asyncio.sleep(0)
    assert not reading.done()
    fed.reader.feed(b"x")
    assert await reading == b"x"


async def test_collecting_credits_on_arrival_and_once() -> None:
    fed = Fed(b"abc", ended=False)
    arrived: list[int] = []
    fed.reader.collect(arrived.append)
    assert (fed.credited, arrived) == (3, [3])
    fed.reader.collect(arrived.append)
    assert (fed.credited, arrived) == (3, [3])
    fed.reader.feed(b"de")
    assert (fed.credited, arrived) == (5, [3, 2])
    assert fed.reader.take() == b"abcde"
    assert fed.credited == 5


READS: dict[str, Read] = {
    "read": lambda reader: reader.read(5),
    "read to the end": lambda reader: reader.read(),
    "readexactly": lambda reader: reader.readexactly(100),
    "readline": lambda reader: reader.readline(),
    "read_block": lambda reader: reader.read_block(),
}


@pytest.mark.parametrize("name", ["read", "read to the end", "read_block"])
async def test_a_cancelled_read_loses_nothing(name: str) -> None:
    fed = Fed(ended=False)
    reading = asyncio.ensure_future(READS[name](fed.reader))
    await asyncio.sleep(0)
    # The bytes arrive and the cancellation comes before the reader has run again.
    fed.reader.feed(b"precious")
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    fed.reader.feed_eof()
    assert await fed.reader.read() == b"precious"


@pytest.mark.parametrize("name", ["readline", "readexactly"])
async def test_a_cancelled_read_of_several_blocks_puts_back_what_it_took(name: str) -> None:
    fed = Fed(b"half ", b"a ", ended=False)
    reading = asyncio.ensure_future(READS[name](fed.reader))
    await asyncio.sleep(0)
    # Credited as it was taken, or a line longer than the window would never arrive.
    assert (fed.reader.size, fed.credited) == (0, 7)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert fed.reader.size == 7
    fed.reader.feed(b"line\n")
    fed.reader.feed_eof()
    assert await fed.reader.readline() == b"half a line\n"
    assert fed.credited == fed.reader.received == 12


async def test_collecting_what_was_put_back_does_not_credit_it_twice() -> None:
    fed = Fed(b"half ", ended=False)
    reading = asyncio.ensure_future(fed.reader.readline())
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    fed.reader.feed(b"rest")
    fed.reader.feed_eof()
    assert await fed.reader.read() == b"half rest"
    assert fed.credited == 9


async def test_an_error_in_the_middle_of_a_line_leaves_the_half_line_to_be_read() -> None:
    fed = Fed(b"half a ", b"line", ended=False)
    fed.reader.fail(LOST)
    with pytest.raises(LinkLost):
        await fed.reader.readline()
    assert await fed.reader.read(100) == b"half a line"
    assert fed.credited == 11
    with pytest.raises(LinkLost):
        await fed.reader.read(100)


@pytest.mark.parametrize("name", READS)
async def test_an_error_does_not_overtake_the_data_before_it(name: str) -> None:
    fed = Fed(b"abc\n", ended=False)
    fed.reader.fail(LOST)
    if name in ("read to the end", "readexactly"):
        # Half an answer must not pass for a whole one.
        with pytest.raises(LinkLost):
            await READS[name](fed.reader)
    else:
        assert await READS[name](fed.reader) == b"abc\n"
    for _ in range(2):
        with pytest.raises(LinkLost):
            await READS[name](fed.reader)


async def test_a_waiting_read_gets_the_error() -> None:
    fed = Fed(ended=False)
    reading = asyncio.ensure_future(fed.reader.read_block())
    await asyncio.sleep(0)
    fed.reader.fail(LOST)
    with pytest.raises(LinkLost):
        await reading


async def test_iterating_raises_the_error_after_the_data() -> None:
    fed = Fed(b"abc", ended=False)
    fed.reader.fail(LOST)
    seen = []
    with pytest.raises(LinkLost):
        async for block in fed.reader:
            seen.append(block)
    assert seen == [b"abc"]


async def test_an_error_after_the_end_changes_nothing() -> None:
    fed = Fed(b"abc")
    fed.reader.fail(LOST)
    assert await fed.reader.read() == b"abc"
    assert await fed.reader.read(1) == b""


async def test_two_readers_at_once_are_a_bug_and_are_told() -> None:
    fed = Fed(ended=False)
    first = asyncio.ensure_future(fed.reader.read(1))
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="two tasks"):
        await fed.reader.read(1)
    fed.reader.feed(b"x")
    assert await first == b"x"


@given(blocks=st.lists(st.binary(min_size=1, max_size=9)), sizes=st.lists(st.integers(1, 7)))
def test_any_mixture_of_reads_gives_every_byte_once(blocks: list[bytes], sizes: list[int]) -> None:
    async def read_all() -> tuple[bytes, int]:
        fed = Fed(*blocks)
        got = b""
        for index, size in enumerate(sizes):
            got += await (fed.reader.readline() if index % 3 == 2 else fed.reader.read(size))
        return got + await fed.reader.read(), fed.credited

    whole = b"".join(blocks)
    assert asyncio.run(read_all()) == (whole, len(whole))


TEXT = "naïve 漢字 🐚\nsecond líne\n"


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "latin-1"])
async def test_text_never_holds_half_a_character(size: int, encoding: str) -> None:
    text = TEXT if encoding != "latin-1" else "naïve\n"
    raw = text.encode(encoding)
    blocks = [raw[at : at + size] for at in range(0, len(raw), size)]
    parts = [part async for part in TextReader(Fed(*blocks).reader, encoding)]
    assert "".join(parts) == text
    assert "" not in parts
    assert await TextReader(Fed(*blocks).reader, encoding).read() == text


async def test_text_lines() -> None:
    raw = (TEXT + "no newline é").encode()
    reader = TextReader(Fed(*(raw[at : at + 1] for at in range(len(raw)))).reader, "utf-8")
    lines = [await reader.readline() for _ in range(4)]
    assert lines == ["naïve 漢字 🐚\n", "second líne\n", "no newline é", ""]


async def test_what_is_not_text_becomes_replacement_characters() -> None:
    parts = [part async for part in TextReader(Fed(b"a\xff", b"b\xe6\xbc").reader, "utf-8")]
    assert "".join(parts) == "a\ufffdb\ufffd"


async def test_a_last_line_that_ends_in_half_a_character_does_not_look_like_the_end() -> None:
    reader = TextReader(Fed(b"\xe6").reader, "utf-8")
    assert [await reader.readline() for _ in range(2)] == ["\ufffd", ""]


def test_an_unknown_encoding_is_refused_at_once() -> None:
    with pytest.raises(LookupError):
        TextReader(ByteReader(lambda size: None), "no-such-encoding")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "utf-32-be", "latin-1"])
async def test_lines_end_where_the_text_says_so(encoding: str) -> None:
    """In UTF-16 a byte of 10 need not be a newline, nor its end the newline's."""
    lines = ["a\n", "\n", "\u00ea\n", "b" * 300 + "\n", "\u00e5 rest"]
    if encoding != "latin-1":
        lines.insert(2, "\u0a0a\u0b0a\u6f22\n")
    raw = "".join(lines).encode(encoding)
    for size in (1, 2, 3, 7, len(raw)):
        reader = TextReader(
            Fed(*(raw[at : at + size] for at in range(0, len(raw), size))).reader, encoding
        )
        assert [await reader.readline() for _ in range(len(lines) + 2)] == [*lines, "", ""]


async def test_lines_and_the_rest_can_be_read_in_turn() -> None:
    reader = TextReader(Fed(b"one\ntwo\nthree\nfo", b"ur\nfive").reader, "utf-8")
    assert await reader.readline() == "one\n"
    assert [part async for part in reader] == ["two\nthree\nfo", "ur\nfive"]
    reader = TextReader(Fed(b"one\ntwo\n", b"three").reader, "utf-8")
    assert await reader.readline() == "one\n"
    assert await reader.read() == "two\nthree"


async def test_pieces_of_a_block_are_read_in_every_way() -> None:
    fed = Fed(b"one\ntwo\nthree four", b" five six")
    reader = fed.reader
    assert await reader.readline() == b"one\n"
    assert await reader.read(2) == b"tw"
    assert await reader.readexactly(3) == b"o\nt"
    assert await reader.read_block() == b"hree four"
    assert await reader.read(1) == b" "
    assert reader.take() == b"five six"
