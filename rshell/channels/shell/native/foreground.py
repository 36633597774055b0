"""Who has the terminal of the user's own shell, as far as the kernel tells.

It is looked at a while after output, and sooner where a line editor has begun to read.

Hazards:
- A program may have taken the shell's place (`exec`), which has no hooks and no keys of ours. Where
  the kernel tells what runs there, that is compared before a key is pressed that nobody typed.
- What runs in `$(...)`, or without job control, is in the shell's own group: a key of ours would be
  pressed into it, and an editor may take it for a change of the text. So the shell's editor is only
  seen where nothing is in the group that began behind the last prompt, as far as the kernel tells.
"""

from __future__ import annotations

import asyncio
import enum
import os
import termios
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from rshell.execution.piped_process import PipedProcess

LOOK_SECONDS = 0.002  # between two looks at whether a line editor has left
_SOON, _LATER, _LEAVING = 0.05, 1.0, 0.05  # seconds


class Seen(enum.Enum):
    """What has the terminal."""

    EDITOR = "editor"  # the shell's own line editor
    OTHER = "other"  # a program that has taken the shell's place


class Foreground:
    """Looks at the terminal of the shell `name`, and calls `on_seen` where there is something."""

    def __init__(self, piped: PipedProcess, name: str, on_seen: Callable[[Seen], None]) -> None:
        self._piped = piped
        self._name = os.fsencode(name)
        self._is_fish = name == "fish"
        self._on_seen = on_seen
        self._timer: asyncio.TimerHandle | None = None
        self._sees_editor = False
        self._known = b""  # what runs while the shell itself does
        self._idle_children: set[str] = set()
        self._seconds = 0.0  # that were waited for the look
        self._leaves_by = 0.0  # by the loop's clock

    def know(self) -> None:
        """What runs now is the shell, at its prompt: no child of it reads the terminal."""
        self._idle_children = self._children()
        self._sees_editor = False
        self.cancel()
        self._known = self._known or self._what_runs()

    def begin_leaving(self) -> None:
        """The shell's line editor has ended its echo."""
        # An interrupted hook of fish's prompt keeps its editor from saying so, and from a report.
        # All that reads key by key in fish knows our keys; other shells may ask for a single one.
        self._sees_editor = self._is_fish
        self._leaves_by = asyncio.get_running_loop().time() + _LEAVING

    def know_unanswered(self) -> None:
        """The shell has not heard the probe: its editor may have begun, or dropped keys, since.

        fish says nothing more then, and may be asked again and again: see `begin_leaving`.
        """
        if self._is_fish:
            self.look_soon(True, is_known=True)

    @property
    def is_leaving(self) -> bool:
        """Whether it has yet to give the terminal its modes back, a moment after its echo.

        Keys would not be echoed meanwhile, nor would Enter end a line. The user may have the
        terminal raw for commands as well: it does not take longer than a moment.
        """
        is_recent = asyncio.get_running_loop().time() < self._leaves_by
        return is_recent and is_raw(self._piped.terminal)

    def look_soon(self, sees_editor: bool, *, is_known: bool) -> None:
        """Look in a while, and sooner at a line editor that begins once the shell `is_known`."""
        if sees_editor or self._seconds > _LATER:
            self.cancel()
        if self._timer is None:
            self._sees_editor = sees_editor or self._sees_editor
            self._look_in(_SOON if sees_editor and is_known else _LATER)

    def _look_in(self, seconds: float) -> None:
        self._seconds = seconds
        self._timer = asyncio.get_running_loop().call_later(seconds, self._look)

    def cancel(self) -> None:
        """Look no more, until asked again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        master = self._piped.terminal
        if master < 0:
            return
        program = self._what_runs()
        name = program.partition(b"\0")[0].rpartition(b"/")[2].lstrip(b"-")
        is_other = program != self._known if self._known else name != self._name
        if program and is_other:
            self._on_seen(Seen.OTHER)
            return
        is_seen = self._sees_editor and self.is_editor()
        self._sees_editor = self._sees_editor and not is_seen and self._is_fish
        if is_seen:
            self._on_seen(Seen.EDITOR)
        elif self._sees_editor:
            self._look_in(2 * self._seconds)  # nothing may be printed any more

    def is_editor(self) -> bool:
        """Whether the shell itself reads the terminal key by key now."""
        master = self._piped.terminal
        if self._known and self._what_runs() != self._known:
            return False
        try:
            is_shell = os.tcgetpgrp(master) == self._piped.process.pid
            return is_shell and is_raw(master) and not self._has_company()
        except OSError:
            return False  # the terminal has gone

    def _has_company(self) -> bool:
        """Whether a child of the shell's command is in the shell's group."""
        pid = self._piped.process.pid
        for child in self._children() - self._idle_children:
            with suppress(OSError):  # it has ended
                stat = Path(f"/proc/{child}/stat").read_text(errors="replace")
                state, _, group = stat.rpartition(")")[2].split()[:3]
                if int(group) == pid and state != "Z":
                    return True
        return False

    def _children(self) -> set[str]:
        """Return the children of the shell; none where the kernel does not tell."""
        pid = self._piped.process.pid
        try:
            return {*Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
        except OSError:
            return set()

    def _what_runs(self) -> bytes:
        """Return what the kernel says of the program in the shell's process; b"" if it does not."""
        try:
            return Path(f"/proc/{self._piped.process.pid}/cmdline").read_bytes()
        except OSError:
            return b""


def is_raw(terminal: int) -> bool:
    """Whether a terminal hands keys on one by one, as to a line editor; no if it has gone."""
    try:
        return terminal >= 0 and not termios.tcgetattr(terminal)[3] & termios.ICANON
    except termios.error:
        return False
