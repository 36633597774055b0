from __future__ import annotations

from rshell.protocol.frames import FrameType
from rshell.protocol.session import Role, Session
from tests.support.helpings import (
    LIMITS,
    client_with,
    everything,
    helping,
    numbers,
    receive,
)
from tests.support.rows import row


def test_control_and_small_writes_overtake_bulk() -> None:
    session, bulk, small = client_with(2)
    session.send(bulk, 0, bytes(500_000))
    helping(session, room=1)
    session.send(small, 0, b"\x03")
    session.send_message(bulk, {"signal": "SIGINT"}, urgent=True)
    frames = helping(session, room=1000)
    kinds = [(kind, number) for kind, number, _ in frames]
    assert kinds == [(FrameType.MESSAGE, 1), (FrameType.DATA, 3), (FrameType.DATA, 1)]


def test_an_urgent_message_overtakes_the_data_of_its_own_channel_and_others_do_not() -> None:
    session, channel = client_with(1)
    session.send(channel, 0, b"data")
    session.send_message(channel, {"n": "plain"})
    session.send_message(channel, {"n": "urgent"}, urgent=True)
    assert [(kind, body) for kind, _, body in everything(session)] == [
        (FrameType.MESSAGE, b'{"n":"urgent"}'),
        (FrameType.DATA, b"\0data"),
        (FrameType.MESSAGE, b'{"n":"plain"}'),
    ]


def test_bulk_channels_take_turns() -> None:
    session, *channels = client_with(4)
    for channel in channels:
        session.send(channel, 0, bytes(100_000))
    session.peer_frame = 16_385
    order = numbers(everything(session), FrameType.DATA)
    assert order[:12] == [1, 3, 5, 7] * 3
    assert {order.count(channel.number) for channel in channels} == {7}


def test_small_channels_take_turns_and_leave_bulk_its_share() -> None:
    session, bulk, *small = client_with(4)
    session.send(bulk, 0, bytes(700_000))
    for number in range(3):
        for channel in small:
            session.send(channel, 0, b"%d" % number)
        frames = helping(session, room=20_000)
        assert numbers(frames, FrameType.DATA) == [3, 5, 7, 1]


def test_a_channel_that_was_small_when_it_got_in_line_sends_no_bulk_there() -> None:
    # 100 lines typed at once, each followed by a paste, must not pass the room by megabytes.
    session, *channels = client_with(100)
    for channel in channels:
        session.send(channel, 0, b"k")
    for channel in channels:
        session.send(channel, 0, bytes(200_000))
    sent = sum(len(body) for _, _, body in helping(session, room=10_000))
    assert sent < 100 * 5000 + LIMITS.frame


def test_room_bounds_one_helping_of_bulk() -> None:
    session, channel = client_with(1)
    session.peer_frame = 10_001
    session.send(channel, 0, bytes(400_000))
    assert sum(len(body) - 1 for _, _, body in helping(session, room=25_000)) == 30_000
    assert helping(session, room=0) == []


def test_data_and_eof_and_close_keep_their_order() -> None:
    session, channel = client_with(1)
    session.send(channel, 0, bytes(10_000))
    session.send(channel, 0, b"x")
    session.send_eof(channel)
    session.close(channel)
    kinds = [kind for kind, _, _ in everything(session)]
    assert kinds == [FrameType.DATA, FrameType.DATA, FrameType.EOF, FrameType.CLOSE]


def test_data_never_overtakes_the_opened_of_its_channel() -> None:
    session = Session(Role.SERVER, LIMITS)
    session.replay.size = session.replay.limit + 10**6  # exhausted: even control frames wait
    receive(session, FrameType.OPEN, 1, {"kind": "talk", "window": 100})
    session.accept(session.channels[1])
    session.send(session.channels[1], 1, b"x")
    assert helping(session) == []
    session.replay.size = 0
    assert [kind for kind, _, _ in everything(session)] == [FrameType.OPENED, FrameType.DATA]


# Room.


def test_room_is_bounded_by_the_queue_and_by_the_window() -> None:
    session, channel = client_with(1, window=600_000)
    assert session.room(channel) == LIMITS.channel_queue
    session.send(channel, 0, bytes(LIMITS.channel_queue))
    assert session.room(channel) == 0
    everything(session)
    assert session.room(channel) == 600_000 - LIMITS.channel_queue
    session.send_eof(channel)
    assert session.room(channel) == 0


def test_whoever_wants_room_is_told_once_even_for_the_smallest_windows() -> None:
    for amount in [1, 2, 1000, 1023, 1024, 100_000]:
        with row(amount):
            session, channel = client_with(1, window=1)
            session.send(channel, 0, b"x")
            everything(session)
            assert session.room(channel) == 0
            session.want_room(channel)
            assert session.take_roomy() == []
            receive(session, FrameType.WINDOW, 1, {"bytes": amount})
            assert session.take_roomy() == [channel]
            assert session.take_roomy() == []
            receive(session, FrameType.WINDOW, 1, {"bytes": amount})
            assert session.take_roomy() == []


def test_room_that_comes_from_sending_is_told() -> None:
    session, channel = client_with(1, window=10**6)
    session.send(channel, 0, bytes(LIMITS.channel_queue))
    session.want_room(channel)
    helping(session)
    assert session.take_roomy() == [channel]
