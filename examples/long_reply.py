"""A command whose reply passes 1,024 bytes: it arrives whole.

A single `recv(1024)` would have cut this reply, and left its rest to be taken for the answer to
the next command. Here a reply ends where the server says it ends, whatever its size.

Run: python examples/long_reply.py
"""

from __future__ import annotations

import asyncio
import tempfile

import rshell


async def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with (
            rshell.serve("localhost", 0, state=directory) as server,
            rshell.connect(server.addresses[0], token=server.token_line) as client,
            client.open_shell() as shell,
        ):
            long = await shell.run("seq 1 1000")
            lines = long.stdout.splitlines()
            print(f"{len(long.stdout)} bytes in {len(lines)} lines, the last is {lines[-1]!r}")

            short = await shell.run("echo next")
            print(f"the next reply is its own: {short.stdout!r}")


if __name__ == "__main__":
    asyncio.run(main())
