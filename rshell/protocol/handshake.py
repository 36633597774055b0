"""From the first byte to ATTACHED: one table that says which frame may arrive when.

Strategy: both roles stand in one table. A frame that the table lacks ends the link, so nothing
is ever executed for a peer that has not logged in. The states named `*_DECIDING` wait for our
own side: a frame that arrives in one of them is an error, because an honest peer waits too.

Source: docs/protocol.md, "Handshake"; its diagram is written from this table.
"""

from __future__ import annotations

from enum import Enum

from rshell.errors import LocalProtocolError, RemoteProtocolError
from rshell.protocol.frames import KNOWN_TYPES, FrameType


class Stage(Enum):
    """How far a link has come."""

    HELLO = "hello"  # both: the peer's HELLO is next
    AUTH = "auth"  # both: a step of the login is next
    AUTH_DECIDING = "auth-deciding"  # both: we owe the answer to a step
    ATTACH = "attach"  # server: logged in, ATTACH is next; client: logged in, sends ATTACH
    ATTACH_DECIDING = "attach-deciding"  # server: we owe ATTACHED
    ATTACHING = "attaching"  # client: ATTACHED is next
    ATTACHED = "attached"
    CLOSED = "closed"


class Party(Enum):
    """Who acts in a row of the table."""

    CLIENT = "client"
    SERVER = "server"


# What arrives. GOODBYE is taken in every stage but CLOSED and leads there.
RECEIVING: dict[tuple[Party, Stage, FrameType], Stage] = {
    (Party.SERVER, Stage.HELLO, FrameType.HELLO): Stage.AUTH,
    (Party.SERVER, Stage.AUTH, FrameType.AUTH): Stage.AUTH_DECIDING,
    (Party.SERVER, Stage.ATTACH, FrameType.ATTACH): Stage.ATTACH_DECIDING,
    (Party.CLIENT, Stage.HELLO, FrameType.HELLO): Stage.AUTH,
    (Party.CLIENT, Stage.AUTH, FrameType.AUTH): Stage.AUTH_DECIDING,
    (Party.CLIENT, Stage.ATTACHING, FrameType.ATTACHED): Stage.ATTACHED,
}

# What our own side decides.
ACTING: dict[tuple[Party, Stage, str], Stage] = {
    (Party.SERVER, Stage.AUTH_DECIDING, "challenge"): Stage.AUTH,
    (Party.SERVER, Stage.AUTH_DECIDING, "accept"): Stage.ATTACH,
    (Party.SERVER, Stage.ATTACH_DECIDING, "accept-attach"): Stage.ATTACHED,
    (Party.CLIENT, Stage.AUTH, "authenticate"): Stage.AUTH,
    (Party.CLIENT, Stage.AUTH_DECIDING, "authenticate"): Stage.AUTH,
    (Party.CLIENT, Stage.AUTH_DECIDING, "accept"): Stage.ATTACH,
    (Party.CLIENT, Stage.ATTACH, "attach"): Stage.ATTACHING,
}

_AFTER_LOGIN = (FrameType.PING, FrameType.PONG, FrameType.ACK)


class Handshake:
    """One end's place in the table."""

    __slots__ = ("party", "stage")

    def __init__(self, party: Party) -> None:
        self.party = party
        self.stage = Stage.HELLO

    @property
    def is_attached(self) -> bool:
        """Whether the link carries a session."""
        return self.stage is Stage.ATTACHED

    def receive(self, number: int) -> None:
        """Move for an arrived frame, or raise RemoteProtocolError where the table has no row."""
        frame_type = KNOWN_TYPES.get(number)
        if frame_type is FrameType.GOODBYE:
            self.stage = Stage.CLOSED
            return
        if self.stage is Stage.ATTACHED and (frame_type in _AFTER_LOGIN or number >= 16):
            return
        after = RECEIVING.get((self.party, self.stage, frame_type)) if frame_type else None
        if after is None:
            name = frame_type.name if frame_type else f"a frame of type {number}"
            raise RemoteProtocolError(f"{name} in the stage {self.stage.value!r}")
        self.stage = after

    def act(self, action: str) -> None:
        """Move for a decision of our own, or raise LocalProtocolError."""
        after = ACTING.get((self.party, self.stage, action))
        if after is None:
            raise LocalProtocolError(f"{action!r} in the stage {self.stage.value!r}")
        self.stage = after
