"""The server's side of a `sessions` channel: one question about the sessions of who asks."""

from __future__ import annotations

from rshell.channels.base import NO_NAMED, Context, NamedSessions
from rshell.channels.sessions.messages import NamedShellsRequest
from rshell.errors import ChannelRefused, RemoteProtocolError
from rshell.transport.channel import Channel


async def serve_sessions(channel: Channel, context: Context) -> None:
    """Answer one request about the named shells of `context.identity`.

    An end that was asked for goes on without its asker.
    """
    try:
        request = NamedShellsRequest.decode(channel.request)
    except RemoteProtocolError as error:
        channel.refuse("bad-request", str(error))
        return
    if context.named is None:
        channel.refuse("failed", NO_NAMED)
        return
    try:
        await _answer(channel, context, context.named, request)
    except ChannelRefused as error:
        channel.refuse(error.code, error.reason)


async def _answer(
    channel: Channel, context: Context, named: NamedSessions, request: NamedShellsRequest
) -> None:
    if request.verb == "list":
        infos = named.list(context.identity)
        channel.accept()
        for info in infos:
            channel.send_message(info.encode())
        channel.send_message({"type": "end", "sessions": len(infos)})
    else:
        assert request.name is not None
        info = await named.end(context.identity, request.name)
        channel.accept()
        channel.send_message(info.encode())
    channel.close()
