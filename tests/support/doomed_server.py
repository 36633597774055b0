"""A server that is killed: starts each command on a reaper's list, tells the pids, and waits.

Run as `python doomed_server.py GRACE`; not a test itself. Prints one JSON object a line.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys

from rshell.execution.reaper_client import Reaper
from rshell.execution.spawn import Command, spawn
from rshell.terminal.pty import open_pty

# Each prints its pids. One is plain, one ignores what is polite and has a child, one is a
# job-control shell on a terminal with a job in another group, one leaves a child behind.
PLAIN = "echo $$; exec sleep 100"
STUBBORN = 'trap "" TERM HUP; echo $$; sleep 100 & echo $!; echo .; while :; do sleep 0.1; done'
JOBS = "set -m; sh -c 'trap \"\" HUP TERM; echo $$; sleep 100' & echo $$; wait"
FORGETFUL = "trap '' HUP; sleep 100 & echo $!"


async def main() -> None:
    reaper = Reaper(float(sys.argv[1]))
    found: dict[str, list[int]] = {}
    for name, text, count in (("plain", PLAIN, 1), ("stubborn", STUBBORN, 2), ("jobs", JOBS, 2)):
        master, slave = open_pty()
        if name == "jobs":
            process = spawn(
                Command(("/bin/sh", "-c", text), None, dict(os.environ)),
                {},
                terminal=slave,
                reaper=reaper,
            )
            os.set_blocking(master, True)
            read = master
        else:
            read, write = os.pipe()
            process = spawn(
                Command(("/bin/sh", "-c", text), None, dict(os.environ)),
                {0: slave, 1: write, 2: write},
                reaper=reaper,
            )
        words: list[bytes] = []
        rest = b""
        while len(words) < count:
            rest += os.read(read, 1000)
            words = [word for word in rest.split()[: rest.count(b"\n")] if word.isdigit()]
        found[name] = [process.pid, *map(int, words)]
    read, write = os.pipe()
    process = spawn(
        Command(("/bin/sh", "-c", FORGETFUL), None, dict(os.environ)),
        {0: read, 1: write, 2: write},
        reaper=reaper,
    )
    await process.wait()
    found["left behind"] = [int(os.read(read, 100))]
    assert reaper.pid is not None
    found["reaper"] = [reaper.pid]
    print(json.dumps(found), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
