"""What the listings share: a table for people, or one object for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rshell.cli.report import print_object
from rshell.terminal.output import printable

_COMMAND_SHOWN = 60  # characters


def aligned(rows: Sequence[tuple[str, ...]]) -> str:
    """Return rows of as many cells each as a table; the last column is not padded."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    widths[-1] = 0
    lines = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append("  ".join(cells))
    return "\n".join(lines)


def command_cell(command: str) -> str:
    """Return a command as a table shows it: safe, on one line, and not too long."""
    text = printable(command)
    return text if len(text) <= _COMMAND_SHOWN else text[: _COMMAND_SHOWN - 3] + "..."


def print_result(values: dict[str, Any], text: str, as_json: bool) -> None:
    """Print the object, or the text if there is any."""
    if as_json:
        print_object(values)
    elif text:
        print(text, flush=True)
