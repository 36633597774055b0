"""Answers of kinds whose channel is one question: one message, or a list of them.

Strategy: an answer that stops short is an exception, never a shorter list. A list ends with a
message that says how long it is. The channel is closed on every way out.
"""

from __future__ import annotations

from rshell.errors import RemoteProtocolError
from rshell.protocol.codec import Json
from rshell.transport.channel import Channel


async def receive_answer(channel: Channel) -> Json:
    """Return the one message of an answer.

    Raises RemoteProtocolError where there is none, and what cut the channel short. Cancelling
    closes the channel.
    """
    try:
        message = await channel.receive_message()
    finally:
        channel.close()
    if message is None:
        raise RemoteProtocolError("the server closed the channel without an answer")
    return message


async def receive_list(channel: Channel, what: str) -> list[Json]:
    """Return the messages of a list up to its `end`, whose key `what` is their number.

    Raises RemoteProtocolError for a list without its end, or with another number, and what cut
    the channel short. Cancelling closes the channel.
    """
    found: list[Json] = []
    try:
        while (message := await channel.receive_message()) is not None:
            if message.get("type") != "end":
                found.append(message)
            elif message.get(what) == len(found):
                return found
            else:
                break
        raise RemoteProtocolError(f"the server's list of {what} has no end, or stops short")
    finally:
        channel.close()
