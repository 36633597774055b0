"""The server's side of a `files` channel: what is asked for is done in a thread of its own."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial

from rshell.channels.base import Context, answer_request
from rshell.channels.files.attributes import ARE_SUPPORTED, UNSUPPORTED
from rshell.channels.files.calls import CALLS_HEARS, expand, serve_calls
from rshell.channels.files.disk import current_umask
from rshell.channels.files.joined import copy_here
from rshell.channels.files.lines import Peer, converse
from rshell.channels.files.messages import FilesReply, FilesRequest
from rshell.channels.files.progress import TransferTotals
from rshell.channels.files.receiver import RECEIVER_HEARS, Receiver
from rshell.channels.files.sender import SENDER_HEARS, Sender
from rshell.errors import ChannelRefused, FileError, RemoteProtocolError
from rshell.transport.channel import Channel

_AUDITED = 100  # paths of one request


async def serve_files(channel: Channel, context: Context) -> None:
    """Take files, send them, or do operations on single ones, as the channel's request asks."""
    await answer_request(channel, FilesRequest, partial(_serve, channel, context))


async def _serve(channel: Channel, context: Context, request: FilesRequest) -> None:
    work, hears = _WORK[request.verb]
    paths = list(request.paths)
    target = {"target": paths.pop()} if request.verb == "copy" else {}
    context.audit("files", {"verb": request.verb, "paths": paths[:_AUDITED], **target})
    if request.options.attributes and not ARE_SUPPORTED:
        raise ChannelRefused("failed", UNSUPPORTED)
    channel.accept(FilesReply(attributes=request.options.attributes).encode())
    # A stopping server waits for transfers, and for nobody who may have another call some day.
    with context.working(None) if request.verb != "call" else nullcontext():
        try:
            await converse(channel, partial(work, request, context.cwd), hears, context.limits)
        except RemoteProtocolError as error:
            channel.reset("bad-message", str(error))
        except FileError:
            pass  # the client was told


def _receive(request: FilesRequest, cwd: str, peer: Peer) -> None:
    target = expand(request.paths[0], cwd)
    Receiver(peer, target, request.options, TransferTotals(), umask=current_umask()).run()


def _send(request: FilesRequest, cwd: str, peer: Peer) -> None:
    sources = list(_expand_all(request.paths, cwd))
    Sender(peer, sources, request.options, TransferTotals()).run()


def _copy(request: FilesRequest, cwd: str, peer: Peer) -> None:
    sources = list(_expand_all(request.paths[:-1], cwd))
    copy_here(peer, sources, expand(request.paths[-1], cwd), request.options, current_umask())


def _call(request: FilesRequest, cwd: str, peer: Peer) -> None:
    serve_calls(peer, cwd)


# What is done for a verb, and the records that a client may send meanwhile.
_WORK: dict[str, tuple[Callable[[FilesRequest, str, Peer], None], tuple[int, ...]]] = {
    "put": (_receive, RECEIVER_HEARS),
    "get": (_send, SENDER_HEARS),
    "copy": (_copy, ()),
    "call": (_call, CALLS_HEARS),
}


def _expand_all(paths: Sequence[str], cwd: str) -> Iterator[str]:
    """Yield the paths that are meant; a pattern that fits nothing is a name like any other."""
    for path in paths:
        whole = expand(path, cwd)
        found = []
        if glob.has_magic(path) and not os.path.lexists(whole):
            found = sorted(
                glob.glob(os.path.join(glob.escape(cwd), path) if whole != path else path)
            )
        yield from found or [whole]
