"""Bytes of the wire for tests: frames made by hand, and links brought to a wanted stage."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rshell.protocol.channel import (
    ChannelOpened,
    ChannelRequested,
    DataReceived,
    EofReceived,
    MessageReceived,
)
from rshell.protocol.codec import encode_json
from rshell.protocol.frames import Buffer, FrameDecoder, FrameType, encode_frame
from rshell.protocol.link import Event, Link
from rshell.protocol.login import (
    AttachRequested,
    ClientLogin,
    LinkClosed,
    LoggedIn,
    LoginFailed,
    ServerLogin,
    SessionAttached,
    Stage,
)
from rshell.protocol.messages import Attach, Auth, Hello
from rshell.protocol.session import Role, Session
from rshell.values import Bounds

PLENTY = 2**40
IDENTITY = "tester"
HELLO = Hello((1, 1), Bounds().frame, "test", ("EXTERNAL",)).to_bytes()
FIRST_AUTH = Auth("", mechanism="EXTERNAL")


def frame(frame_type: int, channel: int = 0, body: dict[str, Any] | bytes = b"{}") -> bytes:
    """Return one frame; a dict becomes JSON."""
    return encode_frame(frame_type, channel, body if isinstance(body, bytes) else encode_json(body))


def data_frame(channel: int, stream: int, data: bytes) -> bytes:
    return frame(FrameType.DATA, channel, bytes((stream,)) + data)


def join(buffers: Iterable[Buffer]) -> bytes:
    return b"".join(bytes(buffer) for buffer in buffers)


def decode_frames(data: bytes) -> list[tuple[int, int, bytes]]:
    """Return (type, channel, body) of each frame; `data` must hold whole frames only."""
    decoder = FrameDecoder(2**32)
    frames = [(item.type, item.channel, bytes(item.body)) for item in decoder.feed(data)]
    assert not decoder.is_inside_frame
    return frames


def take(link: Link, room: int = PLENTY, now: float = 0.0) -> bytes:
    """Return what a link wants to send, as bytes: all of it, or one helping for a small `room`."""
    output = helping = join(link.data_to_send(room, now))
    while helping and room == PLENTY:
        helping = join(link.data_to_send(room, now))
        output += helping
    return output


def take_types(link: Link, room: int = PLENTY) -> list[int]:
    """Return the types of the frames that a link wants to send."""
    return [frame_type for frame_type, _, _ in decode_frames(take(link, room))]


def only(events: list[Event]) -> Event:
    """Return the one event that there is."""
    assert len(events) == 1, events
    return events[0]


def describe(event: Event) -> tuple[object, ...]:
    """Return what an event says as plain values, so that events of two links compare."""
    name = type(event).__name__
    if isinstance(event, LinkClosed):
        return (name, type(event.cause).__name__, str(event.cause))
    if isinstance(event, SessionAttached):
        return (name, event.session)
    if isinstance(event, LoggedIn):
        return (name, event.identity)
    if isinstance(event, LoginFailed):
        return (name, event.reason)
    if isinstance(event, AttachRequested):
        return (name, str(event))
    if isinstance(event, DataReceived):
        return (name, event.channel.number, event.stream, event.data)
    if isinstance(event, MessageReceived):
        return (name, event.channel.number, event.message)
    if isinstance(event, ChannelRequested):
        return (name, event.channel.number, event.channel.kind, event.request)
    if isinstance(event, ChannelOpened):
        return (name, event.channel.number, event.channel.kind, event.reply)
    if isinstance(event, EofReceived):
        return (name, event.channel.number)
    return (name, event.channel.number, type(event.cause).__name__, str(event.cause))


def new_link(role: Role, limits: Bounds | None = None, now: float = 0.0) -> Link:
    """Return a fresh link. A server takes its client for IDENTITY; a client has yet to log in."""
    login = ServerLogin(IDENTITY) if role is Role.SERVER else None
    return Link(role, limits or Bounds(), now, login=login)


def at_stage(
    role: Role, stage: Stage, limits: Bounds | None = None, now: float = 0.0
) -> tuple[Link, Session]:
    """Return a link that has come to `stage`, its output taken, and the session it may carry."""
    limits = limits or Bounds()
    link = new_link(role, limits, now)
    if role is Role.SERVER:
        session = Session(role, limits, id="session-1", secret="secret-1")
        _bring_server(link, session, stage, now)
    else:
        session = Session(role, limits)
        _bring_client(link, session, stage, now)
    take(link)
    assert link.stage is stage
    return link, session


def attached(role: Role, limits: Bounds | None = None, now: float = 0.0) -> tuple[Link, Session]:
    """Return a link that carries a session, its output taken."""
    return at_stage(role, Stage.ATTACHED, limits, now)


def _bring_server(link: Link, session: Session, stage: Stage, now: float) -> None:
    if stage is Stage.CLOSED:
        link.receive_data(frame(FrameType.GOODBYE, 0, {"code": "done"}), now)
        return
    if stage is Stage.HELLO:
        return
    link.receive_data(frame(FrameType.HELLO, 0, HELLO), now)
    if stage is Stage.AUTH:
        return
    link.receive_data(frame(FrameType.AUTH, 0, FIRST_AUTH.encode()), now)
    if stage is Stage.ATTACH:
        return
    link.receive_data(frame(FrameType.ATTACH), now)
    if stage is Stage.ATTACH_DECIDING:
        return
    link.accept_attach(session, Attach(), now)


def _bring_client(link: Link, session: Session, stage: Stage, now: float) -> None:
    if stage is Stage.CLOSED:
        link.receive_data(frame(FrameType.GOODBYE, 0, {"code": "done"}), now)
        return
    if stage is Stage.HELLO:
        return
    link.receive_data(frame(FrameType.HELLO, 0, HELLO), now)
    link.log_in(ClientLogin())
    if stage is Stage.AUTH:
        return
    done = {"done": True, "identity": IDENTITY}
    link.receive_data(frame(FrameType.AUTH, 0, done), now)
    if stage is Stage.ATTACH:
        return
    link.attach(session, Attach(), now)
    if stage is Stage.ATTACHING:
        return
    granted = {"session": "session-1", "secret": "secret-1", "received": 0}
    link.receive_data(frame(FrameType.ATTACHED, 0, granted), now)


def stages(role: Role) -> list[Stage]:
    """Return the stages that a role can be in, in order."""
    absent = Stage.ATTACHING if role is Role.SERVER else Stage.ATTACH_DECIDING
    return [stage for stage in Stage if stage is not absent]
