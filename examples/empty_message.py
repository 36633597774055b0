"""An empty message and an empty command are answered at once: never a hang.

A program that waits for "some bytes" waits for ever when there are none. Here the end of a
message and of a reply is said, so nothing at all is a complete message and a complete reply.

Run: python examples/empty_message.py
"""

from __future__ import annotations

import asyncio
import tempfile

import rshell


async def count(channel: rshell.Channel, context: rshell.Context) -> None:
    """Answer with the number of bytes that arrived."""
    channel.accept()
    data = await channel.read()
    channel.send_message({"bytes": len(data)})


async def main() -> None:
    handlers = {"count": count}
    with tempfile.TemporaryDirectory() as directory:
        async with (
            rshell.serve(
                "localhost", 0, handlers=handlers, commands=True, state=directory
            ) as server,
            rshell.connect(server.addresses[0], token=server.token_line) as client,
        ):
            done = await client.run("")
            print(f"an empty command: status {done.exit_status}, output {done.stdout!r}")

            async with client.open_shell() as shell:
                result = await shell.run("")
                print(f"and in a shell: status {result.exit_status}, output {result.stdout!r}")

            async with client.open_channel("count") as channel:
                channel.send_eof()
                print(f"an empty stream: {await channel.receive_message()}")


if __name__ == "__main__":
    asyncio.run(main())
