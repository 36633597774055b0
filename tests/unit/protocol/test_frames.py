"""Frames: encoding, decoding, and a line for each with nothing secret or unprintable in it."""

from __future__ import annotations

import random
import tracemalloc
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from rshell.errors import RemoteProtocolError
from rshell.protocol.frames import (
    HEADER,
    Frame,
    FrameDecoder,
    FrameTrace,
    FrameType,
    describe_frame,
    encode_data_header,
    encode_frame,
)
from rshell.protocol.link import Link
from rshell.protocol.login import ClientLogin, ServerLogin
from rshell.protocol.messages import Attach, Resume
from rshell.protocol.scram import ScramClient, ScramServer, Verifier
from rshell.protocol.session import Role, Session
from rshell.values import Bounds
from tests.support.rows import row
from tests.support.wire import frame, take

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
    return [data[a:b] for a, b in zip([0, *borders], [*borders, len(data)])]


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


# A trace.

SECRET = "5ecre7"
# A frame, and what is shown behind its type, channel and size.
LINES: list[tuple[FrameType, int, dict[str, Any] | bytes, str]] = [
    (
        FrameType.HELLO,
        0,
        {"versions": [1, 2], "frame": 9, "implementation": "x", "mechanisms": ["A"], "later": 1},
        '{"versions":[1,2],"frame":9,"implementation":"x","mechanisms":["A"]}',
    ),
    (
        FrameType.AUTH,
        0,
        {"data": SECRET, "mechanism": "M", "done": True, "identity": "ann"},
        '{"mechanism":"M","done":true,"identity":"ann"}',
    ),
    (
        FrameType.ATTACH,
        0,
        {"session": "s1", "secret": SECRET, "received": 5, "linger": 1.5},
        '{"session":"s1","received":5,"linger":1.5}',
    ),
    (
        FrameType.ATTACHED,
        0,
        {"session": "s1", "secret": SECRET, "received": 7},
        '{"session":"s1","received":7}',
    ),
    (FrameType.PING, 0, {"id": 1}, '{"id":1}'),
    (FrameType.PONG, 0, {"id": 1}, '{"id":1}'),
    (FrameType.ACK, 0, {"received": 300}, '{"received":300}'),
    (
        FrameType.GOODBYE,
        0,
        {"code": "version", "reason": "old", "versions": [2, 3]},
        '{"code":"version","reason":"old","versions":[2,3]}',
    ),
    (
        FrameType.OPEN,
        1,
        {"kind": "process", "window": 9, "request": {"command": SECRET, "env": {"A": SECRET}}},
        '{"kind":"process","window":9}',
    ),
    (FrameType.OPENED, 1, {"window": 9, "reply": {"cwd": SECRET}}, '{"window":9}'),
    (FrameType.REFUSED, 1, {"code": "no", "reason": SECRET}, '{"code":"no"}'),
    (FrameType.DATA, 1, b"\x02" + SECRET.encode(), "stream 2"),
    (FrameType.DATA, 1, b"", ""),
    (FrameType.EOF, 3, {}, ""),
    (FrameType.WINDOW, 3, {"bytes": 12}, '{"bytes":12}'),
    (
        FrameType.MESSAGE,
        3,
        {"type": "run", "line": SECRET, "environment": {"A": SECRET}},
        '{"type":"run"}',
    ),
    (FrameType.CLOSE, 3, {}, ""),
    (
        FrameType.RESET,
        2**32 - 1,
        {"code": "gone", "reason": SECRET},
        '{"code":"gone"}',
    ),
]


def described(number: int, channel: int, body: dict[str, Any] | bytes) -> str:
    return describe_frame(Frame(number, channel, memoryview(frame(number, channel, body))[9:]))


def test_each_frame_becomes_one_line_without_secrets() -> None:
    assert {number for number, _, _, _ in LINES} == set(FrameType)
    for number, channel, body, shown in LINES:
        size = len(frame(number, channel, body)) - 9
        line = f"{number.name} {channel} {size} {shown}".rstrip()
        assert described(number, channel, body) == line
        assert SECRET not in line


def test_bodies_that_are_wrong_and_types_of_a_later_version_are_shown_too() -> None:
    assert described(FrameType.PING, 0, b"{junk") == "PING 0 5 malformed"
    assert described(FrameType.PING, 0, b"[" * 30_000) == "PING 0 30000 malformed"
    assert described(FrameType.PING, 0, b"{}") == "PING 0 2 {}"
    # A key that is shown, and holds what it must not.
    for value in ({"a": SECRET}, [[SECRET]], None):
        assert described(FrameType.PING, 0, {"id": value}).endswith(" {}")
    assert described(200, 5, SECRET.encode()) == "200 5 6"
    long = described(FrameType.GOODBYE, 0, {"code": "x" * 1000})
    assert len(long) < 350


def test_no_line_holds_a_control_character() -> None:
    odd = "\x1b[2J\r\n\0\x7f\x9b\u202e\ud800"
    for number, channel, body, _ in LINES:
        if isinstance(body, dict):
            spoiled = {odd: odd} | dict.fromkeys(body, odd)
            line = described(number, channel, spoiled)
            assert line.isascii()
            assert line.isprintable()
    chance = random.Random(1)
    for _ in range(2000):
        line = described(chance.randrange(256), 1, chance.randbytes(chance.randrange(30)))
        assert line.isascii()
        assert line.isprintable()


def test_a_link_shows_what_it_sends_and_receives_in_order_and_a_token_never() -> None:
    lines: list[str] = []
    verifier = Verifier.from_secret(SECRET)
    scram = ScramServer(lambda _: verifier, bytes(32), bytes(32))
    client = Link(Role.CLIENT, Bounds(), 0.0)
    server = Link(Role.SERVER, Bounds(), 0.0, login=ServerLogin(None, lambda: scram))
    client.trace = FrameTrace("client 1", lines.append)
    client.log_in(ClientLogin(ScramClient("ann", SECRET, bytes(32))))
    for _ in range(2):
        server.receive_data(take(client), 0.0)
        client.receive_data(take(server), 0.0)
    session = Session(Role.CLIENT, Bounds())
    client.attach(session, Attach(Resume("s1", SECRET, 0)), 0.0)
    channel = session.open("talk", {"command": SECRET})
    server.receive_data(take(client), 0.0)
    granted = {"session": "s1", "secret": SECRET, "received": 0}
    reply = frame(FrameType.ATTACHED, 0, granted)
    opened = frame(FrameType.OPENED, 1, {"window": 100})
    client.receive_data(reply[:20], 0.0)  # a frame is shown once, when it is whole
    client.receive_data(reply[20:], 0.0)
    assert lines[-1].startswith("client 1 < ATTACHED")
    take(client)
    client.receive_data(opened, 0.0)
    session.send(channel, 0, SECRET.encode())
    session.send_eof(channel)
    take(client)
    client.receive_data(b"\xff" * 9, 0.0)
    take(client)
    found = [" ".join(line.split()[2:4]) for line in lines]
    assert all(line.startswith("client 1 ") for line in lines)
    assert SECRET not in "".join(lines)
    assert found == [
        *("> HELLO", "> AUTH", "< HELLO", "< AUTH", "> AUTH", "< AUTH", "> ATTACH", "< ATTACHED"),
        *("> OPEN", "< OPENED", "> DATA", "> EOF", "> GOODBYE"),
    ]
