"""`--shells`, `--kill-shell` and `-S NAME --share`: named shells, seen from outside.

Strategy: names, directories and commands of a list come from elsewhere and are shown with their
control characters made visible. Attaching is the prompt's business.
"""

from __future__ import annotations

import time
from typing import Any

from rshell.channels.shell.named.messages import NamedShellInfo
from rshell.cli.options import Options
from rshell.cli.prompt.status import format_seconds
from rshell.cli.tables import aligned, command_cell, print_result
from rshell.client.client import Client
from rshell.terminal.sanitize import printable


async def run_named_shell(client: Client, options: Options) -> int:
    """Do what was asked and return the status to exit with. Raises RshellError."""
    named, as_json = options.named, options.json
    assert named is not None
    if named.verb == "watch":
        from rshell.cli.watch import run_watch

        return await run_watch(client, named.name)
    if named.verb == "end":
        info = await client.end_named_shell(named.name)
        print_result(describe(info), "", as_json)
        return 0
    infos = await client.named_shells()
    print_result({"shells": [describe(info) for info in infos]}, table(infos), as_json)
    return 0


def describe(info: NamedShellInfo) -> dict[str, Any]:
    """Return a named shell as one JSON object, every key in it always."""
    return {
        "name": info.name,
        "identity": info.identity,
        "created": info.created,
        "attached": info.attached,
        "watchers": info.watchers,
        "shell": info.shell,
        "cwd": info.cwd,
        "columns": info.size.columns,
        "rows": info.size.rows,
        "running": info.running,
    }


def table(infos: list[NamedShellInfo]) -> str:
    """Return a list for people: name, identity, age, who looks on, size and running command."""
    rows = [("NAME", "IDENTITY", "AGE", "STATE", "SIZE", "RUNNING")]
    for info in infos:
        age = max(0.0, time.time() - info.created)  # the server's clock may be another
        size = f"{info.size.columns}x{info.size.rows}"
        running = "-" if info.running is None else command_cell(info.running)
        rows.append(
            (info.name, printable(info.identity), format_seconds(age), _state(info), size, running)
        )
    return aligned(rows)


def _state(info: NamedShellInfo) -> str:
    """Return "attached", "detached" or "detached, 2 watching"."""
    state = "attached" if info.attached else "detached"
    return f"{state}, {info.watchers} watching" if info.watchers else state
