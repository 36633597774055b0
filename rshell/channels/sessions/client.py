"""The client's side of a `sessions` channel: which named sessions there are, and ending one."""

from __future__ import annotations

from rshell.channels.answers import receive_answer, receive_list
from rshell.channels.sessions.messages import SessionInfo, SessionsRequest
from rshell.transport.carrier import SessionCarrier
from rshell.transport.channel import Channel


async def list_sessions(carrier: SessionCarrier) -> list[SessionInfo]:
    """Return our named sessions on the server, the oldest first. Safe to cancel."""
    channel = await _ask(carrier, SessionsRequest("list"))
    return [SessionInfo.decode(message) for message in await receive_list(channel, "sessions")]


async def end_session(carrier: SessionCarrier, name: str) -> SessionInfo:
    """End a session and return it as it stood before. Cancelling does not save it."""
    channel = await _ask(carrier, SessionsRequest("end", name))
    return SessionInfo.decode(await receive_answer(channel))


async def _ask(carrier: SessionCarrier, request: SessionsRequest) -> Channel:
    channel = carrier.open_channel("sessions", request.encode())
    await channel.wait_opened()
    return channel
