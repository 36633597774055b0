"""The terminal that a command of ours runs on: descriptors 0 and 1 while something else has them.

`Terminal` is raw for the length of its `async with` block and as it was found after it, on every
way out; it is raw again when we go on after a stop. Keys come through it, with the escapes taken
out; a program's output goes through one writer, which keeps it and what is ours to say in order; a
new size and the signals that end us are told here alone. The one-shot with `-t`, the prompt and
watching share it.

An escape is a tilde at the start of a line and a key. The tilde is held back until the next key
says whether it begins one. Two keys count when they are read one by one or, where the way from the
keyboard is slow, both in one read. A read that brings anything else with them is a paste or a
program's answer, and passes as it is. `~d` is one in a named shell alone: elsewhere there is
nothing that could go on.

What is said of a link that is stuck names the escape. The key after it counts as the first of a
line, whatever was typed before, by the user or by a terminal that answers a program.

Hazard: between two owners of the terminal nobody may read it. Keys typed then wait in the
terminal: nothing is read before `listen` and after `stop`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import termios
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from enum import Enum

from rshell.cli.report import FAILED_STATUS
from rshell.cli.standard import write_all
from rshell.cli.streams import Leaving, Left, OutputDescriptor, on_signals, take_signals_back
from rshell.terminal.output import ModeTracker, printable
from rshell.terminal.pty import get_size, is_in_foreground, make_raw, raw_mode
from rshell.values import TerminalSize

_KEYS = 0
_READ = 4096
_WAITING = 1024 * 1024  # bytes read before they are taken
_NUDGE = 0.1  # seconds with another size

_DUMB = ("dumb", "unknown", "")
_HELP = {
    b".": "leave this session at once",
    b"d": "detach: leave, and this shell goes on",
    b"?": "this list",
    b"~": "send one ~",
}


def is_dumb() -> bool:
    """Whether our terminal says that it knows no escape sequences."""
    return os.environ.get("TERM", "dumb") in _DUMB


def notice(text: str, *, is_faint: bool = False) -> bytes:
    """Return a line that says something of ours; `is_faint` for what may be overlooked."""
    return _line(f"rshell: {printable(text)}", is_faint=is_faint)


def command_line(command: str) -> bytes:
    """Return a line that shows a command of somebody else's."""
    return _line(f"$ {printable(command)}", is_faint=True)


def _line(text: str, *, is_faint: bool) -> bytes:
    if is_faint and not is_dumb():
        text = f"\x1b[2m{text}\x1b[0m"
    return f"{text}\r\n".encode()


class Detached(Left):
    """The user leaves a named shell, which is to go on."""

    def __init__(self) -> None:
        super().__init__(0)


class Terminal(Leaving):
    """The terminal on descriptors 0 and 1; raw, and ours, inside its `async with` block.

    `size` is its present size, and `on_resize` is told each new one. Keys wait in `waiting` until
    somebody takes them, and `on_keys` is called when there are more. With `detaches`, leaving by
    an escape is detaching; else it is leaving with `left_status`. `farewell` is written last, once
    the modes that are on have been undone. `on_return` draws what was on the screen again when we
    go on after a stop; it has the program there do so, if nobody says otherwise.
    """

    def __init__(self, *, detaches: bool = False, left_status: int = FAILED_STATUS) -> None:
        super().__init__()
        self.size = get_size(_KEYS)
        self.output = OutputDescriptor(1)
        self.modes = ModeTracker()
        self.waiting = bytearray()
        self.farewell = b""
        self.on_keys: Callable[[], None] = lambda: None
        self.on_resize: Callable[[TerminalSize], None] = lambda size: None
        self.is_dumb = is_dumb()
        self._detaches = detaches
        self._left_status = left_status
        self._escapes = EscapeFilter(detaches=detaches)
        self._loop = asyncio.get_running_loop()
        self._wants_keys = False
        self._is_listening = False
        self._have_come = asyncio.Event()
        self._nudging: asyncio.TimerHandle | None = None
        self.on_return: Callable[[], None] = self.draw_again

    async def __aexit__(self, *exc_info: object) -> None:
        self.stop()
        if self._nudging is not None:
            self._nudging.cancel()
        try:
            # Not just written: a terminal that takes nothing must not keep us.
            await self.output.finish(self.undo() + self.farewell)
        finally:
            await super().__aexit__(*exc_info)

    def _take(self, taken: ExitStack) -> None:
        super()._take(taken)
        signals = {signal.SIGWINCH: self.check_size, signal.SIGCONT: self._return}
        taken.enter_context(on_signals(signals))
        taken.enter_context(raw_mode(_KEYS))

    # Its size.

    def check_size(self) -> None:
        """Tell `on_resize` if the size has changed."""
        with suppress(OSError, termios.error):  # it has gone; SIGHUP says so
            size = get_size(_KEYS)
            if size != self.size:
                self.size = size
                self.on_resize(size)

    def take_back(self) -> None:
        """Hear of signals again, some of which prompt_toolkit takes with the terminal."""
        take_signals_back()
        self.check_size()

    # After a stop.

    def _return(self) -> None:
        """We were stopped, and the shell that started us had the terminal meanwhile."""
        if not is_in_foreground(_KEYS):
            return  # it has it still; `fg` tells us again
        make_raw(_KEYS)
        if modes := self.modes.restore():
            self.output.say(modes)
        self.check_size()
        self.on_return()

    def draw_again(self) -> None:
        """Have the program there draw again: by another size, for it knows this one."""
        rows = self.size.rows
        self.on_resize(replace(self.size, rows=rows - 1 if rows > 1 else 2))
        if self._nudging is not None:
            self._nudging.cancel()
        self._nudging = self._loop.call_later(_NUDGE, lambda: self.on_resize(self.size))

    # What is written on it.

    async def write(self, block: bytes) -> None:
        """Write what a program prints; waits as the writer does, and raises as it does."""
        self.modes.feed(block)
        await self.output.write(block)

    async def drain(self) -> None:
        """Wait until all is written. Raises as the writer does."""
        await self.output.drain()

    def put(self, data: bytes) -> None:
        """Write something of ours at once, as prompt_toolkit writes: while the writer has nothing.

        Nothing is raised where the terminal has gone: SIGHUP says so.
        """
        with suppress(OSError):
            write_all(1, data)

    def say(self, text: str, *, is_faint: bool = False) -> None:
        """Say something of ours on a line of its own, such as that `~.` leaves: it does, then."""
        self.output.say(self.begin_line() + notice(text, is_faint=is_faint))
        self.expect_escape()

    def expect_escape(self) -> None:
        """Have the next key count as the first of a line, as somebody was told of an escape."""
        self._escapes.begin_line()

    def undo(self) -> bytes:
        """Return what undoes the modes that a program left on."""
        undoing = self.modes.reset()
        return b"" if self.is_dumb else undoing

    def begin_line(self) -> bytes:
        """Return what begins a line of ours, behind one that has no end."""
        mid_line, self.modes.mid_line = self.modes.mid_line, False
        return b"\r\n" if mid_line else b""

    def tidy(self) -> bytes:
        """Return what puts right what a program left, with a mark for a line that has no end."""
        mid_line, undoing = self.modes.mid_line, self.undo()
        if self.is_dumb or not mid_line:
            return undoing + self.begin_line()
        self.modes.mid_line = False
        # At the left edge the blanks fill the line and the mark is wiped out again; elsewhere
        # they wrap, and the prompt starts on the next line.
        mark = "\x1b[2m\u23ce\x1b[0m" if _speaks_utf8() else "%"
        return undoing + (mark + " " * (self.size.columns - 1) + "\r \r").encode()

    # Keys.

    def begin(self) -> None:
        """Read keys for a new owner; what waited is dropped."""
        self._escapes = EscapeFilter(detaches=self._detaches)
        self.waiting.clear()
        self.listen()

    def listen(self) -> None:
        """Read keys as they are typed, as long as not too many wait."""
        self._wants_keys = True
        if not self._is_listening:
            self._is_listening = True
            self._loop.add_reader(_KEYS, self._read)

    def stop(self) -> None:
        """Leave keys in the terminal from now on."""
        self._wants_keys = False
        self._pause()

    def _pause(self) -> None:
        if self._is_listening:
            self._is_listening = False
            self._loop.remove_reader(_KEYS)

    def take(self, size: int | None = None) -> bytes:
        """Take the first `size` bytes that wait, or all."""
        keys = bytes(self.waiting if size is None else self.waiting[:size])
        del self.waiting[: len(keys)]
        if self._wants_keys and len(self.waiting) < _WAITING:
            self.listen()
        return keys

    def take_rest(self) -> bytes:
        """Take all that was read, with a tilde that is held back."""
        return self.take() + self._escapes.release()

    async def read(self) -> bytes:
        """Wait for keys and take them all."""
        while not self.waiting:
            self._have_come.clear()
            await self._have_come.wait()
        return self.take()

    def _read(self) -> None:
        try:
            keys = os.read(_KEYS, _READ)
        except BlockingIOError:
            return
        except OSError:
            keys = b""
        if not keys:  # the terminal has gone
            self.stop()
            self.leave(Left(self._left_status))
            return
        keys, escape = self._escapes.feed(keys)
        if escape is Escape.HELP:
            self.output.say(self._escapes.help)
        elif escape is not None:
            # A shell without a name ends with us, which is not a success.
            self.leave(Detached() if self._detaches else Left(self._left_status))
        if keys:
            self.waiting += keys
            if len(self.waiting) >= _WAITING:
                self._pause()
            self._have_come.set()
            self.on_keys()


def _speaks_utf8() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"


class Escape(Enum):
    """What an escape asks for, with its key."""

    LEAVE = b"."
    DETACH = b"d"
    HELP = b"?"


class EscapeFilter:
    """Takes keys as they are read and gives those that are for the program.

    With `detaches`, `~d` is an escape, too. `help` is what `~?` shows.
    """

    def __init__(self, *, detaches: bool = False) -> None:
        known = [escape for escape in Escape if detaches or escape is not Escape.DETACH]
        self._escapes = {escape.value: escape for escape in known}
        self._at_line_start = True
        self._holds_tilde = False

    @property
    def help(self) -> bytes:
        """The list of the escapes that there are, for a terminal in raw mode."""
        lines = ["", "Escapes, at the start of a line:"]
        known = {*self._escapes, b"~"}
        lines += [f"  ~{key.decode()}  {text}" for key, text in _HELP.items() if key in known]
        return "".join(f"{line}\r\n" for line in lines).encode()

    def begin_line(self) -> None:
        """Take the next key for the first of a line, whatever came before it."""
        self._at_line_start = True

    def feed(self, keys: bytes) -> tuple[bytes, Escape | None]:
        """Return (bytes for the program, the escape that was completed or None)."""
        if self._holds_tilde:
            self._holds_tilde = False
            escape = self._escapes.get(keys)
            if escape is not None:
                self._at_line_start = True
                return b"", escape
            if keys != b"~":
                keys = b"~" + keys
        elif self._at_line_start and keys[:1] == b"~" and len(keys) <= 2:
            self._holds_tilde = True
            return self.feed(keys[1:]) if len(keys) == 2 else (b"", None)
        if keys:
            self._at_line_start = keys.endswith((b"\r", b"\n", b"\x03", b"\x04", b"\x15"))
        return keys, None

    def release(self) -> bytes:
        """Return the tilde that is held back, if there is one: no key followed."""
        held = b"~" if self._holds_tilde else b""
        self._holds_tilde = False
        return held
