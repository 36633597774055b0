"""`rshell --doctor` and `--stop`: what a way in finds over there, and taking all of it away."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from rshell.cli.options import Options
from rshell.cli.standard import print_text
from rshell.client.reach import bundle, look_after
from rshell.terminal.output import printable
from rshell.values import Bounds, Limits


def run_doctor(options: Options, limits: Limits) -> int:
    """Say what is found there, or what was ended and removed; return the status."""
    assert options.way is not None
    what = "stop" if options.action == "stop" else "look"
    facts = asyncio.run(look_after(options.way, what, Bounds.of(limits)))
    if options.json:
        print_text(json.dumps(facts, indent=2))
    else:
        lines = _stopped(facts) if what == "stop" else _found(options.way.name, facts)
        print_text("\n".join(printable(line) for line in lines))
    return 0 if what == "stop" or "no_socket" not in facts else 1


def _stopped(facts: dict[str, Any]) -> list[str]:
    return [
        *(f"ended   the background server, process {pid}" for pid in _items(facts.get("stopped"))),
        *(f"removed {path}" for path in _items(facts.get("removed"))),
        *(f"left    {path}, of a server that runs elsewhere" for path in _items(facts.get("left"))),
    ] or ["there was nothing of rshell's"]


def _found(name: str, facts: dict[str, Any]) -> list[str]:
    """Return a line for each thing that was looked at: what it is, and what it means."""
    size = len(bundle()[1]) // 1024
    there = "is there" if facts.get("there") else f"was sent ({size} KiB)"
    lines = [
        f"way in      {name} runs commands",
        f"python      {facts.get('python')} at {facts.get('program')}",
        f"rshell      the server of this version {there}",
        f"user        {facts.get('user')}, at home in {facts.get('home')}",
        f"shell       {facts.get('shell') or '/bin/sh'}; there are {_list(facts.get('shells'))}",
    ]
    if "no_socket" in facts:
        lines.append(
            f"background  none can run: {facts['no_socket']}. A cut link ends the session, and "
            "there are no jobs and no named shells"
        )
    else:
        lines.append(f"background  its socket is {facts.get('socket')}")
    running = [
        f"process {each.get('pid')} at {each.get('path')}"
        for each in _items(facts.get("servers"))
        if isinstance(each, dict)
    ]
    lines.append(f"running     {_list(running) or 'no background server'}")
    if not facts.get("terminals"):
        lines.append("terminals   there are none (/dev/ptmx): no prompt, no -t; -c works")
    if not facts.get("proc"):
        lines.append("processes   there is no /proc: commands that change their session stay")
    return lines


def _list(items: Any) -> str:
    return ", ".join(map(str, _items(items)))


def _items(value: Any) -> list[Any]:
    """Return a list of theirs; they may have said anything."""
    return value if isinstance(value, list) else []
