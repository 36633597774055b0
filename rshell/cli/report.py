"""What the commands say for themselves: one line, one JSON object, or one table.

A script that asks for `--json` gets the same object for every outcome, a refused login, a signal
and an error that nobody foresaw included, and has one thing to read. Output that is not UTF-8 is
given in base64 under another key. What goes wrong between here and there is one line, or that
object, and the status 255.
"""

from __future__ import annotations

import signal
import traceback
from collections.abc import Callable, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from rshell.cli.collected import json_pieces, output_value
from rshell.cli.standard import StreamError, print_bytes, print_text, say
from rshell.cli.streams import Left
from rshell.errors import ChannelRefused, RshellError
from rshell.terminal.output import printable

if TYPE_CHECKING:
    from rshell.channels.process.messages import ProcessEnding
    from rshell.client.client import Client
    from rshell.values import ExitStatus

FAILED_STATUS = 255
TIMEOUT_STATUS = 124
BROKEN_PIPE_STATUS = 128 + signal.SIGPIPE
_COMMAND_SHOWN = 60  # characters


class Report:
    """How one run of `rshell` ends, as it is told: with `as_json`, by one object.

    The command's output is collected in `stdout` and `stderr` then. `has_begun` says that the
    server may have been asked for something. Once there is a `status`, it is the one to exit with,
    whatever fails or comes after it.
    """

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        self.stdout = bytearray()
        self.stderr = bytearray()
        self.has_begun = False
        self.status: int | None = None

    def ended(self, ending: ProcessEnding) -> int:
        """Tell how the command ended; return the status to exit with."""
        if self.as_json:
            outcome = "exited" if ending.status.signal is None else "signaled"
            if ending.timed_out:
                outcome = "timeout"
            print_object(self._object(outcome, ending.status, ending.duration))
        self.status = TIMEOUT_STATUS if ending.timed_out else ending.status.shell_status
        return self.status

    def failed(self, error: BaseException) -> int:
        """Tell what went wrong, or that the user left; return the status to exit with."""
        if self.status is not None:
            return self.status
        if isinstance(error, BrokenPipeError):
            return BROKEN_PIPE_STATUS  # `| head` has seen enough of our stdout
        is_left = isinstance(error, Left)
        if self.as_json:
            try:
                is_refused = not self.has_begun or isinstance(error, ChannelRefused)
                outcome = "refused" if is_refused else "lost"
                print_object(self._object(outcome, None, None, explain(error)))
            except BrokenPipeError:
                pass
            except StreamError as full:
                say(explain(full))
        elif not is_left:
            say(explain(error))
        return error.status if isinstance(error, Left) else FAILED_STATUS

    def _object(
        self, outcome: str, status: ExitStatus | None, duration: float | None, error: str = ""
    ) -> dict[str, Any]:
        return {
            "outcome": outcome,
            "exit_status": None if status is None else status.code,
            "signal": None if status is None else status.signal,
            **output_value("stdout", self.stdout),
            **output_value("stderr", self.stderr),
            "duration": None if duration is None else round(duration, 6),
            "error": error or None,
        }


def explain(error: BaseException) -> str:
    """Return the sentence that says what went wrong; for a bug, where it was noticed, too."""
    if isinstance(error, (RshellError, Left)):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        name = "" if error.filename is None else f": {error.filename}"
        return f"{error.strerror}{name}"
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({PurePath(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"an error that was not foreseen: {text}{where}"


def tell_link(client: Client, say: Callable[[str], object], *, way_out: str = "") -> None:
    """Say that the link was cut and that it is back, until `client.links.on_change` is set anew.

    `way_out` says how to stop waiting for it.
    """
    lost = f"the link was cut; trying to come back{way_out}"
    is_up = True

    def tell() -> None:
        nonlocal is_up
        if client.links.is_up != is_up and not client.is_closed:
            is_up = not is_up
            say("the link is back" if is_up else lost)

    client.links.on_change = tell


def print_object(values: dict[str, Any]) -> None:
    """Print one JSON object on stdout. Raises BrokenPipeError and StreamError."""
    for piece in json_pieces(values):
        print_bytes(piece)


def print_result(values: dict[str, Any], text: str, as_json: bool) -> None:
    """Print the object, or the text if there is any. Raises as `print_object` does."""
    if as_json:
        print_object(values)
    elif text:
        print_text(text)


def aligned(rows: Sequence[tuple[str, ...]]) -> str:
    """Return rows of as many cells each as a table; the last column is not padded."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)] + [0]
    return "\n".join(
        "  ".join(cell.ljust(widths[column]) for column, cell in enumerate(row)) for row in rows
    )


def command_cell(command: str) -> str:
    """Return a command as a table shows it: safe, on one line, and not too long."""
    text = printable(command)
    return text if len(text) <= _COMMAND_SHOWN else text[: _COMMAND_SHOWN - 3] + "..."


def format_seconds(seconds: float) -> str:
    """Return a duration as people read it."""
    if seconds < 1:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"
