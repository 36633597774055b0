"""From one server to another: the client passes the records on, and listens.

The two ends talk as they would with a client, and nothing touches this machine's disk. Where both
are one server, it has them talk to each other (`joined.py`), and tells us. What is heard makes the
totals.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple, Optional

from rshell.aio import all_of
from rshell.channels.files.client import (
    NOBODY,
    Told,
    ask_for_files,
    raise_failures,
    see_through,
)
from rshell.channels.files.joined import JOINED_TOLD
from rshell.channels.files.messages import FilesRequest, FileTrouble, TransferOptions
from rshell.channels.files.progress import TransferTotals, count_answer, count_note
from rshell.channels.files.receiver import RECEIVER_HEARS
from rshell.channels.files.records import (
    DONE,
    ENTRY,
    GONE,
    HOLE,
    LEAVE,
    LENGTH,
    NOTE,
    PART,
    RESULT,
    SAME,
    SKIP,
    Record,
    RecordDecoder,
    decode_entry,
    decode_json,
    unpack,
)
from rshell.channels.files.sender import SENDER_HEARS
from rshell.channels.files.trouble import from_trouble
from rshell.errors import ChannelRefused, FileError, RemoteProtocolError
from rshell.transport.channel import Channel
from rshell.transport.live_session import LiveSession


class _Heard(NamedTuple):
    path: str
    type: bytes
    size: int


async def relay_files(
    source: LiveSession,
    target: LiveSession,
    paths: Sequence[str],
    path: str,
    options: TransferOptions,
    told: Told = NOBODY,
) -> TransferTotals:
    """Have one server send `paths` to another one's `path`, or within itself where both are one.

    Raises as `Client.put` does.
    """
    totals = TransferTotals(told.on_event, told.told_from)
    ear = _Ear(totals, source.session.limits.files_relayed)
    channels = await _open(source, target, paths, path, options)
    if len(channels) == 1:
        doing = all_of(_pass_on(channels[0], None, JOINED_TOLD, ear))
    else:
        doing = all_of(
            _pass_on(channels[0], channels[1], RECEIVER_HEARS, ear),
            _pass_on(channels[1], channels[0], SENDER_HEARS, ear),
        )
    await see_through(channels, doing, totals, told.progress)
    if ear.error is not None:
        raise ear.error
    raise_failures(totals)
    return totals


async def _open(
    source: LiveSession,
    target: LiveSession,
    paths: Sequence[str],
    path: str,
    options: TransferOptions,
) -> list[Channel]:
    """Return the channel of a copy within one server, or those of a sender and a receiver."""
    if source is target:
        try:
            return [await ask_for_files(source, FilesRequest("copy", (*paths, path), options))]
        except ChannelRefused as error:
            if error.code != "bad-request":
                raise
            # An older server knows no such copy: it sends to us, and gets it back.
    sender = await ask_for_files(source, FilesRequest("get", tuple(paths), options))
    try:
        return [sender, await ask_for_files(target, FilesRequest("put", (path,), options))]
    except BaseException:
        sender.reset("cancelled", "the other server takes nothing")
        raise


async def _pass_on(
    here: Channel, there: Optional[Channel], hears: tuple[int, ...], ear: _Ear
) -> None:
    """Hear what one end says, and pass it on to the other one, if that is not where it is."""
    decoder = RecordDecoder(*hears)
    async for block in here.stream(0):
        for record in decoder.feed(block):
            ear.hear(record)
        if there is None:
            continue
        if there.is_over:  # it is done, and was the last to speak
            return
        await there.write(block)
    if not ear.is_done:
        raise RemoteProtocolError("one of the servers stopped in the middle")


class _Ear:
    """Hears both ends, and counts what is done."""

    def __init__(self, totals: TransferTotals, most: int) -> None:
        self._most = most  # entries that are heard of and have no answer
        self.is_done = False
        self.error: Optional[FileError] = None
        self._totals = totals
        self._open: dict[int, _Heard] = {}
        self._directories: dict[int, str] = {0: ""}
        self._current = 0

    def hear(self, record: Record) -> None:
        """Hear what one of the ends says."""
        number, totals = record.number, self._totals
        if record.type == ENTRY:
            entry = decode_entry(number, record.payload)
            directory = self._directories.get(entry.parent, "")
            path = os.path.join(directory, os.fsdecode(entry.name))
            self._open[number] = _Heard(path, entry.type, entry.size)
            if entry.type == b"d":
                self._directories[number] = path
            if len(self._open) + len(self._directories) > self._most:
                raise RemoteProtocolError("more is offered than may wait")
        elif record.type == LEAVE:
            self._directories.pop(number, None)
        elif record.type in (PART, SAME, HOLE):
            if record.type == PART:
                length = len(record.payload)
                totals.moved += length
            else:
                (length,) = unpack(LENGTH, record)
            if number != self._current and number in self._open:
                self._current, heard = number, self._open[number]
                totals.begun(lambda: heard.path, heard.size)
            totals.at += length
        elif record.type == GONE:
            heard_of = self._open.pop(number, None)
            if heard_of is not None:
                trouble = FileTrouble.decode(decode_json(record))
                totals.fail(from_trouble(trouble, heard_of.path))
        elif record.type == NOTE:
            count_note(totals, record)
        elif record.type == DONE:
            self.is_done = True
            if record.payload:
                self.error = from_trouble(FileTrouble.decode(decode_json(record)))
        elif record.type in (SKIP, RESULT):
            answered = self._open.pop(number, None)
            if answered is not None:
                path, kind, size = answered
                count_answer(totals, record, lambda: path, kind, size)
