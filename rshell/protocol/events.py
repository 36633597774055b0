"""What the pure core tells its caller. One class for each thing that can happen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rshell.errors import RshellError
from rshell.protocol.messages import Attach, Auth, Hello, Json

if TYPE_CHECKING:
    from rshell.protocol.channel import ChannelState


@dataclass(frozen=True, slots=True)
class HelloReceived:
    """The peer introduced itself and shares a version with us. A client now logs in."""

    hello: Hello
    version: int


@dataclass(frozen=True, slots=True)
class AuthReceived:
    """A step of the login arrived and must be answered; nothing else is accepted before."""

    auth: Auth


@dataclass(frozen=True, slots=True)
class AttachRequested:
    """Server: a logged-in client wants a session; answer with `Link.accept_attach`."""

    attach: Attach


@dataclass(frozen=True, slots=True)
class SessionAttached:
    """The link now carries the session whose id this is."""

    session: str


@dataclass(frozen=True, slots=True)
class LinkClosed:
    """The link is over; `cause` says why. Always the last event, and given once."""

    cause: RshellError


@dataclass(frozen=True, slots=True)
class ChannelRequested:
    """The peer wants a channel; answer with `Session.accept` or `Session.refuse`."""

    channel: ChannelState
    request: Json


@dataclass(frozen=True, slots=True)
class ChannelOpened:
    """The peer opened the channel that we asked for."""

    channel: ChannelState
    reply: Json


@dataclass(frozen=True, slots=True)
class DataReceived:
    """Bytes of one stream, never empty. Credit them with `Session.consumed` once read."""

    channel: ChannelState
    stream: int
    data: bytes


@dataclass(frozen=True, slots=True)
class EofReceived:
    """The peer will send no more DATA in this channel."""

    channel: ChannelState


@dataclass(frozen=True, slots=True)
class MessageReceived:
    """A message of the channel's kind; its body had `size` bytes."""

    channel: ChannelState
    message: Json
    size: int


@dataclass(frozen=True, slots=True)
class ChannelClosed:
    """The channel is over. `cause` is None after a CLOSE, else ChannelRefused or ChannelReset."""

    channel: ChannelState
    cause: RshellError | None


Event = (
    HelloReceived
    | AuthReceived
    | AttachRequested
    | SessionAttached
    | LinkClosed
    | ChannelRequested
    | ChannelOpened
    | DataReceived
    | EofReceived
    | MessageReceived
    | ChannelClosed
)
