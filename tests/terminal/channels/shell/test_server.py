"""A shell's channel at the server: what is asked, typed and answered, and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from rshell import ChannelRefused, ChannelReset
from rshell.channels.process.messages import Terminal
from rshell.channels.shell.messages import ShellRequest
from rshell.protocol.codec import Json
from rshell.transport.channel import Channel
from rshell.values import Bounds
from tests.support.guests import BRIEF, SIZE
from tests.support.processes import gone
from tests.support.session import tls_session

PLAIN = ShellRequest(terminal=Terminal(SIZE)).encode()
NAMED = ShellRequest(terminal=Terminal(SIZE), name="work").encode()


async def reply_to(channel: Channel, message: Json) -> Json:
    channel.send_message(message)
    reply = await channel.receive_message()
    assert reply is not None
    return reply


async def test_a_request_that_makes_no_sense_is_refused() -> None:
    wrong: list[Json] = [
        *({"cwd": 5}, {"env": []}, {"stdin": "yes"}, {"clear_env": 1}, {"terminal": "big"}),
        *({"name": "a"}, {"share": True}),
    ]
    wrong += [NAMED | {"name": "a/b"}, NAMED | {"name": 5}, PLAIN | {"share": True}]
    async with tls_session() as client:
        for request in wrong:
            with pytest.raises(ChannelRefused) as caught:
                await client.open_channel("shell", request)
            assert caught.value.code == "bad-request", request


async def test_the_reply_says_which_shell_and_where(program: str) -> None:
    async with tls_session() as client, client.open_channel("shell", {"cwd": "/"}) as channel:
        assert (channel.reply["shell"], channel.reply["cwd"]) == (program, "/")


async def test_a_message_that_makes_no_sense_ends_the_shell() -> None:
    wrong: list[Json] = [
        {"type": "run"},
        {"type": "run", "number": 1, "command": "a\0b"},
        {"type": "run", "number": 0, "command": "x"},
        {"type": "signal", "name": "SIGNONE"},
        {"type": 5},
        {},
    ]
    async with tls_session(limits=BRIEF) as client:
        for message in wrong:
            async with client.open_channel("shell") as channel:
                done = await reply_to(channel, {"type": "run", "number": 1, "command": "echo $$"})
                assert done["exit_status"] == 0
                pid = int(await channel.stream(1).readline())
                channel.send_message(message)
                await channel.wait_closed()
                assert isinstance(channel.error, ChannelReset), message
                assert channel.error.code == "bad-message", message
                await gone(pid)


async def test_a_second_command_while_one_runs_ends_the_shell() -> None:
    async with tls_session(limits=BRIEF) as client, client.open_channel("shell") as channel:
        for number in (1, 2):
            channel.send_message({"type": "run", "number": number, "command": "sleep 100"})
        await channel.wait_closed()
        assert isinstance(channel.error, ChannelReset)


async def test_messages_of_a_later_version_are_ignored() -> None:
    async with tls_session() as client, client.open_channel("shell") as channel:
        channel.send_message({"type": "sing"})
        channel.send_message({"type": "cancel"})
        channel.send_message({"type": "signal", "name": "SIGINT"})
        done = await reply_to(channel, {"type": "run", "number": 5, "command": "exit_status=1"})
        assert (done["type"], done["number"], done["exit_status"]) == ("done", 5, 0)


async def test_counts_are_those_of_one_command_each() -> None:
    async with tls_session() as client, client.open_channel("shell") as channel:
        for number, (command, out, err) in enumerate(
            [("echo abc", 4, 0), (":", 0, 0), ("echo x; echo yy >&2", 2, 3)], 1
        ):
            done = await reply_to(channel, {"type": "run", "number": number, "command": command})
            assert (done["stdout"], done["stderr"]) == (out, err)


@pytest.mark.parametrize("program", ["false", "true", "cat", "sleep"])
async def test_a_shell_that_is_none_is_refused_and_not_started_again_and_again(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = tmp_path / "starts"
    shell = tmp_path / "shell"
    shell.write_text(f"#!/bin/sh\necho x >> '{starts}'\nexec {program} 100\n")
    shell.chmod(0o700)
    monkeypatch.setenv("SHELL", str(shell))
    limits = Bounds(kill_grace=0.5, open_timeout=1.0)
    async with tls_session(limits=limits) as client:
        why = "not ready after 1 s" if program == "sleep" else "can't start|as soon as"
        with pytest.raises((ChannelRefused, ChannelReset), match=why):
            await client.open_shell()
        assert starts.read_text() == "x\n"


async def test_a_client_that_leaves_while_the_shell_is_started_anew_leaves_nothing() -> None:
    """It must not wait for the new shell either."""
    for passes in range(0, 40, 4):
        async with tls_session(limits=BRIEF) as client, client.open_shell() as shell:
            running = asyncio.ensure_future(shell.run("exit 3"))
            for _ in range(passes):
                await asyncio.sleep(0)
            # On a busy machine the new shell may be faster than all these passes.
            reply = shell._line._reply
            is_over = running.done() or (reply is not None and reply.done())
            shell.close()
            if is_over:
                done = await running
                assert (done.exit_status, done.restarted) == (3, True)
            else:
                with pytest.raises(ChannelReset):
                    await running


async def test_a_client_that_goes_takes_its_shell_with_it(program: str) -> None:
    async with tls_session(limits=BRIEF) as client:
        shell = await client.open_shell()
        pid = int((await shell.run("echo $$")).stdout)
        running = asyncio.ensure_future(shell.run("while :; do echo flood; done"))
        await asyncio.sleep(0)
        await client.close()
        await gone(pid)
        with pytest.raises(Exception, match="closed"):
            await running


async def test_what_was_run_is_in_the_audit_log_and_what_was_typed_is_not(tmp_path: Path) -> None:
    async with tls_session() as client, client.open_shell() as shell:
        await shell.run("echo to be logged")
    logs = list(tmp_path.rglob("audit.jsonl"))
    assert len(logs) == 1
    assert '"shell": "echo to be logged"' in logs[0].read_text()


# A plain shell and a named one are spoken to in the same way.
either = pytest.mark.parametrize("request_", [PLAIN, NAMED], ids=["plain", "named"])


@asynccontextmanager
async def spoken_to(request: Json) -> AsyncIterator[Channel]:
    async with (
        tls_session(limits=BRIEF) as client,
        client.open_channel("shell", request) as channel,
    ):
        if channel.reply.get("starting"):
            assert (await receive(channel))["number"] == 0
        yield channel


async def receive(channel: Channel) -> Json:
    """Return the next message that is not of the prompt."""
    while True:
        message = await channel.receive_message()
        assert message is not None
        if message["type"] != "prompt":
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
    # A slow machine's answers count, too.
    for name in ("completeness._DEADLINE", "native.hooks._ANSWER_SECONDS"):
        monkeypatch.setattr(f"rshell.channels.shell.{name}", 20.0)
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
