"""What the tests of named shells share: a server, clients, and channels at its shells."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import rshell
from rshell.aio import timeout
from rshell.channels.process.messages import Terminal
from rshell.channels.shell.messages import Joined, ShellEnding, ShellRequest
from rshell.client.client import Client
from rshell.protocol.codec import Json
from rshell.security.files import private_directory, server_directory
from rshell.server.server import Server
from rshell.transport.channel import Channel
from rshell.transport.streams import ByteReader
from rshell.values import Bounds, TerminalSize
from tests.support.session import DEADLINE

SIZE = TerminalSize(80, 24)
# So that the end of a link is the end of its client, and the server hears of it at once.
MORTAL = Bounds(resume_window=0)
BRIEF = Bounds(kill_grace=0.5)


class Guest:
    """A channel at a named shell. `joined` is what the server said on the way in."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.joined = Joined.decode(channel.reply)
        self.seen = b""
        self._number = self.joined.number
        self.output: ByteReader = channel.stream(1)  # what the terminal shows

    def say(self, kind: str, **values: Any) -> None:
        """Send a message."""
        self.channel.send_message({"type": kind} | values)

    def begin(self, command: str) -> None:
        """Have a command run."""
        self._number += 1
        self.say("run", number=self._number, command=command)

    async def run(self, command: str) -> ShellEnding:
        """Run a command to its end."""
        self.begin(command)
        return await self.done()

    async def message(self, kind: str) -> Json:
        """Return the next message that is not of the prompt; it is of this kind."""
        message = await self.channel.receive_message()
        while message is not None and message["type"] == "prompt":
            message = await self.channel.receive_message()
        assert message is not None and message["type"] == kind, message
        return message

    async def done(self) -> ShellEnding:
        """Return the ending, which is the next message."""
        return ShellEnding.decode(await self.message("done"))

    async def see(self, wanted: bytes) -> bytes:
        """Read until the output seen so far ends so; return what was not returned before."""
        self.seen = b""
        while not self.seen.endswith(wanted):
            block = await self.output.read(1024)
            assert block, f"{wanted!r} never came, but {self.seen[-1000:]!r}"
            self.seen += block
        return self.seen


async def join(
    client: Client, name: str = "work", *, terminal: TerminalSize = SIZE, **request: Any
) -> Guest:
    """Attach to a named shell, or make it, which may be starting then."""
    asked = ShellRequest(name=name, terminal=Terminal(terminal), **request)
    return Guest(await client.open_channel("shell", asked.encode()))


async def attach(
    client: Client, name: str = "work", *, terminal: TerminalSize = SIZE, **request: Any
) -> Guest:
    """Attach to a named shell, or make it, and wait until it is at its prompt."""
    guest = await join(client, name, terminal=terminal, **request)
    if guest.channel.reply.get("starting"):
        assert (await guest.done()).number == 0
    return guest


async def watch(client: Client, name: str = "work") -> Guest:
    """Watch a named shell."""
    return await attach(client, name, share=True)


def die(client: Client) -> None:
    """Have a client that is MORTAL end without a word."""
    client.links.link.driver.abort()


@asynccontextmanager
async def inn(limits: Bounds | None = None) -> AsyncIterator[Server]:
    """Serve on a Unix socket, within a deadline."""
    path = private_directory(server_directory()) / "socket"
    async with (
        timeout(DEADLINE),
        rshell.serve(None, unix=path, limits=limits or BRIEF) as server,
    ):
        yield server


@asynccontextmanager
async def guest(server: Server, limits: Bounds | None = None) -> AsyncIterator[Client]:
    """Connect a client."""
    async with rshell.connect(server.addresses[0], limits=limits) as client:
        yield client


async def listed(client: Client) -> list[Json]:
    """Return what the server says of the named shells."""
    channel = await client.open_channel("sessions", {"verb": "list"})
    messages = []
    while (message := await channel.receive_message()) is not None:
        messages.append(message)
    assert messages.pop() == {"type": "end", "sessions": len(messages)}
    return messages


async def until_listed(client: Client, **wanted: Any) -> Json:
    """Wait until the server's only named shell is so; None stands for a key that is absent."""
    while True:
        shells = await listed(client)
        assert len(shells) == 1
        if all(shells[0].get(key) == value for key, value in wanted.items()):
            return shells[0]


async def until_none(client: Client) -> None:
    """Wait until there is no named shell."""
    while await listed(client):
        pass
