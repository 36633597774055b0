"""The client's side of listing and ending sessions: answers that are checked."""

from __future__ import annotations

import pytest

from rshell import ChannelRefused, LocalProtocolError, NamedShellInfo, RemoteProtocolError
from rshell.channels.base import Context
from rshell.protocol.messages import Json
from rshell.transport.channel import Channel
from rshell.values import TerminalSize
from tests.support.session import tls_session

SIZE = TerminalSize(columns=80, rows=24)
WORK = NamedShellInfo("work", "me", 1.0, True, 2, "/bin/sh", "/tmp", SIZE, "make")
IDLE = NamedShellInfo("idle", "me", 2.0, False, 0, "/bin/sh", "/", SIZE)


async def serve(channel: Channel, context: Context) -> None:
    """Have the session "work", and one that is not there any more."""
    request = channel.request
    if request == {"verb": "list"}:
        channel.accept()
        for info in (WORK, IDLE):
            channel.send_message(info.encode())
        channel.send_message({"type": "end", "sessions": 2})
    elif request == {"verb": "end", "name": "work"}:
        channel.accept()
        channel.send_message(WORK.encode())
    else:
        channel.refuse("unknown-session", "there is no such session of yours here")


async def test_sessions_are_listed_and_ended() -> None:
    async with tls_session(handlers={"sessions": serve}) as client:
        assert await client.named_shells() == [WORK, IDLE]
        assert await client.end_named_shell("work") == WORK
        with pytest.raises(ChannelRefused, match="no such session") as caught:
            await client.end_named_shell("other")
        assert caught.value.code == "unknown-session"


@pytest.mark.parametrize("name", ["../x", "", "a b", "-x", "a" * 65])
async def test_no_bad_name_leaves_here(name: str) -> None:
    async with tls_session(handlers={}) as client:
        with pytest.raises(LocalProtocolError, match="not a named shell's name"):
            await client.end_named_shell(name)
        with pytest.raises(LocalProtocolError, match="not a named shell's name"):
            client.watch_named_shell(name, SIZE)
        with pytest.raises(LocalProtocolError, match="not a named shell's name"):
            client.open_line(SIZE, term="dumb", name=name)


@pytest.mark.parametrize("message", [{"type": "session"}, WORK.encode() | {"name": "\x1b[2J"}])
async def test_a_session_that_there_can_not_be_is_an_error(message: Json) -> None:
    async def lie(channel: Channel, context: Context) -> None:
        channel.accept()
        channel.send_message(message)
        channel.send_message({"type": "end", "sessions": 1})

    async with tls_session(handlers={"sessions": lie}) as client:
        with pytest.raises(RemoteProtocolError):
            await client.named_shells()
        with pytest.raises(RemoteProtocolError):
            await client.end_named_shell("work")
