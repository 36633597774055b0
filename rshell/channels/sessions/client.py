"""The client's side of a `sessions` channel: which named sessions there are, and ending one."""

from __future__ import annotations

from rshell.channels.answers import receive_answer, receive_list
from rshell.channels.sessions.messages import SessionInfo, SessionsEnd, SessionsRequest
from rshell.transport.channel import Channel
from rshell.transport.live_session import LiveSession


async def list_sessions(live: LiveSession) -> list[SessionInfo]:
    """Return our named sessions on the server, the oldest first. Safe to cancel."""
    channel = await _ask(live, SessionsRequest("list"))
    return await receive_list(channel, SessionInfo, SessionsEnd)


async def end_session(live: LiveSession, name: str) -> SessionInfo:
    """End a session and return it as it stood before. Cancelling does not save it."""
    channel = await _ask(live, SessionsRequest("end", name))
    return await receive_answer(channel, SessionInfo)


async def _ask(live: LiveSession, request: SessionsRequest) -> Channel:
    channel = live.open_channel("sessions", request.encode())
    await channel.wait_opened()
    return channel
