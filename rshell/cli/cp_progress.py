"""What `rshell-cp` says while it works: lines for people, or objects for programs.

On a terminal the last line of stderr is drawn anew ten times a second, and each large file leaves
a line of its own behind. Anywhere else there is no line but those that were asked for and errors.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from typing import Protocol

from rshell.channels.files.progress import LARGE, FileEvent, TransferTotals
from rshell.cli.cp_options import CopyOptions
from rshell.cli.report import format_seconds
from rshell.terminal.output import printable
from rshell.terminal.pty import is_terminal

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_SMOOTHED = 0.3  # of the newest rate
_WORDS = {
    "sent": "",
    "made": "",
    "would-send": "would send ",
    "deleted": "removed ",
    "special": "is no file, directory or link, and is left: ",
}


def format_size(size: float) -> str:
    """Return a number of bytes as people read it."""
    unit = 0
    while size >= 1000 and unit + 1 < len(_UNITS):
        size /= 1024
        unit += 1
    return (
        f"{size:.0f} {_UNITS[unit]}" if unit == 0 or size >= 100 else f"{size:.1f} {_UNITS[unit]}"
    )


class Sayer(Protocol):
    """Where lines are written."""

    def say(self, line: bytes) -> None:
        """Write a line, or a piece of one."""


class CopyProgress:
    """Tells of one transfer after the other, in the name of a command; `clock` is in seconds.

    `columns` is the width of the terminal on which the last line is drawn, 0 where there is none.
    """

    def __init__(
        self,
        options: CopyOptions,
        stdout: Sayer,
        stderr: Sayer,
        clock: Callable[[], float] = time.monotonic,
        *,
        columns: int = 0,
        name: str = "rshell-cp",
    ) -> None:
        self._options = options
        self._stdout = stdout
        self._stderr = stderr
        self._clock = clock
        self._name = name
        self._columns = columns
        self._draws = columns > 0 and not options.quiet and not options.json
        self._is_drawn = False
        self._began = clock()
        self._seen = (self._began, 0)
        self._rate = 0.0
        self.totals = TransferTotals()

    @property
    def told_from(self) -> int:
        """From which size on a file that went well is told of; of smaller ones nothing is said."""
        options = self._options
        return 0 if options.json or options.verbose or options.transfer.dry_run else LARGE

    # While files travel.

    def look(self, totals: TransferTotals) -> None:
        """Draw the line anew."""
        self.totals = totals
        now, (before, moved) = self._clock(), self._seen
        if now - before >= 0.05:
            newest = (totals.bytes + totals.at - moved) / (now - before)
            self._rate += (newest - self._rate) * (_SMOOTHED if self._rate else 1)
            self._seen = now, totals.bytes + totals.at
        if self._draws:
            self._draw(self.line())

    def line(self) -> str:
        """Return where things stand."""
        totals = self.totals
        done = totals.bytes + totals.at
        parts = [count_files(totals.files), format_size(done), f"{format_size(self._rate)}/s"]
        if totals.size >= LARGE:
            percent = 100 * totals.at // totals.size
            left = (totals.size - totals.at) / self._rate if self._rate else 0.0
            name = printable(totals.path.rpartition("/")[2])
            parts += [f"{name} {percent} %", f"{format_seconds(left)} left"]
        return ", ".join(parts)

    def tell(self, event: FileEvent) -> None:
        """Tell what befell a file, as far as that was asked for."""
        if self._options.json:
            self._print_object(_as_object(event))
        elif event.error is not None:
            self.complain(f"{printable(event.path)}: {event.error.strerror}")
        elif event.what == "sent" and event.size >= LARGE and self._draws:
            self._keep(f"{printable(event.path)}  {format_size(event.size)}")
        elif event.what == "special":
            self.complain(f"{_WORDS['special']}{printable(event.path)}")
        elif event.what in _WORDS and (self._options.verbose or self._options.transfer.dry_run):
            word = _WORDS[event.what]
            if event.what == "deleted" and self._options.transfer.dry_run:
                word = "would remove "
            self._erase()
            self._stdout.say(f"{word}{printable(event.path)}\n".encode(errors="backslashreplace"))

    def complain(self, text: str) -> None:
        """Say a line on stderr."""
        self._keep(f"{self._name}: {text}")

    def announce(self, text: str) -> None:
        """Print what is going to be done, for --dry-run."""
        if self._options.transfer.dry_run and not self._options.json:
            self._stdout.say(f"{printable(text)}\n".encode(errors="backslashreplace"))

    # At the end.

    def finish(self, totals: TransferTotals) -> None:
        """Tell what it amounts to."""
        self._erase()
        took = max(self._clock() - self._began, 1e-6)
        if self._options.json:
            self._print_object(
                {
                    "event": "done",
                    "files": totals.files,
                    "bytes": totals.bytes,
                    "moved": totals.moved,
                    "made": totals.made,
                    "skipped": totals.skipped,
                    "deleted": totals.deleted,
                    "failed": totals.failed,
                    "duration": round(took, 6),
                }
            )
        elif self._draws or self._options.verbose:
            self._keep(summary(totals, took))

    def _print_object(self, values: dict[str, object]) -> None:
        self._stdout.say(json.dumps(values).encode("ascii") + b"\n")

    def _draw(self, text: str) -> None:
        cut = text[: self._columns - 1]
        self._stderr.say(f"\r\x1b[K{cut}".encode(errors="backslashreplace"))
        self._is_drawn = True

    def _keep(self, text: str) -> None:
        self._erase()
        self._stderr.say(f"{text}\n".encode(errors="backslashreplace"))

    def _erase(self) -> None:
        if self._is_drawn:
            self._stderr.say(b"\r\x1b[K")
            self._is_drawn = False


def count_files(count: int) -> str:
    """Return how many files these are, for people."""
    return "1 file" if count == 1 else f"{count} files"


def summary(totals: TransferTotals, took: float) -> str:
    """Return one line that says what was done in `took` seconds."""
    parts = [f"{count_files(totals.files)} of {format_size(totals.bytes)}"]
    if totals.moved < totals.bytes:
        parts.append(f"{format_size(totals.moved)} had to travel")
    for count, word in (
        (totals.made, "directories and links made"),
        (totals.skipped, "left as they are"),
        (totals.deleted, "removed"),
        (totals.failed, "failed"),
    ):
        if count:
            parts.append(f"{count} {word}")
    rate = format_size(totals.bytes / took)
    return f"{', '.join(parts)}; {format_seconds(took)}, {rate}/s"


def _as_object(event: FileEvent) -> dict[str, object]:
    values: dict[str, object] = {"event": event.what, "path": event.path, "size": event.size}
    if event.why:
        values["why"] = event.why
    if event.error is not None:
        values["error"] = event.error.strerror
        values["errno"] = event.error.errno
    return values


def terminal_columns() -> int:
    """Return the width of the terminal that stderr is, 0 where it is none."""
    if not is_terminal(2):
        return 0
    try:
        return max(os.get_terminal_size(2).columns, 20)
    except OSError:
        return 80
