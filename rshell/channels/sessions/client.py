"""The client's side of a `sessions` channel: which named shells there are, and ending one."""

from __future__ import annotations

from rshell.channels.answers import receive_answer, receive_list
from rshell.channels.sessions.messages import NamedShellInfo, NamedShellsRequest
from rshell.transport.channel import Channel
from rshell.transport.live_session import LiveSession


async def list_named_shells(live: LiveSession) -> list[NamedShellInfo]:
    """Return our named shells on the server, the oldest first. Safe to cancel."""
    channel = await _ask(live, NamedShellsRequest("list"))
    return [NamedShellInfo.decode(message) for message in await receive_list(channel, "sessions")]


async def end_named_shell(live: LiveSession, name: str) -> NamedShellInfo:
    """End a session and return it as it stood before. Cancelling does not save it."""
    channel = await _ask(live, NamedShellsRequest("end", name))
    return NamedShellInfo.decode(await receive_answer(channel))


async def _ask(live: LiveSession, request: NamedShellsRequest) -> Channel:
    channel = live.open_channel("sessions", request.encode())
    await channel.wait_opened()
    return channel
