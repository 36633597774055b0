"""What the prompt and the toolbar say: where we are, and how the last command ended.

Hazard: what they show came from the other side or from the user. Every piece of text passes
`printable` before it reaches the terminal, and is cut where it would fill the screen.
"""

from __future__ import annotations

from dataclasses import dataclass

from rshell.channels.shell.messages import ShellEnding
from rshell.cli.report import format_seconds
from rshell.terminal.output import printable

_NAME, _PATH = 64, 256  # characters of a name and a directory
_SHORTEST = 12  # characters of a directory in the smallest window

Fragments = list[tuple[str, str]]


@dataclass
class Status:
    """What is known between two commands."""

    user: str = ""
    host: str = ""
    home: str = ""
    cwd: str = ""
    where: str = ""
    named: str = ""  # the name of a named shell
    last: ShellEnding | None = None
    round_trip: float | None = None
    cut_for: float | None = None  # seconds since the link was lost, None while it is there

    def prompt(self, columns: int = 80) -> Fragments:
        """Return `user@host:cwd $`, the last sign red after a failure.

        The directory takes no more than half of a window that has `columns`.
        """
        failed = self.last is not None and self.last.status.shell_status != 0
        sign = "#" if self.user == "root" else "$"
        user, host = printable(self.user, limit=_NAME), printable(self.host, limit=_NAME)
        return [
            ("class:who", f"{user}@{host}"),
            ("", ":"),
            ("class:cwd", fitted(printable(self.short_cwd(), limit=_PATH), columns // 2)),
            ("", " "),
            ("class:failed" if failed else "class:sign", sign),
            ("", " "),
        ]

    def short_cwd(self) -> str:
        """Return the directory with the home directory as `~`."""
        if self.home and self.home != "/":
            if self.cwd == self.home:
                return "~"
            if self.cwd.startswith(self.home + "/"):
                return "~" + self.cwd[len(self.home) :]
        return self.cwd

    def toolbar(self) -> Fragments:
        """Return where we are, how the last command ended, and the round trip."""
        parts = [("class:bottom-toolbar.text", f" {printable(self.where)} ")]
        if self.named:
            parts.append(("class:bottom-toolbar.text", f" shell {printable(self.named)} "))
        if self.cut_for is not None:
            waited = format_seconds(float(int(self.cut_for)) or 1.0)
            parts.append(("class:failed", f" link cut {waited} ago, trying to come back "))
        if self.last is not None:
            status = self.last.status
            ending = status.signal or str(status.code)
            style = "" if status.shell_status == 0 else "class:failed"
            parts.append((style, f" status {printable(ending)} "))
            parts.append(("", f" {format_seconds(self.last.duration)} "))
        if self.round_trip is not None:
            parts.append(("", f" round trip {format_seconds(self.round_trip)} "))
        return parts


def fitted(path: str, room: int) -> str:
    """Return a path in about `room` characters, by its last parts."""
    room = max(room, _SHORTEST)
    if len(path) <= room:
        return path
    first, *parts = path.split("/")
    while parts and len(".../" + "/".join(parts)) > room:
        first, *parts = parts
    return ".../" + "/".join(parts) if parts else "..." + first[3 - room :]
