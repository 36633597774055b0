"""Starting the program that carries a link: a server of our own, what leads to one, or a way in.

It is started in our own session, where it may ask for a password on the terminal, but deaf to
SIGINT: Ctrl-C is for the remote command, and must not cut the link that carries it.

A way in takes its time to get there, and so does Python to load the rest of rshell. A command
therefore begins its way in before that (`BegunWay`).

Hazard: an exec passes on which signals are blocked. Who blocks some must not do so here.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import field

from rshell.errors import ConnectError
from rshell.execution.inheritance import given_environment, restore_names
from rshell.reach.ways import Way
from rshell.values import frozen

_DEAF = ["/bin/sh", "-c", 'trap "" INT; exec "$@"', "sh"]


@frozen
class BegunWay(Way):
    """A way in whose program runs already, for the first link."""

    running: list[subprocess.Popen[bytes]] = field(default_factory=list, compare=False)

    @classmethod
    def begin(cls, way: Way) -> BegunWay:
        """Start the program of `way`. Raises ConnectError."""
        return cls(way.name, way.argv, way.again, [start_way(way)])

    def end(self) -> None:
        """Kill the program if nobody has taken it."""
        while self.running:
            with self.running.pop() as popen:
                popen.kill()


def start_way(way: Way, *, again: bool = False) -> subprocess.Popen[bytes]:
    """Return the program of a way in, which runs `sh` over there, or that which runs already.

    `again` says that nobody looks at it. Its stderr is a pipe. Raises ConnectError.
    """
    if isinstance(way, BegunWay) and way.running and not again:
        return way.running.pop()
    return start_child(way.command("sh", again=again), stderr=subprocess.PIPE)


def start_child(argv: Sequence[str], *, stderr: int | None = None) -> subprocess.Popen[bytes]:
    """Start a program whose stdio will carry a link. Raises ConnectError.

    Its stderr is ours, or subprocess.PIPE. The caller waits for it.
    """
    program = shutil.which(argv[0])
    if program is None:
        number = errno.EACCES if os.access(argv[0], os.F_OK) else errno.ENOENT
        raise ConnectError(f"can't start {argv[0]!r}: {os.strerror(number)}")
    # A shell has it ignore SIGINT: if we did so ourselves meanwhile, a Ctrl-C that comes in this
    # moment would be lost.
    environment = given_environment(os.environ)
    command = [*restore_names(environment, [program]), program, *argv[1:]]
    try:
        return subprocess.Popen(
            [*_DEAF, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            bufsize=0,
            env=environment,
        )
    except OSError as error:
        raise ConnectError(f"can't start {argv[0]!r}: {error.strerror or error}") from error
