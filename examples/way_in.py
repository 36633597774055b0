"""A command on a machine where nothing is installed but a Python.

The server side is brought along by any program that runs a command there. Without a word the way in
is `env`, which leads to this very machine, and nothing stays.

Run: python examples/way_in.py
or:  python examples/way_in.py docker://name (ssh://host, podman://name, kubectl://pod)
"""

from __future__ import annotations

import asyncio
import sys

import rshell


async def main() -> None:
    if len(sys.argv) > 1:
        opening = rshell.connect(sys.argv[1])
    else:
        opening = rshell.connect(via="env", bootstrap=True, background=False)
    async with opening as client:
        done = await client.run("tr a-z A-Z", input="hello from there\n", check=True, text=True)
        print(done.stdout, end="")


if __name__ == "__main__":
    asyncio.run(main())
