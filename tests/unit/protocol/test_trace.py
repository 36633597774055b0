"""A line for each frame: right values, and nothing that is secret or can't be printed."""

from __future__ import annotations

import random
from typing import Any

from rshell.protocol.frames import Frame, FrameType
from rshell.protocol.link import Link
from rshell.protocol.login import ClientLogin, ServerLogin
from rshell.protocol.messages import Attach, Resume
from rshell.protocol.scram import ScramClient, ScramServer, Verifier
from rshell.protocol.session import Role, Session
from rshell.protocol.trace import FrameTrace, describe_frame
from rshell.values import Bounds
from tests.support.wire import frame, take

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
