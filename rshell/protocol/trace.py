"""One line for each frame of a link, for a person who looks for a fault.

    client 1 > HELLO 0 101 {"versions":[1,1],"frame":262144,"implementation":"rshell"}
    client 1 < DATA 1 4097 stream 1

are the link, the direction (`>` sent, `<` received), the type, the channel, the bytes of the
body, and of the body what is listed in `_SHOWN` and nothing else. What is secret or private stays
out: AUTH data, a session's secret, the bytes of DATA, the requests, replies and messages of a
channel, where commands, paths and environments are, and the reasons for the end of a channel,
which may quote them. What is shown is JSON in ASCII: no peer can colour a terminal.

Hazard: a frame is shown before it is checked. Its body may be anything.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

from rshell.errors import RemoteProtocolError
from rshell.protocol.codec import Json, parse_object
from rshell.protocol.frames import KNOWN_TYPES, Buffer, Frame, FrameDecoder, FrameType

_LONGEST = 300  # characters of a body
_SHOWN: dict[FrameType, tuple[str, ...]] = {
    FrameType.HELLO: ("versions", "frame", "implementation", "mechanisms", "features"),
    FrameType.AUTH: ("mechanism", "done", "identity"),
    FrameType.ATTACH: ("session", "received", "linger"),
    FrameType.ATTACHED: ("session", "received"),
    FrameType.PING: ("id",),
    FrameType.PONG: ("id",),
    FrameType.ACK: ("received",),
    FrameType.GOODBYE: ("code", "reason", "versions"),
    FrameType.OPEN: ("kind", "window"),
    FrameType.OPENED: ("window",),
    FrameType.REFUSED: ("code",),
    FrameType.WINDOW: ("bytes",),
    FrameType.MESSAGE: ("type",),
    FrameType.RESET: ("code",),
}


class FrameTrace:
    """Gives `write` a line for each frame of the link called `name`."""

    def __init__(self, name: str, write: Callable[[str], None]) -> None:
        self._name = name
        self._write = write

    def received(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        """Show each frame before it is passed on."""
        for frame in frames:
            self._write(f"{self._name} < {describe_frame(frame)}")
            yield frame

    def sent(self, buffers: list[Buffer]) -> None:
        """Show what leaves, which is whole frames."""
        for frame in FrameDecoder(2**32).feed(b"".join(buffers)):
            self._write(f"{self._name} > {describe_frame(frame)}")


def describe_frame(frame: Frame) -> str:
    """Return a frame as one printable line without secrets."""
    frame_type = KNOWN_TYPES.get(frame.type)
    name = str(frame.type) if frame_type is None else frame_type.name
    line = f"{name} {frame.channel} {len(frame.body)}"
    if frame_type is FrameType.DATA and len(frame.body):
        return f"{line} stream {frame.body[0]}"
    if frame_type not in _SHOWN:
        return line
    try:
        values = parse_object(name, frame.body)
    except RemoteProtocolError:
        return f"{line} malformed"
    shown: Json = {key: values[key] for key in _SHOWN[frame_type] if _is_plain(values.get(key))}
    return f"{line} {json.dumps(shown, separators=(',', ':'))[:_LONGEST]}"


def _is_plain(value: object) -> bool:
    if isinstance(value, list):
        return all(isinstance(item, (str, int)) for item in value)
    return isinstance(value, (str, int, float))
