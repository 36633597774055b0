"""A session without a link: what it would send, and what it makes of frames."""

from __future__ import annotations

from typing import Any

from rshell.protocol.channel import ChannelEvent
from rshell.protocol.codec import encode_json
from rshell.protocol.frames import Buffer, Frame, FrameType
from rshell.protocol.session import Role, Session
from rshell.values import Bounds
from tests.support.wire import PLENTY, decode_frames, join

LIMITS = Bounds(
    window=10_000,
    window_smallest=1000,
    window_largest=80_000,
    session_memory=2_000_000,
    hold=PLENTY,  # nobody acknowledges here
)


def receive(
    session: Session, frame_type: int, channel: int, body: dict[str, Any] | bytes = b"{}"
) -> list[ChannelEvent]:
    raw = body if isinstance(body, bytes) else encode_json(body)
    return session.receive(Frame(frame_type, channel, raw), 0.0)


def helping(session: Session, room: int = PLENTY) -> list[tuple[int, int, bytes]]:
    """Return the frames of one `collect`."""
    out: list[Buffer] = []
    size = session.collect(out, room, 0.0)
    assert size == sum(map(len, out))
    return decode_frames(join(out))


def everything(session: Session) -> list[tuple[int, int, bytes]]:
    frames = []
    while more := helping(session):
        frames += more
    return frames


def client_with(count: int, window: int = 10**6, limits: Bounds = LIMITS) -> Any:
    """Return a client's session and `count` open channels, into which `window` bytes may go."""
    session = Session(Role.CLIENT, limits)
    channels = [session.open("talk", {}) for _ in range(count)]
    everything(session)
    for channel in channels:
        receive(session, FrameType.OPENED, channel.number, {"window": window})
    return session, *channels


def server_with(count: int) -> Any:
    session = Session(Role.SERVER, LIMITS)
    for number in range(1, 2 * count, 2):
        receive(session, FrameType.OPEN, number, {"kind": "talk", "window": 10**6})
        session.accept(session.channels[number])
    everything(session)
    return session, *session.channels.values()


def numbers(frames: list[tuple[int, int, bytes]], frame_type: int) -> list[int]:
    return [number for kind, number, _ in frames if kind == frame_type]
