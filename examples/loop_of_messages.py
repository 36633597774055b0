"""A loop of messages over one channel: a question, its answer, the next question.

Messages are JSON objects and keep their boundaries, so nothing has to be cut out of a stream.
The server's half remembers the sum for as long as the channel is open.

Run: python examples/loop_of_messages.py
"""

from __future__ import annotations

import asyncio
import tempfile

import rshell


async def add_up(channel: rshell.Channel, context: rshell.Context) -> None:
    """Answer each number with the sum so far, until the client closes the channel."""
    channel.accept()
    total = 0
    while (message := await channel.receive_message()) is not None:
        total += message["number"]
        channel.send_message({"total": total})


async def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with (
            rshell.serve("localhost", 0, handlers={"add-up": add_up}, state=directory) as server,
            rshell.connect(server.addresses[0], token=server.token_line) as client,
            client.open_channel("add-up") as channel,
        ):
            for number in range(1, 6):
                channel.send_message({"number": number})
                answer = await channel.receive_message()
                assert answer is not None
                print(f"sent {number}, the total is {answer['total']}")


if __name__ == "__main__":
    asyncio.run(main())
