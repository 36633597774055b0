from __future__ import annotations

import dataclasses
import itertools
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rshell.errors import (
    AuthenticationFailed,
    LinkLost,
    LocalProtocolError,
    RemoteProtocolError,
    SessionClosed,
    UntrustedServer,
    VersionMismatch,
)
from rshell.protocol.frames import HEADER, FrameType
from rshell.protocol.link import Event, Link
from rshell.protocol.login import AttachRequested, ClientLogin, LinkClosed, Stage
from rshell.protocol.messages import Attach, Goodbye, Hello, Resume
from rshell.protocol.session import Role, Session
from rshell.values import Bounds
from tests.support.pair import Pair
from tests.support.rows import row
from tests.support.wire import (
    FIRST_AUTH,
    HELLO,
    at_stage,
    attached,
    data_frame,
    decode_frames,
    describe,
    frame,
    new_link,
    only,
    stages,
    take,
    take_types,
)

OPEN = {"kind": "talk", "window": 100_000}


def code_of(link: Link) -> str:
    """Return the code with which a link ended, which it has told the peer as well."""
    assert isinstance(link.error, RemoteProtocolError)
    *_, (frame_type, _, body) = decode_frames(take(link))
    assert frame_type == FrameType.GOODBYE
    assert Goodbye.from_bytes(body).code == link.error.code
    return link.error.code


# Whole, byte by byte, at random: always the same events.


def server_events(pieces: list[bytes]) -> tuple[list[tuple[object, ...]], list[tuple[int, bytes]]]:
    """Play a server to a client's bytes; return what it heard and its link frames.

    How channel frames interleave with link frames is free, so they are left out.
    """
    link = new_link(Role.SERVER)
    session = Session(Role.SERVER, Bounds(), id="session-1", secret="secret-1")
    heard: list[tuple[object, ...]] = []
    said = bytearray(take(link))

    def hear(events: list[Event]) -> None:
        for event in events:
            heard.append(describe(event))
            if isinstance(event, AttachRequested):
                hear(link.accept_attach(session, event.attach, 0.0))

    for piece in pieces:
        # ATTACH is stop and wait: an honest client sends nothing more before the answer.
        hear(link.receive_data(piece, 0.0))
        said += take(link)
    return heard, [(kind, body) for kind, _, body in decode_frames(bytes(said)) if kind < 16]


LOGIN = [
    frame(FrameType.HELLO, 0, HELLO) + frame(FrameType.AUTH, 0, FIRST_AUTH.to_bytes()),
    frame(FrameType.ATTACH),
]
SESSION = [
    frame(FrameType.OPEN, 1, OPEN),
    frame(FrameType.RESET, 1, {"code": "cancelled", "reason": ""}),
    frame(FrameType.PING, 0, {"id": 7}),
    frame(200, 0, b"\xff" * 50),
    frame(FrameType.OPEN, 5, OPEN),
    frame(FrameType.ACK, 0, {"received": 0}),
    frame(150, 9, b""),
]
TAILS = {
    "goodbye": frame(FrameType.GOODBYE, 0, {"code": "done", "reason": "bye"}),
    "goodbye-and-trailing-bytes": frame(FrameType.GOODBYE, 0, {"code": "done"}) + b"\xff" * 40,
    "unknown-type": frame(99),
    "too-long": HEADER.pack(2**30, 19, 1) + b"abc",
    "junk-json": frame(FrameType.MESSAGE, 5, b"{junk"),
    "data-before-opened": data_frame(5, 0, b"too early"),
    "half-a-frame": frame(FrameType.PING, 0, {"id": 7})[:-3],
}


def cut(data: bytes, chance: random.Random) -> list[bytes]:
    borders = sorted(chance.randrange(len(data) + 1) for _ in range(chance.randrange(12)))
    return [data[a:b] for a, b in zip([0, *borders], [*borders, len(data)])]


def test_any_split_of_a_stream_gives_the_same_events_and_answers() -> None:
    for tail in TAILS:
        with row(tail):
            parts = [*LOGIN, b"".join(SESSION) + TAILS[tail]]
            whole = server_events(parts)
            assert len(whole[0]) >= 6
            byte_by_byte = [bytes((byte,)) for part in parts for byte in part]
            assert server_events(byte_by_byte) == whole
            for seed in range(40):
                chance = random.Random(seed)
                pieces = [piece for part in parts for piece in cut(part, chance)]
                assert server_events(pieces) == whole


@given(st.integers(0, 2**32))
def test_any_split_of_a_whole_dialogue_gives_both_ends_the_same(seed: int) -> None:
    chance = random.Random(seed)
    pair = Pair()
    pair.connect()
    pair.client.converse({"up": [seed, 3000], "down": [seed, 4000], "messages": 4, "block": 900})
    for _ in range(10_000):
        end = chance.choice(pair.ends)
        pair.flush(end)
        pair.deliver(end, chance.randrange(1, 300))
        if not any(pair.flight.values()):
            break
    assert pair.settle()
    pair.check(complete=True)
    assert pair.client.closed_by == pair.server.closed_by == []


# Sizes.


def test_before_login_16_kib_are_the_limit_and_a_length_is_checked_first() -> None:
    for role in Role:
        for stage in stages(role)[:-2]:
            with row(role, stage):
                link, _ = at_stage(role, stage)
                link.receive_data(HEADER.pack(16 * 1024, FrameType.HELLO, 0), 0.0)
                assert link.error is None
                link, _ = at_stage(role, stage)
                link.receive_data(HEADER.pack(16 * 1024 + 1, FrameType.HELLO, 0), 0.0)
                assert code_of(link) == "frame-too-long"


def test_after_login_256_kib_are_the_limit_and_a_length_is_checked_first() -> None:
    for role in Role:
        with row(role):
            link, _ = attached(role)
            link.receive_data(HEADER.pack(256 * 1024, 200, 0), 0.0)
            assert link.error is None
            link, _ = attached(role)
            link.receive_data(HEADER.pack(256 * 1024 + 1, 200, 0), 0.0)
            assert code_of(link) == "frame-too-long"


def test_one_byte_at_a_time_of_a_giant_header_keeps_nothing() -> None:
    for stage in (Stage.HELLO, Stage.ATTACHED):
        link, _ = at_stage(Role.SERVER, stage)
        for byte in b"\xff\xff\xff\xff\x13\0\0\0\1":
            link.receive_data(bytes((byte,)), 0.0)
            assert len(link._decoder._partial) <= HEADER.size
        assert code_of(link) == "frame-too-long"


def test_a_large_frame_right_behind_attached_is_taken() -> None:
    link, _ = at_stage(Role.CLIENT, Stage.ATTACHING)
    granted = {"session": "session-1", "secret": "s", "received": 0}
    link.receive_data(frame(FrameType.ATTACHED, 0, granted) + frame(200, 0, bytes(200_000)), 0.0)
    assert link.error is None


def test_the_peers_smaller_frames_are_respected() -> None:
    link = new_link(Role.SERVER)
    small = Hello((1, 1), 16 * 1024, "test").encode()
    first = frame(FrameType.AUTH, 0, FIRST_AUTH.encode())
    link.receive_data(frame(FrameType.HELLO, 0, small) + first, 0.0)
    link.receive_data(frame(FrameType.ATTACH), 0.0)
    session = Session(Role.SERVER, Bounds())
    link.accept_attach(session, Attach(), 0.0)
    link.receive_data(frame(FrameType.OPEN, 1, OPEN), 0.0)
    session.accept(session.channels[1])
    session.send(session.channels[1], 1, bytes(50_000))
    frames = decode_frames(take(link))
    assert max(len(body) for _, _, body in frames) == 16 * 1024


# Versions and login.


def test_the_highest_common_version_is_taken() -> None:
    for ours, theirs, version in [
        ((1, 1), (1, 1), 1),
        ((1, 3), (2, 9), 3),
        ((2, 5), (1, 2), 2),
        ((1, 9), (3, 4), 4),
    ]:
        with row(ours, theirs, version):
            link = Link(Role.SERVER, Bounds(), 0.0, versions=ours)
            hello = Hello(theirs, 2**18, "test")
            assert link.receive_data(frame(FrameType.HELLO, 0, hello.to_bytes()), 0.0) == []
            assert link.handshake.peer == hello
            assert link.handshake.version == version


def test_no_common_version_tells_both_ends_both_ranges() -> None:
    server = Link(Role.SERVER, Bounds(), 0.0, versions=(3, 4))
    client = Link(Role.CLIENT, Bounds(), 0.0, versions=(1, 2))
    hello = decode_frames(take(server))[0][2]
    server.receive_data(take(client), 0.0)
    assert isinstance(server.error, VersionMismatch)
    assert (server.error.ours, server.error.theirs) == ((3, 4), (1, 2))
    assert Hello.from_bytes(hello).versions[0] == 3
    client.receive_data(take(server), 0.0)
    assert isinstance(client.error, VersionMismatch)
    assert (client.error.ours, client.error.theirs) == ((1, 2), (3, 4))


def test_a_refused_login_is_told_as_such() -> None:
    client, server = Link(Role.CLIENT, Bounds(), 0.0), Link(Role.SERVER, Bounds(), 0.0)
    server.goodbye("auth", "wrong token")
    client.receive_data(take(server), 0.0)
    assert isinstance(client.error, AuthenticationFailed)
    assert str(client.error) == "wrong token"


def test_steps_of_the_login_out_of_turn_are_our_own_bugs() -> None:
    server, session = at_stage(Role.SERVER, Stage.HELLO)
    client, _ = at_stage(Role.CLIENT, Stage.HELLO)
    received = session.received
    for wrong in (
        lambda: server.log_in(ClientLogin()),
        lambda: server.accept_attach(session, Attach(), 0.0),
        lambda: server.attach(session, Attach(), 0.0),
        lambda: client.attach(session, Attach(), 0.0),
    ):
        with pytest.raises(LocalProtocolError):
            wrong()
    assert (session.received, session.claims) == (received, 0)


# The end.


def test_every_call_on_a_link_that_is_over_does_nothing() -> None:
    for role in Role:
        for stage in (Stage.HELLO, Stage.AUTH, Stage.ATTACH, Stage.ATTACHED):
            link, _ = at_stage(role, stage)
            link.receive_eof()
            cause = link.error
            fresh = Session(role, Bounds())
            link.log_in(ClientLogin())
            link.attach(fresh, Attach(), 0.0)
            assert link.accept_attach(fresh, Attach(Resume("s", "s", 99)), 0.0) == []
            link.ping(0.0)
            link.goodbye("done", "")
            assert link.receive_data(frame(FrameType.PING, 0, {"id": 1}), 0.0) == []
            assert link.receive_eof() == link.tick(100.0) == []
            assert link.receive_lost(OSError("late")) == link.receive_lost(None) == []
            assert link.next_deadline() is None
            assert take(link) == b""
            assert link.error is cause
            assert fresh.claims == 0


def test_an_eof_is_never_an_ending() -> None:
    for role in Role:
        with row(role):
            link, session = attached(role)
            if role is Role.SERVER:
                link.receive_data(frame(FrameType.OPEN, 1, OPEN), 0.0)
            else:
                session.open("talk", {})
            event = only(link.receive_eof())
            assert isinstance(event, LinkClosed)
            assert isinstance(event.cause, LinkLost)
            assert list(session.channels) == [1]  # no channel ends by it


def test_the_error_of_a_lost_stream_is_the_cause_and_without_one_it_is_an_eof() -> None:
    for error, kind in (
        (UntrustedServer("a stranger"), UntrustedServer),
        (ConnectionResetError("reset by peer"), LinkLost),
        (None, LinkLost),
    ):
        link, session = attached(Role.CLIENT)
        session.open("talk", {})
        event = only(link.receive_lost(error))
        assert isinstance(event, LinkClosed)
        assert event.cause is link.error
        assert isinstance(link.error, kind)
        assert error is None or error in (link.error, link.error.__cause__)
        assert take(link) == b""
        assert list(session.channels) == [1]  # no channel ends by it


def test_a_cut_inside_a_frame_is_told() -> None:
    link, _ = attached(Role.SERVER)
    link.receive_data(frame(FrameType.PING, 0, {"id": 1})[:-1], 0.0)
    assert "middle of a frame" in str(describe(only(link.receive_eof())))


def test_events_before_a_broken_rule_are_kept_and_link_closed_comes_last() -> None:
    link, session = attached(Role.SERVER)
    events = link.receive_data(frame(FrameType.OPEN, 1, OPEN) + frame(99), 0.0)
    assert [describe(event)[0] for event in events] == ["ChannelRequested", "LinkClosed"]
    session.accept(session.channels[1])  # the answer to the first is still harmless
    assert take_types(link) == [FrameType.GOODBYE]


def test_goodbye_is_the_last_frame_and_leaves_what_was_said_before_it() -> None:
    link, session = attached(Role.SERVER)
    link.receive_data(frame(FrameType.PING, 0, {"id": 1}), 0.0)
    session.open("talk", {})
    link.goodbye("shutdown", "bye")
    link.goodbye("done", "again")
    frames = decode_frames(take(link))
    assert [kind for kind, _, _ in frames] == [FrameType.PONG, FrameType.GOODBYE]
    assert Goodbye.from_bytes(frames[-1][2]) == Goodbye("shutdown", "bye")
    assert isinstance(link.error, SessionClosed)
    assert link.error.by == "local"


# Time.


def test_a_server_gives_up_a_login_at_its_deadline_and_a_client_leaves_that_to_its_caller() -> None:
    for stage in (Stage.HELLO, Stage.AUTH, Stage.ATTACH):
        link, _ = at_stage(Role.SERVER, stage, now=100.0)
        assert link.next_deadline() == 110.0
        assert link.tick(109.9) == []
        assert isinstance(only(link.tick(110.0)), LinkClosed)
        assert code_of(link) == "login-timeout"
    client, _ = at_stage(Role.CLIENT, Stage.AUTH, now=100.0)
    assert client.next_deadline() is None
    assert client.tick(1e9) == []


def test_bytes_do_not_put_the_login_deadline_off() -> None:
    link, _ = at_stage(Role.SERVER, Stage.HELLO, now=100.0)
    for tenth in range(99):
        link.receive_data(b"\0" if tenth < 3 else b"", 100.0 + tenth / 10)
        link.tick(100.0 + tenth / 10)
        assert link.next_deadline() == 110.0
    assert isinstance(only(link.tick(110.0)), LinkClosed)


def test_a_silent_peer_is_pinged_at_15_s_and_given_up_at_45_s() -> None:
    for role in Role:
        with row(role):
            link, _ = attached(role, now=100.0)
            pings = []
            now = 100.0
            while link.error is None:
                deadline = link.next_deadline()
                assert deadline is not None
                assert deadline > now
                now = deadline
                events = link.tick(now)
                if take_types(link) == [FrameType.PING]:
                    pings.append(now)
            assert pings == [115.0, 130.0]
            assert now == 145.0
            assert isinstance(only(events), LinkClosed)
            assert isinstance(link.error, LinkLost)


def test_a_peer_that_sends_anything_is_not_pinged() -> None:
    link, _ = attached(Role.SERVER, now=0.0)
    for now in range(0, 200, 10):
        link.receive_data(frame(150), float(now))
        assert link.tick(float(now)) == []
        assert take(link) == b""


def test_a_pong_measures_the_round_trip_that_windows_grow_by() -> None:
    link, session = at_stage(Role.SERVER, Stage.ATTACH_DECIDING, now=10.0)
    link.accept_attach(session, Attach(), 10.0)
    frames = decode_frames(take(link))
    assert [kind for kind, _, _ in frames] == [FrameType.ATTACHED, FrameType.PING]
    link.receive_data(frame(FrameType.PONG, 0, frames[1][2]), 10.25)
    assert link.round_trip == session.round_trip == 0.25


def test_a_new_link_measures_its_own_round_trip() -> None:
    pair = Pair()
    pair.connect()
    pair.settle()
    pair.client.session.round_trip = 0.001
    pair.cut()
    pair.connect()
    assert pair.client.link is not None
    pair.flush(pair.client)
    pair.deliver(pair.server)
    pair.flush(pair.server)
    pair.deliver(pair.client)
    pair.flush(pair.client)
    pair.now += 3.0
    pair.deliver(pair.server)
    pair.flush(pair.server)
    pair.deliver(pair.client)
    assert pair.client.session.round_trip == 3.0


def test_what_arrives_is_acknowledged_within_a_second() -> None:
    link, _ = attached(Role.SERVER, now=0.0)
    link.receive_data(frame(200), 5.0)
    assert link.next_deadline() == 6.0
    link.receive_data(frame(200), 5.9)
    assert link.next_deadline() == 6.0
    assert take(link) == b""
    link.tick(6.0)
    assert decode_frames(take(link)) == [(FrameType.ACK, 0, b'{"received":2}')]
    assert link.next_deadline() == 5.9 + 15


def test_a_frame_that_takes_minutes_to_arrive_is_answered_each_second_meanwhile() -> None:
    # Else the peer, whose PING waits behind that frame, takes a slow link for a dead one.
    link, _ = attached(Role.SERVER, now=0.0)
    block = frame(200, 0, bytes(240 * 1024))
    for second in range(60):
        link.receive_data(block[second * 4000 :][:4000], float(second))
        link.tick(second + 0.99)
        assert take(link) == b""
        link.tick(second + 1.0)
        assert decode_frames(take(link)) == [(FrameType.ACK, 0, b'{"received":0}')]
    link.tick(73.9)
    assert take(link) == b""  # nothing comes any more: this is silence


def test_what_arrives_is_acknowledged_every_256_kib() -> None:
    link, _ = attached(Role.SERVER)
    block = frame(200, 0, bytes(16 * 1024 - HEADER.size))
    acknowledged = []
    for number in range(1, 80):
        link.receive_data(block, 0.0)
        if take_types(link) == [FrameType.ACK]:
            acknowledged.append(number)
    # A new link's come earlier, because its sender begins with little on its way.
    assert acknowledged == [1, 3, 7, 15, 31, 47, 63, 79]


def test_link_frames_are_not_acknowledged() -> None:
    link, _ = attached(Role.SERVER, now=0.0)
    link.receive_data(frame(FrameType.PING, 0, {"id": 1}) + frame(150), 0.0)
    take(link)
    assert link.next_deadline() == 15.0


# Floods.

flood_limits = Bounds(
    control_burst=50, control_rate=10.0, ping_burst=20, ping_rate=2.0, queued_replies=30, channels=8
)


def reset_pair(number: int) -> bytes:
    channel = 2 * number + 1
    return frame(FrameType.OPEN, channel, OPEN) + frame(FrameType.RESET, channel, {"code": "x"})


floods: dict[str, Callable[[int], bytes]] = {
    "pings": lambda n: frame(FrameType.PING, 0, {"id": n}),
    "pongs": lambda n: frame(FrameType.PONG, 0, {"id": n}),
    "acks": lambda n: frame(FrameType.ACK, 0, {"received": 0}),
    "windows": lambda n: frame(FrameType.WINDOW, 1, {"bytes": 1}),
    "messages": lambda n: frame(FrameType.MESSAGE, 1),
    "opens-and-resets": reset_pair,
    "opens-beyond-the-limit": lambda n: frame(FrameType.OPEN, 2 * n + 1, OPEN),
    "late-resets": lambda n: frame(FrameType.RESET, 1, {"code": "x"}),
    "skipped-frames": lambda n: frame(150),
    "skipped-sequenced-frames": lambda n: frame(200),
}


def flooded(name: str) -> tuple[Link, Session, int]:
    """Return a server's link that takes the frames of a flood, and the number of the first."""
    link, session = attached(Role.SERVER, flood_limits)
    if name not in ("windows", "messages", "late-resets"):
        return link, session, 0
    link.receive_data(frame(FrameType.OPEN, 1, OPEN), 0.0)
    if name == "late-resets":
        session.refuse(session.channels[1], "failed", "")
    else:
        session.accept(session.channels[1])
    return link, session, 1


def test_a_flood_ends_the_link_and_its_answers_are_bounded() -> None:
    for name, answers_are_taken in itertools.product(floods, (True, False)):
        with row(name, answers_are_taken):
            link, session, first = flooded(name)
            take(link)
            for number in range(first, 100):
                link.receive_data(floods[name](number), 0.0)
                if link.error is not None:
                    break
                if answers_are_taken:
                    take(link)
                waiting = len(link._replies) + session.queued_control
                assert waiting <= flood_limits.queued_replies + 1
            assert 10 < number < 60
            assert code_of(link) == "flood"


def test_the_same_frames_at_a_slow_pace_are_no_flood() -> None:
    for name in floods:
        with row(name):
            link, _, first = flooded(name)
            for number in range(first, 300):
                link.receive_data(floods[name](number), number * 0.6)
                take(link)
            assert link.error is None


def test_a_zero_window_is_an_error_at_once() -> None:
    link, session = attached(Role.SERVER)
    link.receive_data(frame(FrameType.OPEN, 1, OPEN), 0.0)
    session.accept(session.channels[1])
    link.receive_data(frame(FrameType.WINDOW, 1, {"bytes": 0}), 0.0)
    assert code_of(link) == "protocol"


def test_answers_that_are_asked_for_and_not_taken_are_a_flood() -> None:
    limits = dataclasses.replace(flood_limits, control_burst=10**6, ping_burst=10**6)
    for flood in (floods["pings"], floods["opens-and-resets"], floods["opens-beyond-the-limit"]):
        link, session = attached(Role.SERVER, limits)
        number = 0
        while link.error is None:
            link.receive_data(flood(number), 0.0)
            number += 1
            assert number < 100
        assert len(link._replies) + session.queued_control <= limits.queued_replies + 2
        assert code_of(link) == "flood"


def test_our_own_waiting_control_frames_are_not_the_peers_flood() -> None:
    # 100 channels asked for while the link was away must not end the next link.
    link, session = attached(Role.CLIENT, dataclasses.replace(flood_limits, channels=1000))
    for _ in range(100):
        session.open("talk", {})
    link.receive_data(frame(FrameType.OPEN, 2, OPEN), 0.0)
    assert link.error is None


def test_data_is_weighed_by_windows_and_not_counted_as_control() -> None:
    link, session = attached(Role.SERVER, flood_limits)
    link.receive_data(frame(FrameType.OPEN, 1, OPEN), 0.0)
    session.accept(session.channels[1])
    take(link)
    for _ in range(1000):
        link.receive_data(data_frame(1, 0, b"k"), 0.0)
        session.consumed(session.channels[1], 1, 0.0)
    assert link.error is None


# A peer that lies.


def test_an_acknowledgement_of_frames_never_sent_ends_the_link() -> None:
    for role in Role:
        with row(role):
            link, _ = attached(role)
            link.receive_data(frame(FrameType.ACK, 0, {"received": 1}), 0.0)
            assert code_of(link) == "sequence"


def test_a_goodbye_that_is_malformed_ends_the_link_all_the_same() -> None:
    link, _ = attached(Role.SERVER)
    assert isinstance(only(link.receive_data(frame(FrameType.GOODBYE), 0.0)), LinkClosed)
    assert code_of(link) == "protocol"


def test_a_goodbye_without_a_reason_still_says_something() -> None:
    link, _ = attached(Role.SERVER)
    link.receive_data(frame(FrameType.GOODBYE, 0, {"code": "later-code"}), 0.0)
    assert isinstance(link.error, SessionClosed)
    assert (link.error.code, str(link.error)) == ("later-code", "later-code")
