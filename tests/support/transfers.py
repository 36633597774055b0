"""Both ends of a transfer in two threads of this process, joined by lines; and trees to send.

`exchange` joins a Sender and a Receiver; `lie` joins one of them to a list of records that a test
made. Nothing here has a port or a process.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rshell.channels.files.lines import Line, Peer, Stopped
from rshell.channels.files.messages import TransferOptions
from rshell.channels.files.progress import FileEvent, TransferTotals
from rshell.channels.files.receiver import RECEIVER_HEARS, Receiver
from rshell.channels.files.records import Payload, Record, RecordDecoder, encode
from rshell.channels.files.sender import SENDER_HEARS, Sender

DEADLINE = 30.0
Tamper = Callable[[Payload], Payload]


class CutLine(Line):
    """A line that passes `left` bytes on, and stops for good behind them."""

    def __init__(self, left: int) -> None:
        super().__init__()
        self._left = left

    def put(self, block: Payload, *, wait: bool = True) -> None:
        """Add what may still pass."""
        if len(block) > self._left:
            if self._left:
                super().put(bytes(memoryview(block)[: self._left]), wait=wait)
            self._left = 0
            self.end()
            raise Stopped
        self._left -= len(block)
        super().put(block, wait=wait)


class PatientLine(Line):
    """A line that gives one block each time that somebody waits for one."""

    def take(self, *, wait: bool) -> Payload | None:
        """Return the next block if somebody waits."""
        return super().take(wait=True) if wait else None


class Exchange:
    """One transfer.

    `sender` and `receiver` hold the totals of both ends, `errors` what they raised, and `events`
    what the receiver told.
    """

    def __init__(
        self,
        sources: Sequence[Path | str],
        target: Path | str,
        *,
        cut: int | None = None,
        room: int = 1024 * 1024,
        umask: int = 0o022,
        pinned: Any = None,  # as a Sender takes it
        **options: bool,
    ) -> None:
        chosen = TransferOptions(**options)
        self.up = Line(room=room) if cut is None else CutLine(cut)
        self.down = Line(room=room)
        self.events: list[FileEvent] = []
        self.sender, self.receiver = TransferTotals(), TransferTotals(self.events.append)
        self.errors: list[BaseException] = []
        names = [str(source) for source in sources]
        sending = Sender(
            Peer(self.down, self.up, *SENDER_HEARS), names, chosen, self.sender, pinned=pinned
        )
        receiving = Receiver(
            Peer(self.up, self.down, *RECEIVER_HEARS),
            str(target),
            chosen,
            self.receiver,
            umask=umask,
        )
        other = threading.Thread(target=self._run, args=(sending.run, self.up), daemon=True)
        other.start()
        self._run(receiving.run, self.down)
        other.join(DEADLINE)
        assert not other.is_alive()

    def _run(self, work: Callable[[], None], line: Line) -> None:
        try:
            work()
        except BaseException as error:  # the test looks at it
            self.errors.append(error)
        if not line.is_ended:
            line.end()

    def check(self) -> Exchange:
        """Fail unless all went well at both ends, and they agree on what was done."""
        assert self.errors == [], self.errors
        for totals in (self.sender, self.receiver):
            assert totals.failures == [], totals.failures
        assert repr(self.sender) == repr(self.receiver), (self.sender, self.receiver)
        return self


def lie(
    hears: tuple[int, ...],
    records: Sequence[tuple[int, int, bytes]],
    work: Callable[[Peer], None],
) -> list[Record]:
    """Run one end against records that were made up; return what it said. Raises as it does."""
    incoming, outgoing = PatientLine(room=2**30), Line(room=2**30)
    for record in records:
        incoming.put(encode(*record))
    incoming.end()
    peer = Peer(incoming, outgoing, *hears)
    try:
        work(peer)
    finally:
        peer.flush()
        decoder = RecordDecoder(*range(128))
        said = []
        while (block := outgoing.take(wait=False)) is not None:
            said += list(decoder.feed(bytes(block)))
    return said


def make_tree(root: Path) -> Path:
    """Make a directory with every kind of name and node that is sent."""
    (root / "sub" / "deep" / "deeper").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "zero").touch()
    for index, size in enumerate((1, 4096, 33_000, 245_760, 245_761, 700_000)):
        (root / "sub" / f"file{index}").write_bytes(bytes([index + 1]) * (size - 1) + b"!")
    for name in (b"\xff\xfe", b"new\nline", b"-rf", b" blank ", b"q'u\"o", "ä☃".encode()):
        (root / "sub" / "deep" / os.fsdecode(name)).write_bytes(name)
    (root / ("n" * 240)).write_text("a long name")
    (root / "dangling").symlink_to("no/where")
    (root / "to sub").symlink_to("sub")
    (root / "absolute").symlink_to("/etc/passwd")
    with (root / "sparse").open("wb") as file:
        file.seek(3_000_000)
        file.write(b"x")
        file.truncate(9_000_000)
    (root / "sub" / "file1").chmod(0o640)
    (root / "sub" / "file2").chmod(0o755)
    os.utime(root / "sub" / "file3", ns=(5, 1_234_567_890_123_456_789))
    os.utime(root / "dangling", ns=(5, 987_654_321), follow_symlinks=False)
    os.utime(root / "sub" / "deep", ns=(5, 1_000_000_007))
    return root


def listing(root: Path) -> dict[str, tuple[object, ...]]:
    """Return all that counts of a tree: kinds, modes, times, contents and targets."""
    found: dict[str, tuple[object, ...]] = {}
    for path in [root, *sorted(root.rglob("*"))]:
        state = path.lstat()
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = ("link", path.readlink(), state.st_mtime_ns)
        elif path.is_dir():
            found[name] = ("directory", state.st_mode, state.st_mtime_ns)
        else:
            found[name] = ("file", state.st_mode, state.st_mtime_ns, path.read_bytes())
    return found
