"""Reading the audit log of this test's server."""

from __future__ import annotations

import asyncio
import json

from rshell.protocol.codec import Json
from rshell.security.files import server_directory
from tests.support.commands import until


def audited(*events: str) -> list[Json]:
    """Return the lines of these events, or of all of them, in their order."""
    text = (server_directory() / "audit.jsonl").read_text(encoding="ascii")
    whole = text[: text.rfind("\n") + 1]  # one may be in the midst of being written
    lines = [json.loads(line) for line in whole.splitlines()]
    return [line for line in lines if not events or line["event"] in events]


async def noted(event: str, times: int = 1) -> None:
    """Wait until the server has noted an event that many times."""
    await asyncio.to_thread(until, lambda: len(audited(event)) >= times, event)


def unpaired() -> list[Json]:
    """Return each `command` without its one `ended`, and each `ended` without its `command`."""
    open_ones: dict[str, Json] = {}
    wrong = []
    for line in audited("command", "ended"):
        # A named shell's commands are its own: who is attached may change meanwhile.
        place = line["name"] if "name" in line else [line["session"], line["channel"]]
        key = json.dumps([place, line.get("number")])
        if line["event"] == "command":
            wrong += [open_ones.pop(key)] if key in open_ones else []
            open_ones[key] = line
        elif open_ones.pop(key, None) is None:
            wrong.append(line)
    return wrong + list(open_ones.values())
