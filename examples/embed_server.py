"""The server inside an asyncio program, beside its other work.

The program counts; whoever holds a token may ask it how far it is, through a channel kind that
sees the program's own objects, and may run commands on its machine as usual.

Run: python examples/embed_server.py
"""

from __future__ import annotations

import asyncio
import tempfile

import rshell


class Counter:
    """The work that this program is there for."""

    def __init__(self) -> None:
        self.count = 0

    async def work(self) -> None:
        """Count until cancelled."""
        while True:
            self.count += 1
            await asyncio.sleep(0.01)

    async def serve_status(self, channel: rshell.Channel, context: rshell.Context) -> None:
        """Say how far the work is; the answer travels with the opening of the channel."""
        channel.accept({"count": self.count, "asked_by": context.identity})


async def main() -> None:
    counter = Counter()
    handlers = {"status": counter.serve_status}
    with tempfile.TemporaryDirectory() as directory:
        counting = asyncio.create_task(counter.work())
        try:
            async with rshell.serve(
                "localhost", 0, handlers=handlers, commands=True, state=directory
            ) as server:
                await look_inside(server)  # a real program: await server.serve_forever()
        finally:
            counting.cancel()
            await asyncio.wait([counting])
    print("the server and the work have ended")


async def look_inside(server: rshell.Server) -> None:
    """Be a client, which may as well run on another machine."""
    async with rshell.connect(server.addresses[0], token=server.token_line) as client:
        done = await client.run("echo commands run as usual", check=True, text=True)
        print(done.stdout, end="")
        async with client.open_channel("status") as channel:
            print(f"the program has counted: {channel.reply['count'] > 0}")
            print(f"and knows who asks: {channel.reply['asked_by']}")


if __name__ == "__main__":
    asyncio.run(main())
