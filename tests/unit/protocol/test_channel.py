from __future__ import annotations

import itertools
import typing

import pytest

from rshell.errors import LocalProtocolError, RemoteProtocolError
from rshell.protocol import channel as channel_module
from rshell.protocol import login
from rshell.protocol.channel import (
    TRANSITIONS,
    ChannelClosed,
    ChannelEvent,
    ChannelState,
    Half,
    Queued,
)
from rshell.protocol.flow import MemoryBudget, ReceiveWindow, SendWindow
from rshell.protocol.frames import FIRST_CHANNEL_TYPE, FrameType
from rshell.protocol.link import Event

CHANNEL_TYPES = [each for each in FrameType if each >= FIRST_CHANNEL_TYPE]


def made(window: ReceiveWindow, *, opened_here: bool) -> ChannelState:
    return ChannelState(1, "talk", window, opened_here=opened_here)


def channel(ours: Half, theirs: Half = Half.OPEN) -> ChannelState:
    window = ReceiveWindow(1000, 1000, MemoryBudget(1000))
    state = made(window, opened_here=True)
    state.ours, state.theirs = ours, theirs
    return state


def test_the_same_table_moves_what_is_sent_and_what_arrives() -> None:
    for half, frame_type in itertools.product(Half, CHANNEL_TYPES):
        row = (half, frame_type)
        after = TRANSITIONS[half].get(frame_type)
        sender, receiver = channel(half), channel(Half.OPEN, half)
        if after is None:
            with pytest.raises(LocalProtocolError):
                sender.sending(frame_type)
            with pytest.raises(RemoteProtocolError):
                receiver.receiving(frame_type)
            assert (sender.ours, receiver.theirs) == (half, half), row
        else:
            sender.sending(frame_type)
            receiver.receiving(frame_type)
            assert (sender.ours, receiver.theirs) == (after, after), row


def test_the_table_holds_each_rule_of_the_specification() -> None:
    # Written out once more by hand, so that a slip in the table can't pass.
    kept = {FrameType.WINDOW, FrameType.MESSAGE, FrameType.CLOSE, FrameType.RESET}
    assert {half: set(moves) for half, moves in TRANSITIONS.items()} == {
        Half.OPENING: {FrameType.RESET},
        Half.ANSWERING: {FrameType.OPENED, FrameType.REFUSED},
        Half.OPEN: kept | {FrameType.DATA, FrameType.EOF},
        Half.ENDED: kept,
        Half.CLOSED: set(),
    }
    for moves in TRANSITIONS.values():
        for frame_type, after in moves.items():
            ends = frame_type in (FrameType.CLOSE, FrameType.RESET, FrameType.REFUSED)
            assert (after is Half.CLOSED) is ends


def test_opened_moves_the_opener_too_and_only_while_it_waits() -> None:
    opener = channel(Half.OPENING, Half.ANSWERING)
    opener.receiving(FrameType.OPENED)
    assert (opener.ours, opener.theirs) == (Half.OPEN, Half.OPEN)
    answerer = channel(Half.ANSWERING, Half.OPENING)
    answerer.sending(FrameType.OPENED)
    assert (answerer.ours, answerer.theirs) == (Half.OPEN, Half.OPEN)
    # RESET and OPENED crossed: the opener stays closed.
    crossed = channel(Half.CLOSED, Half.ANSWERING)
    crossed.receiving(FrameType.OPENED)
    assert (crossed.ours, crossed.theirs) == (Half.CLOSED, Half.OPEN)


def test_a_new_channel_waits_for_its_answer() -> None:
    window = ReceiveWindow(1, 1, MemoryBudget(1))
    here = made(window, opened_here=True)
    there = made(window, opened_here=False)
    assert (here.ours, here.theirs) == (Half.OPENING, Half.ANSWERING)
    assert (there.ours, there.theirs) == (Half.ANSWERING, Half.OPENING)


def test_a_channel_is_over_when_both_halves_are_closed() -> None:
    for ours, theirs in itertools.product(Half, Half):
        both = ours is Half.CLOSED and theirs is Half.CLOSED
        assert channel(ours, theirs).is_over is both


def test_data_is_split_to_the_window_and_to_the_largest_frame_and_keeps_its_stream() -> None:
    state = channel(Half.OPEN)
    state.send_window = SendWindow(8)
    state.enqueue(Queued(FrameType.DATA, b"abcdefghij", 2))
    state.enqueue(Queued(FrameType.EOF, b"{}"))
    pieces = []
    while (item := state.next_queued(5)) is not None:
        pieces.append((item.type, item.stream, bytes(item.payload)))
    assert pieces == [(FrameType.DATA, 2, b"abcde"), (FrameType.DATA, 2, b"fgh")]
    assert state.queued_bytes == 2
    state.send_window.credit(100)
    rest = state.next_queued(5)
    assert rest is not None
    assert (bytes(rest.payload), state.queued_bytes) == (b"ij", 0)
    end = state.next_queued(5)
    assert end is not None
    assert end.type is FrameType.EOF
    assert state.next_queued(5) is None


def test_many_small_blocks_of_one_stream_are_joined_while_they_wait() -> None:
    state = channel(Half.OPEN)
    state.send_window = SendWindow(2**20)
    for number in range(10_000):
        state.enqueue(Queued(FrameType.DATA, b"ab", number // 5000))
    assert state.queued_bytes == 20_000
    assert len(state.queue) < 200
    sent = {0: b"", 1: b""}
    while (item := state.next_queued(2**20)) is not None:
        sent[item.stream] += bytes(item.payload)
    assert sent == {0: b"ab" * 5000, 1: b"ab" * 5000}
    assert state.queued_bytes == 0


def test_only_data_waits_for_the_window() -> None:
    state = channel(Half.OPEN)
    state.enqueue(Queued(FrameType.MESSAGE, b"{}"))
    assert state.next_queued(5) is not None


def test_a_dropped_queue_leaves_nothing_counted() -> None:
    state = channel(Half.OPEN)
    state.enqueue(Queued(FrameType.DATA, b"abc", 1))
    state.drop_queue()
    assert (state.queued_bytes, len(state.queue)) == (0, 0)


# Events, those of a link too.


def event_classes(module: object) -> set[type]:
    return {
        each
        for each in vars(module).values()
        if isinstance(each, type)
        and issubclass(each, tuple)
        and each.__module__ == vars(module)["__name__"]
        and each is not Queued
    }


def test_the_unions_name_every_event_so_that_match_statements_are_checked() -> None:
    of_channels = event_classes(channel_module)
    assert set(typing.get_args(ChannelEvent)) == of_channels
    assert set(typing.get_args(login.LinkEvent)) == event_classes(login) == set(login.LINK_EVENTS)
    assert set(typing.get_args(Event)) == of_channels | event_classes(login)
    assert len(typing.get_args(Event)) == 11


def test_every_event_is_frozen_and_says_what_it_means() -> None:
    for each in typing.get_args(Event):
        assert (each.__doc__ or "").endswith(".")
    event = ChannelClosed(channel(Half.CLOSED), None)
    with pytest.raises(AttributeError):
        event.cause = None  # type: ignore[misc]
