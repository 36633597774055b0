"""One command on ten hosts at once, with `asyncio.gather`.

`run_everywhere` is the part to copy. The ten hosts here are ten servers on free ports of this
machine; each starts its commands in a directory of its own, so that they can be told apart.

Run: python examples/ten_hosts.py
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import rshell


async def run_on(address: rshell.Address, token: str | None, command: str) -> str:
    """Run a command on one host; return what it printed, or what went wrong."""
    try:
        async with rshell.connect(address, token=token) as client:
            done = await client.run(command, timeout=30, check=True, text=True)
            return done.stdout.strip()
    except rshell.RshellError as error:
        return f"failed: {error}"


async def run_everywhere(
    hosts: Sequence[tuple[rshell.Address, str | None]], command: str
) -> list[str]:
    """Run a command on every host at once; the answers are in the order of the hosts.

    The token None, for hosts that `rshell --login` has stored one for, lets it be looked up.
    """
    return await asyncio.gather(*(run_on(address, token, command) for address, token in hosts))


async def main() -> None:
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        hosts = []
        for number in range(10):
            home = directory / f"host-{number}"
            home.mkdir()
            opening = rshell.serve("localhost", 0, state=directory / "state", cwd=str(home))
            server = await stack.enter_async_context(opening)
            hosts.append((server.addresses[0], server.token_line))

        for answer in await run_everywhere(hosts, 'basename "$PWD"'):
            print(answer)


if __name__ == "__main__":
    asyncio.run(main())
