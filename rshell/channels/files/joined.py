"""A transfer within one server: both ends in its own process, joined by two lines.

The ends are those of any transfer, and so are all the rules; no byte of a file travels over the
link. The client is told what the two say to each other, as far as it makes the totals.

Hazard: a directory that is copied into itself would never end.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait

from rshell.aio import in_thread
from rshell.channels.files.lines import Line, Peer, Stopped
from rshell.channels.files.messages import TransferOptions
from rshell.channels.files.progress import TransferTotals
from rshell.channels.files.receiver import RECEIVER_HEARS, Receiver
from rshell.channels.files.records import (
    DONE,
    ENTRY,
    GONE,
    HEADER,
    HOLE,
    LEAVE,
    LENGTH,
    NOTE,
    PART,
    RESULT,
    SAME,
    SKIP,
    Payload,
    encode,
)
from rshell.channels.files.rules import is_whole_directory
from rshell.channels.files.sender import SENDER_HEARS, Sender
from rshell.channels.files.trouble import as_trouble, ours
from rshell.errors import FileError, RemoteProtocolError

# What the client hears. A SAME stands for each PART: no bytes had to travel to it.
JOINED_TOLD = (ENTRY, SAME, HOLE, GONE, LEAVE, SKIP, RESULT, DONE, NOTE)


class _TappedLine(Line):
    """A line between the two ends, of whose blocks `tell` is told before the other end is."""

    def __init__(self, tell: Callable[[Payload], None], look: Callable[[], None]) -> None:
        super().__init__()
        self._tell = tell
        self._look_at_client = look

    def look(self) -> None:
        """Raise Stopped where nobody waits for the work any more."""
        super().look()
        self._look_at_client()

    def put(self, block: Payload, *, wait: bool = True) -> None:
        """Add a block of whole records."""
        self._tell(block)
        super().put(block, wait=wait)


class _Teller:
    """Tells the client, from both threads."""

    def __init__(self, client: Peer) -> None:
        self._client = client
        self._lock = threading.Lock()

    def tell(self, block: Payload) -> None:
        """Tell what counts of a block of records."""
        told = []
        at = 0
        while at < len(block):
            record_type, number, length = HEADER.unpack_from(block, at)
            end = at + HEADER.size + length
            if record_type == PART:
                told.append(encode(SAME, number, LENGTH.pack(length)))
            elif record_type in JOINED_TOLD:
                told.append(bytes(memoryview(block)[at:end]))
            at = end
        if told:
            with self._lock:
                self._client.send_raw(b"".join(told))
                self._client.flush()


def copy_here(
    client: Peer, sources: Sequence[str], target: str, options: TransferOptions, umask: int
) -> None:
    """Copy files and trees on this machine, and tell the client.

    Raises FileError where nothing can be put there, which the client was told, and Stopped.
    """
    try:
        if options.recursive:
            _check_apart(sources, target)
    except OSError as error:
        client.send_json(DONE, 0, as_trouble(error, target))
        client.flush()
        raise ours(error, os.fsencode(target)) from error
    teller = _Teller(client)
    limits = client.limits
    up, down = (_TappedLine(teller.tell, client.look) for _ in range(2))
    sender = Sender(
        Peer(down, up, *SENDER_HEARS, limits=limits), sources, options, TransferTotals()
    )
    receiver = Receiver(
        Peer(up, down, *RECEIVER_HEARS, limits=limits),
        target,
        options,
        TransferTotals(),
        umask=umask,
    )
    sending = in_thread(lambda: _run(sender.run, up), "files")
    try:
        try:
            _run(receiver.run, down)
        finally:
            up.stop()
            down.stop()
            wait([sending])
    except RemoteProtocolError:
        _raise_cause(sending)
        raise


def _run(work: Callable[[], None], line: Line) -> None:
    """Do the work of one end, and have the other one know when it is over."""
    try:
        work()
    finally:
        line.end()


def _raise_cause(sending: Future[None]) -> None:
    """Raise what ended the sender, where the receiver only saw that it did."""
    error = sending.exception()
    if error is not None and not isinstance(error, (FileError, RemoteProtocolError, Stopped)):
        raise error


def _check_apart(sources: Sequence[str], target: str) -> None:
    """Raise OSError for a directory that would be copied into itself."""
    for source in sources:
        here = os.path.realpath(source)
        if os.path.islink(source) or not os.path.isdir(here):
            continue
        there = os.path.realpath(target)
        if not is_whole_directory(source):
            there = os.path.join(there, os.path.basename(source))
        if there.startswith(os.path.join(here, "")):
            raise OSError(errno.EINVAL, "a directory can't be copied into itself")
