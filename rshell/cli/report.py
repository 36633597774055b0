"""What the commands say for themselves: one line, one JSON object, or one table.

A script that asks for `--json` gets the same object for every outcome, a refused login included,
and has one thing to read. Output that is not UTF-8 is given in base64 under another key. What goes
wrong between here and there is one line, or that object, and the status 255.
"""

from __future__ import annotations

import base64
import json
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from rshell.cli.standard import write_all
from rshell.errors import ChannelRefused, ConnectError, RshellError
from rshell.terminal.output import printable

if TYPE_CHECKING:
    from rshell.channels.process.messages import ProcessEnding
    from rshell.client.client import Client
    from rshell.values import ExitStatus

FAILED_STATUS = 255
BROKEN_PIPE_STATUS = 128 + signal.SIGPIPE
_COMMAND_SHOWN = 60  # characters


def complain(error: BaseException) -> int:
    """Say in one line what went wrong; return the status for it."""
    if sys.stderr is not None:  # it was closed when we started
        with suppress(OSError):  # it was a terminal, and has gone
            print(f"rshell: {printable(str(error))}", file=sys.stderr)
    return FAILED_STATUS


def fail(error: BaseException, as_json: bool, stdout: bytes = b"", stderr: bytes = b"") -> int:
    """Say what went wrong, in one line or one object with the output; return the status for it."""
    if as_json and isinstance(error, RshellError):
        try:
            print_object(failure(error, stdout, stderr))
        except OSError as full:  # our own stdout, on a full disk as a rule
            error = full
        else:
            return FAILED_STATUS
    return complain(error)


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


def failure(error: RshellError, stdout: bytes = b"", stderr: bytes = b"") -> dict[str, Any]:
    """Return the object for a command that has no ending of its own."""
    outcome = "refused" if isinstance(error, (ConnectError, ChannelRefused)) else "lost"
    return _result(outcome, None, None, stdout, stderr) | {"error": str(error)}


def ended(ending: ProcessEnding, stdout: bytes, stderr: bytes) -> dict[str, Any]:
    """Return the object for a command that has ended, with the same keys."""
    outcome = "timeout" if ending.timed_out else "signaled" if ending.status.signal else "exited"
    return _result(outcome, ending.status, round(ending.duration, 6), stdout, stderr)


def _result(
    outcome: str, status: ExitStatus | None, duration: float | None, stdout: bytes, stderr: bytes
) -> dict[str, Any]:
    return {
        "outcome": outcome,
        "exit_status": None if status is None else status.code,
        "signal": None if status is None else status.signal,
        **_output("stdout", stdout),
        **_output("stderr", stderr),
        "duration": duration,
        "error": None,
    }


def _output(name: str, data: bytes) -> dict[str, str]:
    try:
        return {name: data.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(data).decode("ascii")}


def print_object(values: dict[str, Any]) -> None:
    """Print one JSON object on stdout. A reader that has left is no error."""
    with suppress(BrokenPipeError):
        write_all(1, json.dumps(values).encode("ascii") + b"\n")


def print_result(values: dict[str, Any], text: str, as_json: bool) -> None:
    """Print the object, or the text if there is any."""
    if as_json:
        print_object(values)
    elif text:
        print(text, flush=True)


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
