"""The client's side of named shells: which there are, ending one, and watching one.

A watcher is told what the terminal shows and what happens there, in order, while the channel hands
out its stream and its messages separately. Each message is noted with the number of bytes that had
arrived before it, and is given out when they have been.

Hazard: reading grants credit, and must stop when the owner stops: a watcher that is too slow is
told so by the server (`Skipped`), rather than filling memory here.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Union

from rshell.channels.base import ask, listen, read_reply, receive_answer, receive_list
from rshell.channels.process.messages import STDOUT
from rshell.channels.shell.messages import (
    CommandBegun,
    Joined,
    NamedShellInfo,
    NamedShellsEnd,
    NamedShellsRequest,
    Resized,
    ShellEnding,
    ShellRequest,
    Skipped,
)
from rshell.errors import RemoteProtocolError, RshellError
from rshell.protocol.codec import Message
from rshell.transport.channel import Channel
from rshell.transport.live_session import LiveSession
from rshell.values import TerminalSize


async def list_named_shells(live: LiveSession) -> list[NamedShellInfo]:
    """Return our named shells on the server, the oldest first. Safe to cancel."""
    channel = await ask(live, "sessions", NamedShellsRequest("list"))
    return await receive_list(channel, NamedShellInfo, NamedShellsEnd)


async def end_named_shell(live: LiveSession, name: str) -> NamedShellInfo:
    """End a named shell and return it as it stood before. Cancelling does not save it."""
    channel = await ask(live, "sessions", NamedShellsRequest("end", name))
    return await receive_answer(channel, NamedShellInfo)


_EVENTS = 10_000  # that wait for a reader who does not read

WatchEvent = Union[bytes, CommandBegun, ShellEnding, TerminalSize, Skipped]


class ShellWatch:
    """A named shell as it goes on: `async for event in watch`.

    An event is a block of what the terminal shows, a `CommandBegun`, the `ShellEnding` that ends
    it, the terminal's new `TerminalSize`, or `Skipped`. `found` is the shell as it was at the
    beginning. The iteration ends when the shell leaves. Raises ChannelReset, with the
    code "killed" where somebody ended the shell, and what cuts the session short.
    One task may step; cancelling a step loses nothing. Leaving its block stops watching.
    """

    found: Joined

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._reader = channel.stream(STDOUT)
        self._told: deque[tuple[int, WatchEvent]] = deque()  # with the bytes before each
        self._given = 0
        self._block = b""
        self._reading: asyncio.Task[bytes] | None = None
        self._heard = asyncio.Event()
        self._is_over = False
        self._error: RshellError | None = None
        listen(channel, self._hear, ShellEnding, CommandBegun, Resized, Skipped)

    async def __aenter__(self) -> ShellWatch:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        self._channel.close()

    def __aiter__(self) -> ShellWatch:
        return self

    async def __anext__(self) -> WatchEvent:
        while True:
            if self._told and self._told[0][0] <= self._given:
                return self._told.popleft()[1]
            if self._block:
                size = self._told[0][0] - self._given if self._told else len(self._block)
                block, self._block = self._block[:size], self._block[size:]
                self._given += len(block)
                return block
            if self._is_over:
                raise self._error or StopAsyncIteration
            await self._read_or_hear()

    async def _read_or_hear(self) -> None:
        """Wait for the next block, a message, or the end."""
        if self._reading is None:
            self._reading = asyncio.create_task(self._reader.read_block())
        self._heard.clear()
        hearing = asyncio.create_task(self._heard.wait())
        try:
            await asyncio.wait((self._reading, hearing), return_when=asyncio.FIRST_COMPLETED)
        finally:
            hearing.cancel()
        if self._reading.done():
            reading, self._reading = self._reading, None
            try:
                self._block = reading.result()
            except RshellError as error:
                self._error = error
            self._is_over = not self._block

    def _hear(self, heard: Message) -> None:
        event = heard.size if isinstance(heard, Resized) else heard
        assert isinstance(event, (ShellEnding, CommandBegun, TerminalSize, Skipped))
        if len(self._told) >= _EVENTS:
            self._channel.reset("overrun", f"{_EVENTS} events wait to be looked at")
        else:
            self._told.append((self._reader.received, event))
            self._heard.set()


async def watch_named_shell(live: LiveSession, request: ShellRequest) -> ShellWatch:
    """Begin to watch; `request` has a name and `share`.

    Raises ChannelRefused, RemoteProtocolError for a server without named shells, and what cuts
    the session short. Cancelling is safe.
    """
    channel = live.open_channel("shell", request.encode())
    watch = ShellWatch(channel)  # now: what is told at once has its place before the output
    await channel.wait_opened()
    watch.found = read_joined(channel)
    return watch


def read_joined(channel: Channel) -> Joined:
    """Return what the reply says of a named shell; a bad one resets the channel and raises."""
    if "attached" not in channel.reply:
        error = RemoteProtocolError("the server knows no named shells")
        channel.reset("bad-message", str(error))
        raise error
    return read_reply(channel, Joined)
