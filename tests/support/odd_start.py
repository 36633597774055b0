"""Starts a program as no command should find the world, and looks at what a command finds.

Run as `python odd_start.py KIND`, not a test itself. Every signal is ignored and some are blocked,
the limit of descriptors is low, there is no locale, and a service manager has left its variables.
Then it runs itself anew, and as a `program` of ours, or as one in which a server is `embedded`,
starts commands in several ways. It prints what they find as one JSON object, with what stays as it
was here.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import sys
import threading
from contextlib import suppress

FEW = 200
BLOCKED = {signal.SIGUSR2, signal.SIGTERM, signal.SIGCHLD}
_VARIABLES = {"LISTEN_FDS": "1", "NOTIFY_SOCKET": "/run/x", "JOURNAL_STREAM": "8:9"}
_LOOK = (
    "grep -E '^Sig(Blk|Ign)' /proc/self/status; ulimit -Sn; umask; "
    "env | grep -E '^(LC_|LISTEN|NOTIFY|JOURNAL)' || :"
)


def begin_oddly() -> None:
    """Become this script again, in that world."""
    for number in signal.valid_signals() - {signal.SIGCHLD}:
        with suppress(OSError):
            signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (FEW, hard))
    os.umask(0o027)
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("LC_", "LANG"))}
    argv = [sys.executable, __file__, "--begun", *sys.argv[1:]]
    os.execve(argv[0], argv, plain | _VARIABLES)


async def look(way: str) -> list[str]:
    """Return the lines of a command that was started in this way."""
    from rshell.execution.inheritance import for_commands
    from rshell.execution.spawn import Command
    from tests.support.execution import finish, on_terminal, piped, placed

    what = Command(("/bin/sh", "-c", _LOOK), None, for_commands(os.environ))
    if way == "placed":
        return (await placed(what, {9: 2}))[0].decode().split("\n")
    async with (on_terminal if way == "terminal" else piped)(what) as running:
        process, source, output = running[:3]
        await finish(process, source, output)
        return output.text.decode().replace("\r", "").split("\n")


def main() -> None:
    """Start the commands, from the main thread and from another."""
    from rshell.execution.inheritance import begin_program

    if sys.argv[2] == "program":
        begin_program()
        # So many that the limit of commands leaves no room here.
        for _ in range(FEW + 10):
            os.open(os.devnull, os.O_RDONLY)
    found = {way: asyncio.run(look(way)) for way in ("pipes", "terminal", "placed")}
    thread = threading.Thread(target=lambda: found.update(thread=asyncio.run(look("thread"))))
    thread.start()
    thread.join()
    kept = [signal.getsignal(n) is signal.SIG_IGN for n in (signal.SIGHUP, signal.SIGUSR1)]
    blocked = sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, ())))
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    print(json.dumps({"found": found, "ignored": kept, "blocked": blocked, "limit": limit}))


if __name__ == "__main__":
    if "--begun" in sys.argv:
        main()
    else:
        begin_oddly()
