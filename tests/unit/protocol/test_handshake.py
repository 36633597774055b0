from __future__ import annotations

import itertools

import pytest

from rshell.errors import LocalProtocolError, RemoteProtocolError, RshellError, SessionClosed
from rshell.protocol.events import (
    AttachRequested,
    AuthReceived,
    HelloReceived,
    LinkClosed,
    SessionAttached,
)
from rshell.protocol.frames import FrameType
from rshell.protocol.handshake import ACTING, RECEIVING, Handshake, Party, Stage
from rshell.protocol.session import Role
from tests.support.wire import FIRST_AUTH, HELLO, at_stage, frame, stages, take, take_types

GRANTED = {"session": "session-1", "secret": "secret-1", "received": 0}
# One valid frame of each type, and types of no version, of a later one, of both kinds.
FRAMES: dict[int, bytes] = {
    FrameType.HELLO: frame(FrameType.HELLO, 0, HELLO),
    FrameType.AUTH: frame(FrameType.AUTH, 0, FIRST_AUTH.encode()),
    FrameType.ATTACH: frame(FrameType.ATTACH),
    FrameType.ATTACHED: frame(FrameType.ATTACHED, 0, GRANTED),
    FrameType.PING: frame(FrameType.PING, 0, {"id": 1}),
    FrameType.PONG: frame(FrameType.PONG, 0, {"id": 1}),
    FrameType.ACK: frame(FrameType.ACK, 0, {"received": 0}),
    FrameType.GOODBYE: frame(FrameType.GOODBYE, 0, {"code": "done"}),
    FrameType.OPEN: frame(FrameType.OPEN, 1, {"kind": "process", "window": 1}),
    FrameType.OPENED: frame(FrameType.OPENED, 1, {"window": 1}),
    FrameType.REFUSED: frame(FrameType.REFUSED, 1, {"code": "failed"}),
    FrameType.DATA: frame(FrameType.DATA, 1, b"\0x"),
    FrameType.EOF: frame(FrameType.EOF, 1),
    FrameType.WINDOW: frame(FrameType.WINDOW, 1, {"bytes": 1}),
    FrameType.MESSAGE: frame(FrameType.MESSAGE, 1),
    FrameType.CLOSE: frame(FrameType.CLOSE, 1),
    FrameType.RESET: frame(FrameType.RESET, 1, {"code": "failed"}),
    0: frame(0),
    9: frame(9),
    25: frame(25, 1),
    127: frame(127, 1),
    128: frame(128, 5, b"\xff"),
    255: frame(255, 5, b"\xff"),
}
ALL = [
    (role, stage, number) for role in Role for stage in stages(role) for number in sorted(FRAMES)
]


def allowed(role: Role, stage: Stage, number: int) -> bool:
    """Say by hand, not from the table, what may arrive before a link carries a session."""
    if number == FrameType.GOODBYE:
        return stage is not Stage.CLOSED
    if role is Role.SERVER:
        return (stage, number) in {
            (Stage.HELLO, FrameType.HELLO),
            (Stage.AUTH, FrameType.AUTH),
            (Stage.ATTACH, FrameType.ATTACH),
        }
    return (stage, number) in {
        (Stage.HELLO, FrameType.HELLO),
        (Stage.AUTH, FrameType.AUTH),
        (Stage.ATTACHING, FrameType.ATTACHED),
    }


@pytest.mark.parametrize(
    ("role", "stage", "number"),
    [row for row in ALL if row[1] not in (Stage.ATTACHED, Stage.CLOSED)],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_before_a_session_only_the_tables_rows_pass_and_nothing_is_executed(
    role: Role, stage: Stage, number: int
) -> None:
    link, session = at_stage(role, stage)
    events = link.receive_data(FRAMES[number], 0.0)
    assert len(events) == 1
    event = events[0]
    if allowed(role, stage, number):
        wanted = {
            FrameType.HELLO: HelloReceived,
            FrameType.AUTH: AuthReceived,
            FrameType.ATTACH: AttachRequested,
            FrameType.ATTACHED: SessionAttached,
            FrameType.GOODBYE: LinkClosed,
        }
        assert type(event) is wanted[FrameType(number)]
        assert take(link) == b""
        return
    assert isinstance(event, LinkClosed)
    assert isinstance(event.cause, RemoteProtocolError)
    assert take_types(link) == [FrameType.GOODBYE]
    # Nothing came of it, and nothing comes of what follows.
    assert (session.received, session.channels) == (0, {})
    for following in FRAMES.values():
        assert link.receive_data(following, 0.0) == []
    assert not link.has_output()
    assert link.closed is event.cause


@pytest.mark.parametrize("role", Role, ids=lambda role: role.name)
@pytest.mark.parametrize("number", sorted(FRAMES))
def test_once_attached_the_handshakes_frames_are_errors_and_the_skippable_are_skipped(
    role: Role, number: int
) -> None:
    link, session = at_stage(role, Stage.ATTACHED)
    events = link.receive_data(FRAMES[number], 0.0)
    if number >= 192:
        assert (events, session.received) == ([], 1)
    elif number >= 128:
        assert (events, session.received) == ([], 0)
    elif number in (FrameType.PING, FrameType.PONG, FrameType.ACK):
        assert events == []
        assert take_types(link) == ([FrameType.PONG] if number == FrameType.PING else [])
    elif number == FrameType.OPEN and role is Role.SERVER:
        assert [type(event).__name__ for event in events] == ["ChannelRequested"]
    elif number == FrameType.GOODBYE:
        assert isinstance(link.closed, SessionClosed)
        assert take(link) == b""
    else:
        assert isinstance(link.closed, RemoteProtocolError)
        unknown = number not in FrameType.__members__.values()
        assert link.closed.code == ("unknown-type" if unknown else "protocol")
        assert take_types(link) == [FrameType.GOODBYE]


@pytest.mark.parametrize("role", Role, ids=lambda role: role.name)
def test_after_the_end_nothing_is_heard(role: Role) -> None:
    link, _ = at_stage(role, Stage.CLOSED)
    for data in FRAMES.values():
        assert link.receive_data(data, 0.0) == []
    assert link.receive_eof() == []
    assert link.tick(1e9) == []
    assert not link.has_output()


@pytest.mark.parametrize("number", [each for each in FRAMES if each in set(FrameType)])
def test_a_link_frame_in_a_channel_and_a_channel_frame_in_none_are_errors(number: int) -> None:
    data = bytearray(FRAMES[number])
    data[5:9] = (3 if number < 16 else 0).to_bytes(4, "big")
    link, _ = at_stage(Role.SERVER, Stage.ATTACHED)
    link.receive_data(bytes(data), 0.0)
    assert isinstance(link.closed, RemoteProtocolError)
    assert "channel number" in str(link.closed)


# The table itself.


@pytest.mark.parametrize(
    ("party", "stage", "frame_type"), list(itertools.product(Party, Stage, FrameType))
)
def test_receive_moves_by_the_table_and_not_otherwise(
    party: Party, stage: Stage, frame_type: FrameType
) -> None:
    handshake = Handshake(party)
    handshake.stage = stage
    after = RECEIVING.get((party, stage, frame_type))
    if frame_type is FrameType.GOODBYE:
        after = Stage.CLOSED
    if stage is Stage.ATTACHED and (frame_type >= 16 or frame_type in (5, 6, 7)):
        after = Stage.ATTACHED
    if after is None:
        with pytest.raises(RemoteProtocolError):
            handshake.receive(frame_type)
        assert handshake.stage is stage
    else:
        handshake.receive(frame_type)
        assert handshake.stage is after


ACTIONS = sorted({action for _, _, action in ACTING})


@pytest.mark.parametrize(
    ("party", "stage", "action"), list(itertools.product(Party, Stage, ACTIONS))
)
def test_a_decision_out_of_turn_is_our_own_bug(party: Party, stage: Stage, action: str) -> None:
    handshake = Handshake(party)
    handshake.stage = stage
    after = ACTING.get((party, stage, action))
    if after is None:
        with pytest.raises(LocalProtocolError):
            handshake.act(action)
        assert handshake.stage is stage
    else:
        handshake.act(action)
        assert handshake.stage is after


def test_no_way_leads_to_a_session_around_the_login() -> None:
    # Walk the server's rows: every path to ATTACHED passes "accept" in AUTH_DECIDING.
    reached = {Stage.HELLO}
    moves = [(p, a, b) for (p, a, _), b in RECEIVING.items()]
    moves += [(p, a, b) for (p, a, action), b in ACTING.items() if action != "accept"]
    for _ in range(len(moves)):
        reached |= {b for p, a, b in moves if p is Party.SERVER and a in reached}
    assert reached == {Stage.HELLO, Stage.AUTH, Stage.AUTH_DECIDING}


def test_the_first_auth_may_come_together_with_hello() -> None:
    link, _ = at_stage(Role.SERVER, Stage.HELLO)
    events = link.receive_data(FRAMES[FrameType.HELLO] + FRAMES[FrameType.AUTH], 0.0)
    assert [type(event) for event in events] == [HelloReceived, AuthReceived]
    link, _ = at_stage(Role.CLIENT, Stage.HELLO)
    link.authenticate(FIRST_AUTH)
    assert take_types(link) == [FrameType.AUTH]


def test_a_second_auth_before_the_answer_is_an_error() -> None:
    link, _ = at_stage(Role.SERVER, Stage.AUTH)
    events = link.receive_data(FRAMES[FrameType.AUTH] * 2, 0.0)
    assert [type(event) for event in events] == [AuthReceived, LinkClosed]
    # The caller answers the first event before it sees the second: that must do no harm.
    link.challenge("too late")
    link.accept("nobody")
    assert link.identity == ""
    assert take_types(link) == [FrameType.GOODBYE]


@pytest.mark.parametrize("stage", [s for s in Stage if s is not Stage.CLOSED], ids=lambda s: s.name)
def test_an_eof_before_login_ended_says_so(stage: Stage) -> None:
    for role in Role:
        if stage not in stages(role):
            continue
        link, _ = at_stage(role, stage)
        (event,) = link.receive_eof()
        assert isinstance(event, LinkClosed)
        cause: RshellError = event.cause
        assert ("before login" in str(cause)) is (stage is not Stage.ATTACHED)
