"""An upper-casing echo, server and client: a channel kind of one's own.

A kind is a name and a coroutine. What was once a socket program of two files is the function
`shout` below; login, encryption, many clients and flow control come with it.

Run: python examples/shout.py
"""

from __future__ import annotations

import asyncio
import tempfile

import rshell


async def shout(channel: rshell.Channel, context: rshell.Context) -> None:
    """Send back, in capitals, whatever arrives. Returning closes the channel."""
    channel.accept()
    async for block in channel:
        await channel.write(block.upper())


async def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with (
            rshell.serve("localhost", 0, handlers={"shout": shout}, state=directory) as server,
            rshell.connect(server.addresses[0], token=server.token_line) as client,
            client.open_channel("shout") as channel,
        ):
            await channel.write(b"hello, world")
            channel.send_eof()
            print((await channel.read()).decode())


if __name__ == "__main__":
    asyncio.run(main())
