"""One server at three kinds of address: TCP over IPv4, TCP over IPv6, and a Unix socket.

Over TCP there is TLS and a login by token. The Unix socket has neither, for the kernel names
the user at the other end.

Run: python examples/addresses.py
"""

from __future__ import annotations

import asyncio
import tempfile

import rshell


async def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        # "localhost" is both loopbacks; a machine without IPv6 has the first one only.
        async with rshell.serve("localhost", 0, unix=f"{place}/socket", state=place) as server:
            for address in server.addresses:
                async with rshell.connect(address, token=server.token_line) as client:
                    done = await client.run("echo hello", check=True, text=True)
                    print(f"{address} says {done.stdout.strip()}")


if __name__ == "__main__":
    asyncio.run(main())
