from __future__ import annotations

import random
import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from rshell.errors import RemoteProtocolError
from rshell.protocol.frames import (
    HEADER,
    Frame,
    FrameDecoder,
    FrameType,
    encode_data_header,
    encode_frame,
)
from tests.support.rows import row

Plain = tuple[int, int, bytes]
LIMIT = 100

plain_frames = st.lists(
    st.tuples(st.integers(0, 255), st.integers(0, 2**32 - 1), st.binary(max_size=LIMIT)),
    max_size=6,
)


def feed(decoder: FrameDecoder, pieces: list[bytes]) -> tuple[list[Plain], str]:
    """Return the frames and, where the stream breaks the rules, the error's code."""
    frames: list[Plain] = []
    try:
        for piece in pieces:
            for item in decoder.feed(piece):
                frames.append((item.type, item.channel, bytes(item.body)))
    except RemoteProtocolError as error:
        return frames, error.code
    return frames, ""


def split(data: bytes, seed: int) -> list[bytes]:
    chance = random.Random(seed)
    borders = sorted(chance.randrange(len(data) + 1) for _ in range(chance.randrange(9)))
    return [data[a:b] for a, b in zip([0, *borders], [*borders, len(data)], strict=True)]


def test_the_wire_numbers_never_change() -> None:
    assert {member.name: member.value for member in FrameType} == {
        "HELLO": 1,
        "AUTH": 2,
        "ATTACH": 3,
        "ATTACHED": 4,
        "PING": 5,
        "PONG": 6,
        "ACK": 7,
        "GOODBYE": 8,
        "OPEN": 16,
        "OPENED": 17,
        "REFUSED": 18,
        "DATA": 19,
        "EOF": 20,
        "WINDOW": 21,
        "MESSAGE": 22,
        "CLOSE": 23,
        "RESET": 24,
    }


def test_which_types_count_in_the_sequence() -> None:
    for number, is_sequenced in [
        (8, False),
        (15, False),
        (16, True),
        (24, True),
        (128, False),
        (191, False),
        (192, True),
    ]:
        with row(number, is_sequenced):
            assert Frame(number, 0, b"").is_sequenced is is_sequenced


def test_a_frame_is_nine_bytes_of_header_and_its_body() -> None:
    assert encode_frame(5, 0x01020304, b"ab") == bytes.fromhex("00000002 05 01020304 6162")
    assert encode_data_header(7, 2, 3) == bytes.fromhex("00000004 13 00000007 02")


@given(plain_frames, st.integers(0, 2**32), st.binary(max_size=8))
def test_any_split_gives_the_same_frames(frames: list[Plain], seed: int, rest: bytes) -> None:
    data = b"".join(encode_frame(*item) for item in frames) + rest
    for pieces in ([data], [data[i : i + 1] for i in range(len(data))], split(data, seed)):
        decoder = FrameDecoder(LIMIT)
        assert feed(decoder, pieces) == (frames, "")
        assert decoder.is_inside_frame is bool(rest)


@given(plain_frames, st.integers(0, 2**32), st.integers(LIMIT + 1, 2**32 - 1))
def test_any_split_of_a_stream_that_ends_in_an_error_gives_the_same(
    frames: list[Plain], seed: int, length: int
) -> None:
    data = b"".join(encode_frame(*item) for item in frames) + HEADER.pack(length, 19, 1) + b"xyz"
    for pieces in ([data], [data[i : i + 1] for i in range(len(data))], split(data, seed)):
        assert feed(FrameDecoder(LIMIT), pieces) == (frames, "frame-too-long")


def test_the_limit_itself_is_allowed_and_one_more_is_not() -> None:
    for body_size, code in ((LIMIT, ""), (LIMIT + 1, "frame-too-long")):
        data = encode_frame(19, 1, bytes(body_size))
        for pieces in ([data], [data[:3], data[3:]], [data[:9], data[9:]]):
            assert feed(FrameDecoder(LIMIT), pieces)[1] == code


def test_a_giant_length_is_refused_before_any_byte_of_the_body_is_kept() -> None:
    header = HEADER.pack(2**32 - 1, 19, 1)
    for pieces in ([header], [header[:4], header[4:]], [bytes((byte,)) for byte in header]):
        decoder = FrameDecoder(LIMIT)
        assert feed(decoder, pieces) == ([], "frame-too-long")
        assert len(decoder._partial) <= HEADER.size


def test_a_trickle_keeps_no_more_than_one_frame() -> None:
    decoder = FrameDecoder(LIMIT)
    data = encode_frame(19, 1, bytes(LIMIT)) * 50
    for at in range(0, len(data), 7):
        list(decoder.feed(data[at : at + 7]))
        assert len(decoder._partial) <= HEADER.size + LIMIT


def test_the_limit_may_rise_between_frames_of_one_feed() -> None:
    data = encode_frame(4, 0, b"a") + encode_frame(19, 1, bytes(1000))
    decoder = FrameDecoder(LIMIT)
    sizes = []
    for item in decoder.feed(data):
        sizes.append(len(item.body))
        decoder.limit = 1000
    assert sizes == [1, 1000]


def test_bodies_of_a_large_feed_are_views_and_cost_no_memory() -> None:
    data = encode_frame(19, 1, bytes(200_000)) * 10
    decoder = FrameDecoder(200_000)
    tracemalloc.start()
    try:
        count = sum(len(item.body) for item in decoder.feed(data))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 2_000_000
    assert peak < 50_000


def test_memoryviews_and_bytearrays_may_be_fed_and_reused() -> None:
    data = encode_frame(19, 1, b"abc") + encode_frame(19, 1, b"def")
    decoder = FrameDecoder(LIMIT)
    shared = bytearray(5)
    frames = []
    for at in range(0, len(data), 5):
        piece = data[at : at + 5]
        shared[: len(piece)] = piece
        frames += [bytes(item.body) for item in decoder.feed(memoryview(shared)[: len(piece)])]
    assert frames == [b"abc", b"def"]
