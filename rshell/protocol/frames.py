"""Frames: the only shape that bytes have on a link (docs/protocol.md, "Frames").

A header of fixed size says how long the body is; the decoder checks that length before it keeps
one byte of the body. Fed a large buffer, it hands out views into it: a body is copied once, by
the code that keeps it. A buffer may hold twenty thousand small frames, and so a helping, a bounded
amount of work, can be asked for.

`FrameTrace` shows each frame as a line, for a person who looks for a fault:

    client 1 > HELLO 0 101 {"versions":[1,1],"frame":262144,"implementation":"rshell"}
    client 1 < DATA 1 4097 stream 1

are the link, the direction (`>` sent, `<` received), the type, the channel, the bytes of the
body, and of the body what is listed in `_SHOWN` and nothing else. What is secret or private stays
out: AUTH data, a session's secret, the bytes of DATA, the requests, replies and messages of a
channel, where commands, paths and environments are, and the reasons for the end of a channel,
which may quote them. What is shown is JSON in ASCII: no peer can colour a terminal.

Hazard: a body that `FrameDecoder.feed` yields may be a view into the caller's buffer. It is
valid until the generator is resumed; keep `bytes(body)`, never the view.

Hazard: a frame is shown before it is checked. Its body may be anything.
"""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import NamedTuple, Union

from rshell.errors import RemoteProtocolError
from rshell.protocol.codec import Json, parse_object

Buffer = Union[bytes, bytearray, memoryview]

HEADER = struct.Struct("!IBI")
_DATA_HEADER = struct.Struct("!IBIB")


class FrameType(IntEnum):
    """The wire numbers. Frames below 16 belong to the link, the others to a channel."""

    HELLO = 1
    AUTH = 2
    ATTACH = 3
    ATTACHED = 4
    PING = 5
    PONG = 6
    ACK = 7
    GOODBYE = 8
    OPEN = 16
    OPENED = 17
    REFUSED = 18
    DATA = 19
    EOF = 20
    WINDOW = 21
    MESSAGE = 22
    CLOSE = 23
    RESET = 24


FIRST_CHANNEL_TYPE = 16
FIRST_SKIPPED_TYPE = 128
FIRST_SKIPPED_SEQUENCED_TYPE = 192

KNOWN_TYPES = {int(member): member for member in FrameType}

HELPING = 32  # frames without much ado
_WORK = {int(FrameType.OPEN): 32, int(FrameType.MESSAGE): 16}  # of those that may start something

_LONGEST = 300  # characters of a body in a trace
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


class Frame(NamedTuple):
    """One frame as decoded. `type` may be a number that this version does not know."""

    type: int
    channel: int
    body: Buffer

    def check(self) -> None:
        """Raise RemoteProtocolError for a type that is not known, or not one of this channel."""
        if self.type in KNOWN_TYPES:
            if (self.channel == 0) is not (self.type < FIRST_CHANNEL_TYPE):
                name = KNOWN_TYPES[self.type].name
                raise RemoteProtocolError(f"{name} with the channel number {self.channel}")
        elif self.type < FIRST_SKIPPED_TYPE:
            raise RemoteProtocolError(
                f"a frame of the unknown type {self.type}", code="unknown-type"
            )

    @property
    def is_sequenced(self) -> bool:
        """Whether the frame counts in its direction's sequence (docs/protocol.md, "Sessions")."""
        if self.type >= FIRST_SKIPPED_TYPE:
            return self.type >= FIRST_SKIPPED_SEQUENCED_TYPE
        return self.type >= FIRST_CHANNEL_TYPE


def encode_frame(frame_type: int, channel: int, body: bytes) -> bytes:
    """Return a whole frame. `body` must respect the peer's limit; the caller knows it."""
    return HEADER.pack(len(body), frame_type, channel) + body


def encode_data_header(channel: int, stream: int, size: int) -> bytes:
    """Return all of a DATA frame but its `size` bytes of payload, which follow uncopied."""
    return _DATA_HEADER.pack(size + 1, FrameType.DATA, channel, stream)


class FrameDecoder:
    """Turns a byte stream, cut anywhere, into frames.

    `limit` is the largest body accepted, in bytes; it may be raised between frames. `rest` is a
    view of what lies behind the helping that was asked for, and to be fed next; empty without one.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.rest: Buffer = b""
        self._partial = bytearray()

    @property
    def is_inside_frame(self) -> bool:
        """Whether the stream, if it ended here, would end in the middle of a frame."""
        return bool(self._partial)

    def feed(self, data: Buffer, *, helping: bool = False) -> Iterator[Frame]:
        """Yield the frames that `data` completes, or a helping of them.

        A part of a frame at the end of `data` is kept for the next call.
        Exhaust the iterator or drop the decoder. Raises RemoteProtocolError at a header whose
        length passes `limit`, after yielding every frame before it.
        """
        view = memoryview(data)
        end = len(view)
        at = 0
        left = HELPING if helping else sys.maxsize
        self.rest = b""
        if self._partial:
            at = self._complete_partial(view)
            if at < 0:
                return
            whole, self._partial = self._partial, bytearray()
            _, frame_type, channel = HEADER.unpack_from(whole)
            yield Frame(frame_type, channel, memoryview(whole)[HEADER.size :])
            left -= _WORK.get(frame_type, 1)
        while end - at >= HEADER.size:
            if left <= 0:
                self.rest = view[at:]
                return
            length, frame_type, channel = HEADER.unpack_from(view, at)
            if length > self.limit:
                raise _too_long(length, self.limit)
            body = at + HEADER.size
            if end - body < length:
                break
            at = body + length
            yield Frame(frame_type, channel, view[body:at])
            left -= _WORK.get(frame_type, 1)
        self._partial += view[at:]

    def _complete_partial(self, view: memoryview) -> int:
        """Move bytes from `view` until the kept frame is whole; return how many, or -1."""
        partial = self._partial
        at = 0
        if len(partial) < HEADER.size:
            at = min(HEADER.size - len(partial), len(view))
            partial += view[:at]
            if len(partial) < HEADER.size:
                return -1
        length = HEADER.unpack_from(partial)[0]
        if length > self.limit:
            raise _too_long(length, self.limit)
        take = min(HEADER.size + length - len(partial), len(view) - at)
        partial += view[at : at + take]
        return at + take if len(partial) == HEADER.size + length else -1


def _too_long(length: int, limit: int) -> RemoteProtocolError:
    return RemoteProtocolError(
        f"a frame of {length} bytes where {limit} are allowed", code="frame-too-long"
    )


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
