"""What a server answers: replies of OPENED, and kinds whose channel is one question.

Such a channel answers with one message, or with a list of them that ends with a message which
says how long it is. An answer that stops short is an exception, never a shorter list. The channel
is closed on every way out.
"""

from __future__ import annotations

from rshell.errors import RemoteProtocolError
from rshell.protocol.codec import M, Message, read_message
from rshell.transport.channel import Channel


def read_reply(channel: Channel, kind: type[M]) -> M:
    """Return what OPENED said. A bad one resets the channel and raises RemoteProtocolError."""
    try:
        return kind.decode(channel.reply)
    except RemoteProtocolError as error:
        channel.reset("bad-message", str(error))
        raise


async def receive_answer(channel: Channel, kind: type[M]) -> M:
    """Return the one message of an answer.

    Raises RemoteProtocolError where there is none, and what cut the channel short. Cancelling
    closes the channel.
    """
    try:
        message = await channel.receive_message()
    finally:
        channel.close()
    answer = None if message is None else read_message(message, kind)
    if answer is None:
        raise RemoteProtocolError("the server closed the channel without an answer")
    return answer


async def receive_list(channel: Channel, kind: type[M], end: type[Message]) -> list[M]:
    """Return the messages of a list up to its `end`, which holds their number.

    Raises RemoteProtocolError for a list without its end, or with another number, and what cut
    the channel short. Cancelling closes the channel.
    """
    found: list[M] = []
    try:
        while (message := await channel.receive_message()) is not None:
            item = read_message(message, kind, end)
            if not isinstance(item, kind):
                if item == end(len(found)):
                    return found
                break
            found.append(item)
        what = end.FIELDS[0].key
        raise RemoteProtocolError(f"the server's list of {what} has no end, or stops short")
    finally:
        channel.close()
