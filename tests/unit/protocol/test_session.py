from __future__ import annotations

import itertools
import json
from collections.abc import Callable

import pytest

from rshell.errors import ChannelRefused, ChannelReset, LocalProtocolError, RemoteProtocolError
from rshell.protocol.channel import ChannelClosed, ChannelRequested, ChannelState, DataReceived
from rshell.protocol.frames import Frame, FrameType
from rshell.protocol.session import Role, Session
from rshell.values import Bounds
from tests.support.helpings import (
    LIMITS,
    client_with,
    everything,
    receive,
    server_with,
)
from tests.support.pair import Pair
from tests.support.rows import row

# Numbers.


def test_clients_open_odd_channels_and_servers_even_ones_and_none_twice() -> None:
    client, server = Session(Role.CLIENT, LIMITS), Session(Role.SERVER, LIMITS)
    assert [client.open("talk", {}).number for _ in range(3)] == [1, 3, 5]
    assert [server.open("talk", {}).number for _ in range(3)] == [2, 4, 6]
    client.reset(client.channels[5], "cancelled", "")
    receive(client, FrameType.REFUSED, 5, {"code": "cancelled"})
    assert client.open("talk", {}).number == 7


def test_a_peers_channel_of_our_parity_or_not_increasing_is_refused() -> None:
    for number in [2, 0xFFFFFFFE, 1, 3]:
        with row(number):
            session = Session(Role.SERVER, LIMITS)
            request = {"kind": "talk", "window": 1}
            receive(session, FrameType.OPEN, 3, request)
            session.refuse(session.channels[3], "failed", "no")
            with pytest.raises(RemoteProtocolError):
                receive(session, FrameType.OPEN, number, request)


def test_a_peer_may_leave_out_numbers() -> None:
    session = Session(Role.SERVER, LIMITS)
    receive(session, FrameType.OPEN, 0xFFFFFFFF, {"kind": "talk", "window": 1})
    assert list(session.channels) == [0xFFFFFFFF]


def test_the_last_channel_number_is_the_last() -> None:
    session = Session(Role.CLIENT, LIMITS)
    session._next_number = 2**32 - 1
    session.open("talk", {})
    with pytest.raises(LocalProtocolError):
        session.open("talk", {})


def test_a_frame_in_a_channel_that_never_was_is_an_error() -> None:
    for frame_type in [17, 18, 19, 20, 21, 22, 23, 24]:
        with row(frame_type):
            session = Session(Role.SERVER, LIMITS)
            with pytest.raises(RemoteProtocolError):
                receive(session, frame_type, 1, {"code": "failed"})


def test_a_reset_that_crossed_our_refusal_is_ignored() -> None:
    session = Session(Role.SERVER, LIMITS)
    receive(session, FrameType.OPEN, 1, {"kind": "talk", "window": 1})
    session.refuse(session.channels[1], "unknown-kind", "no")
    assert receive(session, FrameType.RESET, 1, {"code": "cancelled"}) == []
    with pytest.raises(RemoteProtocolError):
        receive(session, FrameType.RESET, 3, {"code": "cancelled"})


def test_an_answer_by_reset_is_an_error_and_not_our_crash() -> None:
    session = Session(Role.CLIENT, LIMITS)
    session.open("talk", {})
    with pytest.raises(RemoteProtocolError):
        receive(session, FrameType.RESET, 1, {"code": "failed"})


def test_one_channel_too_many_is_refused_as_busy_and_the_others_go_on() -> None:
    session = Session(Role.SERVER, Bounds(channels=2))
    for number in (1, 3):
        assert receive(session, FrameType.OPEN, number, {"kind": "talk", "window": 1})
    free = session._budget.free
    assert receive(session, FrameType.OPEN, 5, {"kind": "talk", "window": 1}) == []
    ((frame_type, number, body),) = everything(session)
    assert (frame_type, number) == (FrameType.REFUSED, 5)
    assert b'"busy"' in body
    assert (len(session.channels), session._budget.free) == (2, free)


# Bodies that would not fit.


def test_a_body_larger_than_the_peer_takes_is_our_bug_and_changes_nothing() -> None:
    for what in ["open", "accept", "message"]:
        with row(what):
            big = {"text": "x" * LIMITS.frame}
            session, channel = client_with(1)
            requested = Session(Role.SERVER, LIMITS)
            receive(requested, FrameType.OPEN, 1, {"kind": "talk", "window": 1})
            free = session._budget.free
            with pytest.raises(LocalProtocolError, match="takes"):
                if what == "open":
                    session.open("talk", big)
                elif what == "accept":
                    requested.accept(requested.channels[1], big)
                else:
                    session.send_message(channel, big)
            assert session._budget.free == free
            assert session.open("talk", {}).number == 3
            requested.accept(requested.channels[1])


def test_a_request_that_is_no_json_takes_no_window() -> None:
    session = Session(Role.CLIENT, LIMITS)
    for wrong in (object(), float("nan")):
        with pytest.raises((TypeError, ValueError)):
            session.open("talk", {"x": wrong})
    assert session._budget.free == LIMITS.session_memory
    assert session.channels == {}


# Windows.


def test_credit_is_sent_when_the_application_has_read_a_quarter() -> None:
    session, channel = server_with(1)
    receive(session, FrameType.DATA, 1, b"\1" + bytes(9000))
    assert everything(session) == []
    session.consumed(channel, 2499, 0.0)
    assert everything(session) == []
    session.consumed(channel, 1, 0.0)
    assert everything(session) == [(FrameType.WINDOW, 1, b'{"bytes":2500}')]


def test_credits_that_wait_for_a_link_are_added_up() -> None:
    session, channel = server_with(1)
    receive(session, FrameType.DATA, 1, b"\1" + bytes(10_000))
    session.consumed(channel, 5000, 0.0)
    session.consumed(channel, 5000, 0.0)
    assert everything(session) == [(FrameType.WINDOW, 1, b'{"bytes":10000}')]


def test_an_overrun_of_the_window_is_an_error() -> None:
    session, _ = server_with(1)
    receive(session, FrameType.DATA, 1, b"\1" + bytes(10_000))
    with pytest.raises(RemoteProtocolError) as caught:
        receive(session, FrameType.DATA, 1, b"\1x")
    assert caught.value.code == "window-overrun"


def test_an_overrun_counts_in_a_channel_whose_data_is_thrown_away_too() -> None:
    session, channel = server_with(1)
    session.reset(channel, "cancelled", "")
    assert receive(session, FrameType.DATA, 1, b"\1" + bytes(10_000)) == []
    with pytest.raises(RemoteProtocolError) as caught:
        receive(session, FrameType.DATA, 1, b"\1x")
    assert caught.value.code == "window-overrun"


def test_data_without_bytes_is_an_error() -> None:
    for body in [b"", b"\1"]:
        with row(body):
            session, _ = server_with(1)
            with pytest.raises(RemoteProtocolError):
                receive(session, FrameType.DATA, 1, body)


def test_a_window_grows_only_by_the_round_trip_of_the_link() -> None:
    for round_trip, size in ((None, 10_000), (0.006, 10_000), (0.011, 80_000)):
        session, channel = server_with(1)
        session.round_trip = round_trip
        for number in range(20):
            quarter = channel.receive_window.size // 4
            receive(session, FrameType.DATA, 1, b"\1" + bytes(quarter))
            session.consumed(channel, quarter, number * 0.005)
            everything(session)
        assert channel.receive_window.size == size


def test_many_channels_share_the_budget_and_each_gets_the_smallest_at_least() -> None:
    session = Session(
        Role.CLIENT, Bounds(window=10_000, window_smallest=1000, session_memory=50_000)
    )
    sizes = [session.open("talk", {}).receive_window.size for _ in range(100)]
    assert sizes[0] == 10_000
    assert sizes[-1] >= 1000
    assert sizes == sorted(sizes, reverse=True)
    assert sum(sizes) <= 50_000 + 100 * 1000
    for channel in list(session.channels.values()):
        session.reset(channel, "cancelled", "")
        receive(session, FrameType.REFUSED, channel.number, {"code": "cancelled"})
    assert session._budget.free == 50_000


def test_data_never_passes_the_peers_window_or_its_largest_frame() -> None:
    session, channel = client_with(1, window=7000)
    session.peer_frame = 3001
    session.send(channel, 0, bytes(20_000))
    assert [len(body) - 1 for _, _, body in everything(session)] == [3000, 3000, 1000]
    receive(session, FrameType.WINDOW, 1, {"bytes": 1})
    assert [len(body) - 1 for _, _, body in everything(session)] == [1]


def test_one_stalled_channel_never_holds_up_another() -> None:
    session, stalled, lively = client_with(2, window=1000)
    session.send(stalled, 0, bytes(5000))
    everything(session)
    for _ in range(50):
        receive(session, FrameType.WINDOW, lively.number, {"bytes": 3000})
        session.send(lively, 0, bytes(3000))
        sent = everything(session)
        assert sum(len(body) - 1 for _, number, body in sent if number == lively.number) == 3000
        assert all(number == lively.number for _, number, _ in sent)
    receive(session, FrameType.WINDOW, stalled.number, {"bytes": 10_000})
    assert sum(len(body) - 1 for _, _, body in everything(session)) == 4000


def test_a_reader_that_stalls_stops_its_own_sender_only() -> None:
    pair = Pair(LIMITS)
    pair.connect()
    pair.server.reads = False
    pair.client.converse({"up": [1, 500_000], "down": [2, 500_000], "messages": 0, "block": 4096})
    assert pair.settle()
    talk = pair.server.conversations[1]
    assert len(talk.heard) == LIMITS.window
    assert len(pair.client.conversations[1].heard) == 500_000
    assert pair.client.session.room(pair.client.conversations[1].channel) == 0
    pair.server.reads = True
    assert pair.settle()
    pair.check(complete=True)


# Ends.


def test_a_close_is_answered_by_close_at_once_and_data_is_dropped() -> None:
    session, channel = server_with(1)
    session.send(channel, 1, bytes(10_000))
    events = receive(session, FrameType.CLOSE, 1)
    assert [type(event) for event in events] == [ChannelClosed]
    assert everything(session) == [(FrameType.CLOSE, 1, b"{}")]
    assert session.channels == {}


def test_a_reset_of_a_channel_without_an_answer_is_answered_by_refused() -> None:
    session = Session(Role.SERVER, LIMITS)
    receive(session, FrameType.OPEN, 1, {"kind": "talk", "window": 1})
    receive(session, FrameType.RESET, 1, {"code": "cancelled"})
    assert [kind for kind, _, _ in everything(session)] == [FrameType.REFUSED]
    assert session.channels == {}


def test_refused_reaches_the_opener_with_code_and_reason() -> None:
    session = Session(Role.CLIENT, LIMITS)
    channel = session.open("talk", {})
    refusal = {"code": "unknown-kind", "reason": "no such kind"}
    (event,) = receive(session, FrameType.REFUSED, 1, refusal)
    assert isinstance(event, ChannelClosed)
    assert isinstance(event.cause, ChannelRefused)
    assert (event.cause.code, str(event.cause)) == ("unknown-kind", "no such kind")
    assert session.channels == {}
    session.close(channel)
    assert [kind for kind, _, _ in everything(session)] == [FrameType.OPEN]


def test_two_ends_that_close_behind_more_than_a_window_do_not_wait_for_ever() -> None:
    client, server = Session(Role.CLIENT, LIMITS), Session(Role.SERVER, LIMITS)
    here = client.open("talk", {})
    shuttle(client, server)
    there = server.channels[1]
    server.accept(there)
    shuttle(client, server)
    client.send(here, 0, bytes(8000))
    server.send(there, 1, bytes(8000))
    shuttle(client, server)  # and nobody reads
    for session, channel in ((client, here), (server, there)):
        session.send(channel, 0, bytes(100_000))
        session.close(channel)
    shuttle(client, server)
    for session in (client, server):
        assert session.channels == {}
        assert session._budget.free == LIMITS.session_memory


def shuttle(client: Session, server: Session) -> None:
    moved = True
    while moved:
        moved = False
        for sender, receiver in itertools.permutations((client, server)):
            for kind, number, body in everything(sender):
                receiver.receive(Frame(kind, number, body), 0.0)
                moved = True


def test_our_own_moves_out_of_turn_are_bugs() -> None:
    session = Session(Role.CLIENT, LIMITS)
    channel = session.open("talk", {})
    moves: list[Callable[[], None]] = [
        lambda: session.send(channel, 0, b"x"),
        lambda: session.send_eof(channel),
        lambda: session.send_message(channel, {}),
        lambda: session.close(channel),
        lambda: session.accept(channel),
        lambda: session.refuse(channel, "failed", ""),
    ]
    for move in moves:
        with pytest.raises(LocalProtocolError):
            move()
    receive(session, FrameType.OPENED, 1, {"window": 100})
    session.send_eof(channel)
    with pytest.raises(LocalProtocolError):
        session.send(channel, 0, b"x")
    session.send_message(channel, {})
    session.close(channel)
    with pytest.raises(LocalProtocolError):
        session.close(channel)


def test_calls_on_a_channel_that_the_peer_has_ended_do_nothing() -> None:
    # The peer's last message and its CLOSE come in one read; the answer to the message is late.
    session, channel = server_with(1)
    receive(session, FrameType.MESSAGE, 1, {"n": 1})
    receive(session, FrameType.CLOSE, 1)
    everything(session)
    act_on_ended(session, channel)
    assert everything(session) == []


def act_on_ended(session: Session, channel: ChannelState) -> None:
    session.send(channel, 0, b"x")
    session.send_message(channel, {})
    session.send_eof(channel)
    session.consumed(channel, 5, 0.0)
    session.close(channel)
    session.reset(channel, "failed", "")
    assert session.room(channel) == 0


def test_empty_data_is_never_sent() -> None:
    session, channel = client_with(1)
    session.send(channel, 0, b"")
    assert everything(session) == []


# Counting.


def test_every_sequenced_frame_counts_and_what_is_skipped_too() -> None:
    session, _ = server_with(1)
    before = session.received
    for frame_type, body in ((19, b"\1x"), (21, b'{"bytes":1}'), (22, b"{}"), (200, b"\xff\xff")):
        receive(session, frame_type, 1, body)
    assert session.received == before + 4


def test_a_frame_that_breaks_a_rule_does_not_count() -> None:
    session = Session(Role.SERVER, LIMITS)
    with pytest.raises(RemoteProtocolError):
        receive(session, FrameType.DATA, 1, b"\1x")
    assert session.received == 0


def test_events_hold_copies_of_bytes_and_not_the_receive_buffer() -> None:
    session, _ = server_with(1)
    shared = bytearray(b"\1abc")
    (event,) = session.receive(Frame(FrameType.DATA, 1, memoryview(shared)), 0.0)
    shared[:] = b"\1zzz"
    assert isinstance(event, DataReceived)
    assert event.data == b"abc"


def test_the_request_of_a_kind_passes_through_unread() -> None:
    session = Session(Role.SERVER, LIMITS)
    body = {"kind": "later", "window": 5, "request": {"any": [1, None, {"x": "\udcff"}]}}
    (event,) = receive(session, FrameType.OPEN, 1, body)
    assert isinstance(event, ChannelRequested)
    assert (event.channel.kind, event.request) == ("later", body["request"])
    assert event.channel.send_window.available == 5


# What is left to say.


def test_a_session_is_quiet_once_all_that_was_queued_has_left() -> None:
    session, channel = client_with(1, window=100)
    assert session.is_quiet
    session.send(channel, 0, bytes(150))
    session.close(channel)
    assert not session.is_quiet
    everything(session)
    assert not session.has_output() and not session.is_quiet  # the window is used up
    receive(session, FrameType.WINDOW, channel.number, {"bytes": 100})
    assert not session.is_quiet
    everything(session)
    assert session.is_quiet


# Memory of what the peer asks.


def test_requests_that_take_more_memory_than_a_session_has_are_refused() -> None:
    limits = Bounds(session_memory=1024 * 1024, window_smallest=1024, window=1024)
    session = Session(Role.SERVER, limits)
    before = session._budget.free
    body = {"kind": "talk", "window": 1, "request": {"x": [[]] * 2000}}
    heard = [receive(session, FrameType.OPEN, number, body) for number in range(1, 101, 2)]
    assert heard[0] and not heard[-1]
    assert session._budget.free >= -2 * 16 * 1024
    assert receive(session, FrameType.OPEN, 101, {"kind": "talk", "window": 1})  # a small one
    for channel in list(session.channels.values()):
        session.refuse(channel, "failed", "enough")
    assert session._budget.free == before
    assert receive(session, FrameType.OPEN, 103, body)


def test_a_reply_that_takes_more_memory_than_is_left_ends_its_channel_and_no_other() -> None:
    """A client may have spent its memory on windows, and its server done nothing wrong."""
    session = Session(Role.CLIENT, Bounds())
    first, second, third = (session.open("talk", {}) for _ in range(3))
    session.reset(third, "cancelled", "no more use")
    session._budget.take(session._budget.free)
    reply = {"window": 1, "reply": {"x": [[]] * 2000}}
    [end] = receive(session, FrameType.OPENED, first.number, reply)
    assert isinstance(end, ChannelClosed) and isinstance(end.cause, ChannelReset)
    assert (end.channel, end.cause.code) == (first, "overrun")
    assert receive(session, FrameType.OPENED, second.number, {"window": 1})
    assert not receive(session, FrameType.OPENED, third.number, reply)
    for channel in (first, third):
        assert not receive(session, FrameType.CLOSE, channel.number, {})
    assert list(session.channels.values()) == [second]


def test_what_we_say_keeps_to_the_shape_that_a_peer_takes() -> None:
    session = Session(Role.CLIENT, Bounds())
    with pytest.raises(LocalProtocolError, match="holds more than"):
        session.open("talk", {"x": [0] * 20_000})
    with pytest.raises(LocalProtocolError, match="nests deeper"):
        session.open("talk", {"x": json.loads("[" * 40 + "]" * 40)})
