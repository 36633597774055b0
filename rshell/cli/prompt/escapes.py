"""`~.`, `~d` and `~?` typed at the start of a line while a program runs. Pure.

Strategy: the tilde is held back until the next key says whether it begins an escape. Only these
two keys count, one by one or, where the way from the keyboard is slow, both in one read. A read
that brings anything else with them is a paste or a program's answer, and passes as it is. `~d`
is one in a named shell alone: elsewhere there is nothing that could go on.
"""

from __future__ import annotations

from enum import Enum

_HELP = {
    b".": "leave this session at once",
    b"d": "detach: leave, and this shell goes on",
    b"?": "this list",
    b"~": "send one ~",
}


class Escape(Enum):
    """What an escape asks for."""

    LEAVE = "leave"
    DETACH = "detach"
    HELP = "help"


_ESCAPES = {b".": Escape.LEAVE, b"?": Escape.HELP, b"d": Escape.DETACH}


class EscapeFilter:
    """Takes keys as they are read and gives those that are for the program.

    With `detaches`, `~d` is an escape, too. `help` is what `~?` shows.
    """

    def __init__(self, *, detaches: bool = False) -> None:
        self._escapes = {
            key: escape
            for key, escape in _ESCAPES.items()
            if detaches or escape is not Escape.DETACH
        }
        self._at_line_start = True
        self._holds_tilde = False

    @property
    def help(self) -> bytes:
        """The list of the escapes that there are, for a terminal in raw mode."""
        lines = ["", "Escapes, at the start of a line:"]
        known = {*self._escapes, b"~"}
        lines += [f"  ~{key.decode()}  {text}" for key, text in _HELP.items() if key in known]
        return "".join(f"{line}\r\n" for line in lines).encode()

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
