"""Many clients at once: each has its own session, and none waits for another.

Twenty clients each run a command that takes half a second; together they take little more.

Run: python examples/many_clients.py
"""

from __future__ import annotations

import asyncio
import tempfile
import time

import rshell

CLIENTS = 20


async def ask(server: rshell.Server, number: int) -> str:
    """Connect, run one command and return what it printed."""
    async with rshell.connect(server.addresses[0], token=server.token_line) as client:
        done = await client.run(f"sleep 0.5; echo client {number}", check=True, text=True)
        return done.stdout.strip()


async def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with rshell.serve("localhost", 0, state=directory) as server:
            start = time.monotonic()
            answers = await asyncio.gather(*(ask(server, n) for n in range(CLIENTS)))
            seconds = time.monotonic() - start
    print(*answers, sep="\n")
    print(f"{CLIENTS} clients of half a second each took {seconds:.1f} s")


if __name__ == "__main__":
    asyncio.run(main())
