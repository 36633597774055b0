"""What the pure core tells its caller. One class for each thing that can happen.

Named tuples, and so are the bodies in messages.py: they are made for each frame, and each program
pays for their definition at its start, a fifth of what frozen dataclasses would take.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Union

from rshell.errors import RshellError
from rshell.protocol.codec import Json
from rshell.protocol.messages import Attach, Auth, Hello

if TYPE_CHECKING:
    from rshell.protocol.channel import ChannelState


class HelloReceived(NamedTuple):
    """The peer introduced itself and shares a version with us. A client now logs in."""

    hello: Hello
    version: int


class AuthReceived(NamedTuple):
    """A step of the login arrived and must be answered; nothing else is accepted before."""

    auth: Auth


class AttachRequested(NamedTuple):
    """Server: a logged-in client wants a session; answer with `Link.accept_attach`."""

    attach: Attach


class SessionAttached(NamedTuple):
    """The link now carries the session whose id this is."""

    session: str


class LinkClosed(NamedTuple):
    """The link is over; `cause` says why. Always the last event, and given once."""

    cause: RshellError


class ChannelRequested(NamedTuple):
    """The peer wants a channel; answer with `Session.accept` or `Session.refuse`."""

    channel: ChannelState
    request: Json


class ChannelOpened(NamedTuple):
    """The peer opened the channel that we asked for."""

    channel: ChannelState
    reply: Json


class DataReceived(NamedTuple):
    """Bytes of one stream, never empty. Credit them with `Session.consumed` once read."""

    channel: ChannelState
    stream: int
    data: bytes


class EofReceived(NamedTuple):
    """The peer will send no more DATA in this channel."""

    channel: ChannelState


class MessageReceived(NamedTuple):
    """A message of the channel's kind; its body had `size` bytes."""

    channel: ChannelState
    message: Json
    size: int


class ChannelClosed(NamedTuple):
    """The channel is over. `cause` is None after a CLOSE, else ChannelRefused or ChannelReset."""

    channel: ChannelState
    cause: RshellError | None


LinkEvent = Union[HelloReceived, AuthReceived, AttachRequested, SessionAttached, LinkClosed]
ChannelEvent = Union[
    ChannelRequested, ChannelOpened, DataReceived, EofReceived, MessageReceived, ChannelClosed
]
Event = Union[LinkEvent, ChannelEvent]
LINK_EVENTS = (HelloReceived, AuthReceived, AttachRequested, SessionAttached, LinkClosed)
