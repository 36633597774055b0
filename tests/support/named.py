"""Named shells as tests meet them: somebody at one, what is listed, and a program that paints.

Strategy: the program draws when it is told of a size, and again at each change, so a test sees
on the screen whether it was told, without a program that the machine may not have.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from rshell.values import TerminalSize
from tests.support.commands import ServerProcess, run, until
from tests.support.terminal import ENTER, Person, at_prompt, at_terminal

SMALL = TerminalSize(columns=70, rows=20)
LARGE = TerminalSize(columns=120, rows=40)
WIDE = TerminalSize(columns=250, rows=30)  # room for a long address

# Draws once at its start and whenever it is told that the size has changed; tells its lines.
PAINTER = """
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGWINCH})
def draw():
    size = os.get_terminal_size()
    print(f"\\x1b[H\\x1b[2J\\x1b[?1000hpid {os.getpid()}", flush=True)
    print(f"painted {size.columns}x{size.lines}", flush=True)
if os.fork():
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGWINCH})
    signal.signal(signal.SIGWINCH, lambda *_: draw())
    draw()
    _, status = os.wait()
    sys.exit(os.waitstatus_to_exitcode(status))
for line in sys.stdin:
    print("told", line.strip(), flush=True)
    if line.strip() == "end":
        sys.exit(7)
"""


def shells(server: ServerProcess, env: dict[str, str] | None = None) -> dict[str, dict[str, Any]]:
    """Return the list of shells by name."""
    done = run("--shells", "--json", server.address, env=env)
    assert done.returncode == 0, done.stderr
    return {shell["name"]: shell for shell in json.loads(done.stdout)["shells"]}


def until_idle(server: ServerProcess, name: str = "work") -> None:
    until(lambda: shells(server)[name]["running"] is None, "the command's end")


def until_left(server: ServerProcess, name: str = "work") -> None:
    """Wait until the server has noticed that nobody is attached."""
    until(lambda: not shells(server)[name]["attached"], "the end of being attached")


@asynccontextmanager
async def working(server: ServerProcess, **options: Any) -> AsyncIterator[Person]:
    """Somebody at the prompt of the shell "work"."""
    async with at_prompt(server.address, "-S", "work", **options) as person:
        yield person


@asynccontextmanager
async def back(server: ServerProcess, **options: Any) -> AsyncIterator[Person]:
    """Somebody who attaches to the shell "work", and sees that, at once at least."""
    async with at_terminal("-Swork", server.address, **options) as person:
        await person.see("rshell: attached to work")
        yield person


async def left(person: Person) -> int:
    """The status, once the client has ended with the terminal as it was."""
    status = await person.wait()
    assert person.modes == person.before
    for mode in (1049, 1000, 1006, 2004, 1):
        assert not person.has_mode(mode), mode
    assert not any("Traceback" in line for line in person.display), "\n".join(person.display)
    return status


async def detach(person: Person, server: ServerProcess, keys: str = "~d") -> None:
    """Leave a command that runs."""
    person.send(ENTER)
    await person.read_up()
    person.send(keys)
    assert await left(person) == 0
    assert_detached(person, server)


def assert_detached(person: Person, server: ServerProcess) -> None:
    """The last line says how to come back."""
    shown = "".join(person.screen.display)  # which may take two lines of the screen
    assert f"rshell: detached from work; rshell {server.address} -S work comes back " in shown


async def paint(person: Person, painter: str) -> int:
    """Start the painter and return its process id."""
    size = person.screen
    person.send(painter + ENTER)
    await person.wait_for(f"painted {size.columns}x{size.lines}")
    return painted(person)


def painted(person: Person) -> int:
    (line,) = (line for line in person.display if line.startswith("pid "))
    return int(line.removeprefix("pid "))
