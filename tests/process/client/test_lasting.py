"""What a client asks of what outlives it; the kinds have their own tests of what comes of it."""

from __future__ import annotations

import pytest

from rshell import ChannelRefused, LocalProtocolError, TerminalSize
from rshell.channels.base import Context
from rshell.protocol.codec import Json
from rshell.transport.channel import Channel
from tests.support.session import tls_session

SIZE = TerminalSize(columns=80, rows=24)


async def test_each_method_asks_for_just_what_it_says() -> None:
    asked: list[tuple[str, Json]] = []

    async def serve(channel: Channel, context: Context) -> None:
        asked.append((channel.kind, channel.request))
        channel.refuse("failed", "only looking")

    handlers = dict.fromkeys(("job", "sessions", "shell"), serve)
    async with tls_session(handlers=handlers) as client:
        watching = client.watch_named_shell("work", SIZE)
        assert asked == []  # nothing happens before it is opened
        for question in (
            client.start_job(["echo", "a"], name="j"),
            client.jobs(),
            client.wait_job("j"),
            client.kill_job("j"),
            client.named_shells(),
            client.end_named_shell("work"),
            watching,
        ):
            with pytest.raises(ChannelRefused, match="only looking"):
                await question
    terminal = {"columns": 80, "rows": 24, "term": ""}
    shell = asked.pop()
    assert shell[0] == "shell" and shell[1].pop("terminal").items() <= terminal.items()
    assert shell[1] == {"name": "work", "share": True}
    assert asked == [
        ("job", {"verb": "start", "name": "j", "argv": ["echo", "a"]}),
        ("job", {"verb": "list"}),
        ("job", {"verb": "wait", "name": "j"}),
        ("job", {"verb": "kill", "name": "j"}),
        ("sessions", {"verb": "list"}),
        ("sessions", {"verb": "end", "name": "work"}),
    ]


async def test_no_name_that_can_not_be_leaves_here() -> None:
    async with tls_session(handlers={}) as client:
        for name in ("../x", "", "a b", "-x", "a" * 65):
            with pytest.raises(LocalProtocolError, match="not a named shell's name"):
                await client.end_named_shell(name)
            with pytest.raises(LocalProtocolError, match="not a named shell's name"):
                client.watch_named_shell(name, SIZE)
            with pytest.raises(LocalProtocolError, match="not a named shell's name"):
                client.open_line(SIZE, term="dumb", name=name)
