"""A person whose shell shows its own prompt, whatever that is, and rshell's in its place."""

from __future__ import annotations

import os

from tests.support.terminal import ENTER, Person

OWN = ("--local", "--prompt", "own")


async def enter(person: Person, command: str, prompt: str) -> None:
    """Type a command and wait for the next prompt, which is `prompt`."""
    count = person.prompts + 1
    person.send(command + ENTER)
    await person.wait_for(
        lambda: person.prompts >= count and person.line == prompt, f"{prompt!r} after {command!r}"
    )


def ours(cwd: str) -> str:
    """Return rshell's own prompt in the directory `cwd`."""
    host, sign = os.uname().nodename, "#" if os.getuid() == 0 else "$"
    user = "root" if os.getuid() == 0 else os.environ["USER"]
    return f"{user}@{host}:{cwd} {sign} "
