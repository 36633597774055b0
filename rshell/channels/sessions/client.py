"""The client's side of a `sessions` channel: which named sessions there are, and ending one."""

from __future__ import annotations

from rshell.channels.answers import receive_answer, receive_list
from rshell.channels.sessions.messages import SessionInfo, SessionsRequest
from rshell.transport.channel import Channel
from rshell.transport.live_session import LiveSession


async def list_sessions(live: LiveSession) -> list[SessionInfo]:
    """Return our named sessions on the server, the oldest first. Safe to cancel."""
    channel = await _ask(live, SessionsRequest("list"))
    return [SessionInfo.decode(message) for message in await receive_list(channel, "sessions")]


async def end_session(live: LiveSession, name: str) -> SessionInfo:
    """End a session and return it as it stood before. Cancelling does not save it."""
    channel = await _ask(live, SessionsRequest("end", name))
    return SessionInfo.decode(await receive_answer(channel))


async def _ask(live: LiveSession, request: SessionsRequest) -> Channel:
    channel = live.open_channel("sessions", request.encode())
    await channel.wait_opened()
    return channel
