"""What a channel says to a shell on a terminal: input that comes too early, and what is asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from rshell import ChannelReset
from rshell.channels.process.messages import Terminal
from rshell.channels.shell.messages import ShellRequest
from rshell.protocol.codec import Json
from rshell.transport.channel import Channel
from tests.support.guests import BRIEF, SIZE
from tests.support.session import tls_session

PLAIN = ShellRequest(terminal=Terminal(SIZE)).encode()
NAMED = ShellRequest(terminal=Terminal(SIZE), name="work").encode()

# A plain shell and a named one are spoken to in the same way.
either = pytest.mark.parametrize("request_", [PLAIN, NAMED], ids=["plain", "named"])


@asynccontextmanager
async def spoken_to(request: Json) -> AsyncIterator[Channel]:
    async with (
        tls_session(limits=BRIEF) as client,
        client.open_channel("shell", request) as channel,
    ):
        yield channel


async def receive(channel: Channel) -> Json:
    message = await channel.receive_message()
    assert message is not None
    return message


@either
async def test_what_is_typed_while_nothing_runs_is_given_back(request_: Json) -> None:
    async with spoken_to(request_) as channel:
        await channel.write(b"early\xff")
        assert await receive(channel) == {"type": "unread", "text": "early\udcff"}
        channel.send_message({"type": "run", "number": 1, "command": "read -r x"})
        await channel.write(b"line\rmore")
        done = await receive(channel)
        late = "" if done.get("unread") else (await receive(channel))["text"]
        assert (done["type"], done.get("unread", "") + late) == ("done", "more")


@either
async def test_questions_are_answered_and_stale_ones_may_not_be(
    request_: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("completeness", "questions"):  # a slow machine's answers count, too
        monkeypatch.setattr(f"rshell.channels.shell.{module}._DEADLINE", 20.0)
    async with spoken_to(request_) as channel:
        for number in range(1, 20):
            channel.send_message({"type": "check", "number": number, "text": "if true"})
        while (answer := await receive(channel))["number"] < 19:
            assert answer["type"] == "checked"
        assert answer == {"type": "checked", "number": 19, "incomplete": True}
        channel.send_message({"type": "complete", "number": 20, "text": "cd /et"})
        found = await receive(channel)
        assert (found["type"], found["number"]) == ("completions", 20)
        assert any("etc" in text for text in found["texts"])


@either
async def test_a_message_that_makes_no_sense_ends_the_channel(request_: Json) -> None:
    async with spoken_to(request_) as channel:
        channel.send_message({"type": "resize", "columns": 0, "rows": 5})
        await channel.wait_closed()
        assert isinstance(channel.error, ChannelReset)
        assert channel.error.code == "bad-message"


@either
async def test_a_channel_that_is_reset_while_much_is_typed_leaves_nothing(request_: Json) -> None:
    async with tls_session(limits=BRIEF) as client:
        for passes in range(0, 20, 2):
            channel = await client.open_channel("shell", request_)
            number = channel.reply.get("number", 0) + 1
            if "running" not in channel.reply:
                channel.send_message({"type": "run", "number": number, "command": "sleep 100"})
            channel.send_message({"type": "check", "number": 1, "text": "("})
            writing = asyncio.ensure_future(channel.write(b"x" * 2_000_000))
            for _ in range(passes):
                await asyncio.sleep(0)
            channel.reset("cancelled", "enough")
            with pytest.raises(ChannelReset):
                await writing
