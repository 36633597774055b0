"""A session goes on over new links: nothing is lost, doubled or out of order."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from rshell.errors import LinkLost, RemoteProtocolError, ResumeFailed, RshellError, SessionClosed
from rshell.protocol.channel import DataReceived
from rshell.protocol.frames import FrameType
from rshell.protocol.link import Link
from rshell.protocol.login import LinkClosed, Stage
from rshell.protocol.messages import Attach, Resume
from rshell.protocol.session import Role, Session
from rshell.values import Bounds
from tests.support.pair import Pair
from tests.support.rows import row
from tests.support.wire import (
    at_stage,
    attached,
    data_frame,
    decode_frames,
    frame,
    only,
    take,
    take_types,
)

SMALL_LIMITS = Bounds(
    window=16 * 1024,
    window_smallest=4 * 1024,
    window_largest=64 * 1024,
    session_memory=64 * 1024,
    channel_queue=6 * 1024,
    replay=8 * 1024,
    replay_largest=32 * 1024,
    ack_bytes=4 * 1024,
)
SHORT = {"up": [1, 60], "down": [2, 90], "messages": 2, "block": 35}


def short_dialogue(limits: Bounds | None = None) -> Pair:
    pair = Pair(limits)
    pair.connect()
    pair.client.converse(SHORT)
    return pair


def dialogue_length(role: Role) -> int:
    pair = short_dialogue()
    pair.settle()
    pair.check(complete=True)
    return pair.delivered[role]


def test_a_cut_at_every_byte_loses_and_doubles_nothing() -> None:
    for cut_side in list(Role):
        for told in [(Role.CLIENT, Role.SERVER), (Role.CLIENT,)]:
            with row(cut_side, told):
                length = dialogue_length(cut_side)
                assert length > 300  # or this test has become empty
                for at in range(length):
                    pair = short_dialogue()
                    if at:
                        assert not pair.settle({cut_side: at})
                    pair.cut(told=told)
                    pair.connect()
                    assert pair.settle()
                    pair.check(complete=True)


def test_two_cuts_at_every_pair_of_frame_borders() -> None:
    # The second cut hits while the frames of the first link are being sent again.
    for first in range(0, dialogue_length(Role.SERVER), 17):
        for second in range(1, 400, 29):
            pair = short_dialogue()
            pair.settle({Role.SERVER: max(first, 1)})
            pair.cut()
            pair.connect()
            pair.settle({Role.CLIENT: second})
            pair.cut()
            pair.connect()
            assert pair.settle()
            pair.check(complete=True)


request = st.fixed_dictionaries(
    {
        "up": st.lists(st.integers(0, 40_000), min_size=2, max_size=2),
        "down": st.lists(st.integers(0, 40_000), min_size=2, max_size=2),
        "messages": st.integers(0, 6),
        "block": st.integers(1, 9000).map(lambda block: max(block, 64)),
    }
)


@given(
    st.lists(request, min_size=1, max_size=3),
    st.lists(request, max_size=2),
    st.lists(st.tuples(st.sampled_from(Role), st.integers(1, 30_000), st.booleans()), max_size=8),
    st.integers(0, 2**32),
)
def test_random_repeated_cuts_lose_and_double_nothing(
    from_client: list[dict[str, object]],
    from_server: list[dict[str, object]],
    cuts: list[tuple[Role, int, bool]],
    seed: int,
) -> None:
    chance = random.Random(seed)
    pair = Pair(SMALL_LIMITS)
    pair.connect()
    for each in from_client:
        pair.client.converse(each)
    pair.settle({Role.CLIENT: 500})
    if pair.server.attach_count:
        for each in from_server:
            pair.server.converse(each)
    for side, at, is_half_open in cuts:
        pair.settle({side: at})
        for end in pair.ends:  # some of what is on its way still arrives, other than the rest
            pair.flush(end)
            pair.deliver(end, chance.randrange(1 + len(pair.flight[end.role])))
        pair.check(complete=False)
        pair.cut(told=(Role.CLIENT,) if is_half_open else (Role.CLIENT, Role.SERVER))
        pair.connect()
    assert pair.settle()
    causes = pair.client.closed_by + pair.server.closed_by
    assert all(type(cause) is LinkLost for cause in causes), causes
    pair.check(complete=True)


@given(st.integers(0, 2**32))
def test_bytes_in_random_pieces_with_a_small_way_out(seed: int) -> None:
    chance = random.Random(seed)
    pair = Pair(SMALL_LIMITS)
    pair.connect()
    for size in (0, 1, 50_000):
        pair.client.converse({"up": [1, size], "down": [2, size], "messages": 3, "block": 5000})
    for _ in range(300):
        end = chance.choice(pair.ends)
        if chance.random() < 0.5:
            pair.room = chance.choice([0, 1, 5000])
            pair.flush(end)
        else:
            pair.deliver(end, chance.choice([1, 10, 3000]))
        if chance.random() < 0.01:
            pair.now += 0.4
    pair.room = 2**30
    assert pair.settle()
    pair.check(complete=True)


# Misfits.


def resumable_server() -> tuple[Session, Link]:
    """Return a session that has sent 3 frames, the first of them acknowledged, and its link."""
    link, session = attached(Role.SERVER)
    opening = {"kind": "talk", "window": 1000}
    link.receive_data(frame(FrameType.OPEN, 1, opening), 0.0)
    session.accept(session.channels[1])
    session.send(session.channels[1], 1, b"one")
    session.send_eof(session.channels[1])
    assert take_types(link) == [FrameType.OPENED, FrameType.DATA, FrameType.EOF]
    link.receive_data(frame(FrameType.ACK, 0, {"received": 1}), 0.0)
    return session, link


def test_exactly_what_the_client_lacks_is_sent_again() -> None:
    for received, again in [(1, [19, 20]), (2, [20]), (3, [])]:
        with row(received, again):
            session, _ = resumable_server()
            link, _ = at_stage(Role.SERVER, Stage.ATTACH_DECIDING)
            link.accept_attach(session, Attach(Resume("session-1", "secret-1", received)), 0.0)
            assert take_types(link) == [FrameType.ATTACHED, FrameType.PING, *again]


def test_a_client_that_is_behind_gets_resume_failed() -> None:
    session, _ = resumable_server()
    link, _ = at_stage(Role.SERVER, Stage.ATTACH_DECIDING)
    event = only(link.accept_attach(session, Attach(Resume("session-1", "secret-1", 0)), 0.0))
    assert isinstance(event, LinkClosed)
    assert isinstance(event.cause, ResumeFailed)
    frames = decode_frames(take(link))
    assert [frame_type for frame_type, _, _ in frames] == [FrameType.GOODBYE]
    assert b'"resume-failed"' in frames[0][2]


def test_a_client_that_is_ahead_breaks_the_protocol() -> None:
    session, old = resumable_server()
    link, _ = at_stage(Role.SERVER, Stage.ATTACH_DECIDING)
    event = only(link.accept_attach(session, Attach(Resume("session-1", "secret-1", 4)), 0.0))
    assert isinstance(event, LinkClosed)
    assert isinstance(event.cause, RemoteProtocolError)
    assert event.cause.code == "sequence"
    assert not link.has_output() or take_types(link) == [FrameType.GOODBYE]
    # The failed attempt took nothing away from the link that carries the session.
    session.send_message(session.channels[1], {})
    assert take_types(old) == [FrameType.MESSAGE]


def client_resuming() -> tuple[Session, Link]:
    """Return a client that sent 2 frames, 1 acknowledged, and its next link, attaching."""
    first, session = attached(Role.CLIENT)
    session.open("talk", {})
    session.open("talk", {})
    assert take_types(first) == [FrameType.OPEN, FrameType.OPEN]
    first.receive_data(frame(FrameType.ACK, 0, {"received": 1}), 0.0)
    link, _ = at_stage(Role.CLIENT, Stage.ATTACH)
    link.attach(session, Attach(Resume(session.id, session.secret, session.received)), 0.0)
    take(link)
    return session, link


def test_a_server_that_does_not_fit_ends_the_link() -> None:
    rows: list[tuple[str, int, type[RshellError], str]] = [
        ("session-1", 0, ResumeFailed, "resume-failed"),
        ("session-1", 3, RemoteProtocolError, "sequence"),
        # A command must never run twice, so nothing is sent again into another session.
        ("session-2", 1, RemoteProtocolError, "protocol"),
    ]
    for session_id, received, cause, code in rows:
        with row(session_id, received, cause, code):
            session, link = client_resuming()
            reply = {"session": session_id, "secret": "fresh", "received": received}
            event = only(link.receive_data(frame(FrameType.ATTACHED, 0, reply), 0.0))
            assert isinstance(event, LinkClosed)
            assert type(event.cause) is cause
            assert isinstance(event.cause, (ResumeFailed, RemoteProtocolError))
            assert event.cause.code == code
            assert session.secret == "secret-1"
            assert take_types(link) == [FrameType.GOODBYE]


def test_a_client_takes_the_rotated_secret_and_sends_again() -> None:
    session, link = client_resuming()
    reply = {"session": "session-1", "secret": "fresh", "received": 1}
    link.receive_data(frame(FrameType.ATTACHED, 0, reply), 0.0)
    assert session.secret == "fresh"
    assert take_types(link) == [FrameType.OPEN]


def test_a_goodbye_resume_failed_becomes_the_exception() -> None:
    _, link = client_resuming()
    event = only(link.receive_data(frame(FrameType.GOODBYE, 0, {"code": "resume-failed"}), 0.0))
    assert isinstance(event, LinkClosed)
    assert isinstance(event.cause, ResumeFailed)
    assert event.cause.by == "remote"


def test_what_attach_has_told_is_not_acknowledged_once_more() -> None:
    old, session = attached(Role.SERVER)
    old.receive_data(frame(200, 0, bytes(200_000)), 0.0)
    link, _ = at_stage(Role.SERVER, Stage.ATTACH_DECIDING)
    link.accept_attach(session, Attach(Resume("session-1", "secret-1", 0)), 0.0)
    link.receive_data(frame(150), 5.0)
    assert link.next_deadline() == 5.0 + 15
    link.receive_data(frame(200, 0, bytes(10_000)), 6.0)
    assert FrameType.ACK not in take_types(link)
    assert link.next_deadline() == 7.0


# Two links at once.


def test_a_superseded_link_neither_takes_nor_gives_frames() -> None:
    session, old = resumable_server()
    link, _ = at_stage(Role.SERVER, Stage.ATTACH_DECIDING)
    link.accept_attach(session, Attach(Resume("session-1", "secret-1", 2)), 0.0)
    take(link)
    received = session.received
    session.send_message(session.channels[1], {"for": "the new link"})
    assert take(old) == b""
    late = frame(FrameType.MESSAGE, 1, {"sent": "before the cut, and again on the new link"})
    event = only(old.receive_data(late, 0.0))
    assert isinstance(event, LinkClosed)
    assert isinstance(event.cause, LinkLost)
    assert session.received == received
    assert old.receive_data(late, 0.0) == []
    assert take_types(link) == [FrameType.MESSAGE]


def test_a_superseded_link_that_stays_silent_is_lost_at_its_next_tick() -> None:
    session, old = resumable_server()
    link, _ = at_stage(Role.SERVER, Stage.ATTACH_DECIDING)
    link.accept_attach(session, Attach(Resume("session-1", "secret-1", 2)), 0.0)
    assert isinstance(only(old.tick(1.0)), LinkClosed)
    assert take(old) == b""
    assert link.tick(1.0) == []


def test_frames_of_an_old_link_stop_counting_once_attach_has_said_how_many_came() -> None:
    old, session = attached(Role.CLIENT)
    session.open("talk", {})
    take(old)
    opened = frame(FrameType.OPENED, 1, {"window": 1000})
    old.receive_data(opened, 0.0)
    link, _ = at_stage(Role.CLIENT, Stage.ATTACH)
    link.attach(session, Attach(Resume(session.id, session.secret, session.received)), 0.0)
    old.receive_data(data_frame(1, 1, b"late"), 0.0)
    assert session.received == 1
    granted = {"session": "session-1", "secret": "s", "received": 1}
    again = frame(FrameType.ATTACHED, 0, granted) + data_frame(1, 1, b"late")
    events = link.receive_data(again, 0.0)
    assert [event.data for event in events if isinstance(event, DataReceived)] == [b"late"]


# Back-pressure and trimming.


def test_a_full_replay_queue_is_back_pressure_and_never_loss() -> None:
    pair = Pair(SMALL_LIMITS)
    pair.connect()
    pair.settle()
    pair.client.converse({"up": [1, 100_000], "down": [2, 0], "messages": 0, "block": 1000})
    pair.settle({Role.SERVER: 2000})
    session = pair.client.session
    for _ in range(200):  # the server gets nothing any more and acknowledges nothing
        pair.flush(pair.client)
    assert session.replay.is_full
    largest_frame = SMALL_LIMITS.channel_queue + 300
    assert session.replay.size <= session.replay.limit + largest_frame
    talk = pair.client.conversations[1]
    assert session.room(talk.channel) == 0
    assert talk.sent < 40_000
    pair.cut()
    pair.connect()
    assert pair.settle()
    pair.check(complete=True)


def test_a_session_without_a_link_stops_its_application_and_goes_on_later() -> None:
    pair = Pair(SMALL_LIMITS)
    pair.connect()
    pair.client.converse({"up": [1, 50_000], "down": [2, 50_000], "messages": 4, "block": 999})
    pair.settle({Role.SERVER: 5000})
    pair.cut()
    for end in pair.ends:
        for _ in range(100):
            end.pump(pair.now)
        assert end.session.room(end.session.channels[1]) == 0
        assert end.session.channels[1].queued_bytes <= SMALL_LIMITS.channel_queue
    pair.connect()
    assert pair.settle()
    pair.check(complete=True)


def test_a_session_that_ended_by_goodbye_says_so_at_the_other_end() -> None:
    pair = short_dialogue()
    pair.settle({Role.SERVER: 400})
    assert pair.server.link is not None
    pair.server.link.goodbye("shutdown", "the server stops")
    pair.flush(pair.server)
    pair.deliver(pair.client)
    (cause,) = pair.client.closed_by
    assert isinstance(cause, SessionClosed)
    assert (cause.code, cause.reason, cause.by) == ("shutdown", "the server stops", "remote")
