"""The client's side of transfers: whole trees to the server, or from there."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Optional

from rshell.aio import accompanied
from rshell.channels.base import ask, read_reply
from rshell.channels.files.attributes import ARE_SUPPORTED, UNSUPPORTED
from rshell.channels.files.disk import current_umask
from rshell.channels.files.lines import Peer, converse
from rshell.channels.files.messages import FilesReply, FilesRequest, TransferOptions
from rshell.channels.files.progress import FileEvent, TransferTotals
from rshell.channels.files.reading import Pin
from rshell.channels.files.receiver import RECEIVER_HEARS, Receiver
from rshell.channels.files.sender import SENDER_HEARS, Sender
from rshell.errors import (
    ChannelRefused,
    ConfigurationError,
    RemoteProtocolError,
    TransferFailed,
)
from rshell.transport.channel import Channel
from rshell.transport.live_session import LiveSession
from rshell.values import frozen

_PROGRESS_SECONDS = 0.1
_TOLD_SECONDS = 0.02

Progress = Callable[[TransferTotals], object]
OnEvent = Callable[[FileEvent], object]


@frozen
class Told:
    """Who is told of a transfer: `progress` ten times a second, `on_event` of each event.

    Of what went well, those of files of `told_from` bytes or more only.
    """

    progress: Optional[Progress] = None
    on_event: Optional[OnEvent] = None
    told_from: int = 0


NOBODY = Told()


async def put_files(
    live: LiveSession,
    sources: Sequence[str],
    target: str,
    options: TransferOptions,
    told: Told = NOBODY,
    pinned: Optional[Mapping[str, Pin]] = None,
) -> TransferTotals:
    """Send local files to the server. Raises as `Client.put` says; `pinned` is a Sender's."""

    def work(totals: TransferTotals, peer: Peer) -> None:
        Sender(peer, sources, options, totals, pinned=pinned).run()

    request = FilesRequest("put", (target,), options)
    return await _transfer(live, request, work, SENDER_HEARS, told)


async def get_files(
    live: LiveSession,
    sources: Sequence[str],
    target: str,
    options: TransferOptions,
    told: Told = NOBODY,
    agreed: Optional[Mapping[bytes, bytes]] = None,
) -> TransferTotals:
    """Fetch files from the server. Raises as `Client.get` says; `agreed` is a Receiver's."""
    umask = current_umask()

    def work(totals: TransferTotals, peer: Peer) -> None:
        Receiver(peer, target, options, totals, umask=umask, agreed=agreed).run()

    request = FilesRequest("get", tuple(sources), options)
    return await _transfer(live, request, work, RECEIVER_HEARS, told)


async def _transfer(
    live: LiveSession,
    request: FilesRequest,
    work: Callable[[TransferTotals, Peer], None],
    hears: tuple[int, ...],
    told: Told,
) -> TransferTotals:
    events = _Events(told.on_event) if told.on_event is not None else None
    totals = TransferTotals(None if events is None else events.tell, told.told_from)
    if request.options.attributes and not ARE_SUPPORTED:
        raise ConfigurationError(UNSUPPORTED)
    channel = await ask_for_files(live, request)
    doing = converse(channel, partial(work, totals), hears, live.session.limits)
    try:
        await see_through([channel], doing, totals, told.progress)
    finally:
        if events is not None:
            events.hand_out()
    raise_failures(totals)
    return totals


async def ask_for_files(live: LiveSession, request: FilesRequest) -> Channel:
    """Open a channel for a transfer. Raises as `ask`, also where options are not understood."""
    channel = await ask(live, "files", request)
    if request.options.attributes and not read_reply(channel, FilesReply).attributes:
        channel.reset("cancelled", "the server keeps no attributes")
        raise ChannelRefused(
            "failed",
            "the server is older, and can't send or keep owners and attributes. Update rshell "
            "there, or leave out -X",
        )
    return channel


class _Events:
    """Hands events from the thread to the loop, many at once: waking it costs more than they do."""

    def __init__(self, on_event: OnEvent) -> None:
        self._on_event = on_event
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[FileEvent] = deque()
        self._is_due = False

    def tell(self, event: FileEvent) -> None:
        """Have an event told soon; called by the thread."""
        self._waiting.append(event)
        if not self._is_due:
            self._is_due = True
            self._loop.call_soon_threadsafe(self._loop.call_later, _TOLD_SECONDS, self.hand_out)

    def hand_out(self) -> None:
        """Tell what waits."""
        self._is_due = False
        while self._waiting:
            self._on_event(self._waiting.popleft())


async def see_through(
    channels: Sequence[Channel],
    doing: Awaitable[object],
    totals: TransferTotals,
    progress: Optional[Progress],
) -> None:
    """Wait until a transfer is done, and close its channels; reset them where it fails."""
    try:
        await accompany(doing, totals, progress)
    except BaseException as error:
        is_theirs = isinstance(error, RemoteProtocolError)
        for channel in channels:
            if is_theirs:
                channel.reset("bad-message", str(error))
            else:
                channel.reset("cancelled", "the client gave up")
        raise
    for channel in channels:
        channel.close()


async def accompany(
    doing: Awaitable[object], totals: TransferTotals, progress: Optional[Progress]
) -> None:
    """Wait for a transfer; call `progress` ten times a second meanwhile, and at the end."""
    if progress is None:
        await doing
    else:
        await accompanied(doing, _report(progress, totals))
        progress(totals)


async def _report(progress: Progress, totals: TransferTotals) -> None:
    while True:
        progress(totals)
        await asyncio.sleep(_PROGRESS_SECONDS)


def raise_failures(totals: TransferTotals) -> None:
    """Raise the one failure of a transfer that did nothing else, or TransferFailed for some."""
    if not totals.failed:
        return
    first = totals.failures[0]
    if totals.failed == 1 and not (totals.files or totals.made or totals.skipped):
        raise first
    more = f", and {totals.failed - 1} more" if totals.failed > 1 else ""
    raise TransferFailed(
        f"{totals.failed} of the files failed: {first.filename}: {first.strerror}{more}",
        failures=totals.failures,
        totals=totals,
    )


def as_paths(paths: object) -> tuple[str, ...]:
    """Return one path or several as text. Raises TypeError for none, ValueError without any."""
    several = [paths] if isinstance(paths, (str, bytes, os.PathLike)) else list(paths)  # type: ignore[call-overload]
    if not several:
        raise ValueError("no path is given")
    return tuple(os.fsdecode(path) for path in several)
