"""A reply of 100 MB, streamed: its SHA-256 is taken as it arrives and nothing is kept.

The remote machine computes the same sum, and the two are compared.

Run: python examples/hundred_megabytes.py
"""

from __future__ import annotations

import asyncio
import hashlib
import tempfile

import rshell

MAKE = "yes 'a hundred megabytes of this' | head -c 100000000"


async def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with (
            rshell.serve("localhost", 0, state=directory) as server,
            rshell.connect(server.addresses[0], token=server.token_line) as client,
        ):
            digest, size = hashlib.sha256(), 0
            async with client.open_process(MAKE) as process:
                async for block in process.stdout:
                    digest.update(block)
                    size += len(block)
                status = await process.wait()
            print(f"{size} bytes arrived, and the command {status}")
            print(f"SHA-256 here:  {digest.hexdigest()}")

            done = await client.run(f"{MAKE} | sha256sum", check=True, text=True)
            theirs = done.stdout.split()[0]
            print(f"SHA-256 there: {theirs}")
            assert theirs == digest.hexdigest()


if __name__ == "__main__":
    asyncio.run(main())
