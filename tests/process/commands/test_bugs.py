"""What nobody foresaw in the tasks that serve a channel costs the channel, and no one waits."""

from __future__ import annotations

import asyncio

import pytest

from rshell import ChannelReset
from rshell.channels.shell import server as shell_server
from rshell.errors import ChannelError
from rshell.execution.pipes import PipeSink
from rshell.values import Bounds, TerminalSize
from tests.support.audit import unpaired
from tests.support.session import tls_session

BRIEF = Bounds(kill_grace=0.2)
SIZE = TerminalSize(80, 24)


async def broken(*_: object) -> None:
    raise LookupError("a bug")


def broken_now(*_: object, **options: object) -> None:
    raise RuntimeError("can't start new thread")


async def test_a_task_that_fails_while_it_feeds_a_command_does_not_leave_it_waiting(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with tls_session(limits=BRIEF) as client:
        with monkeypatch.context() as patch:
            patch.setattr(PipeSink, "write", broken)
            with pytest.raises(ChannelReset, match="the server failed: LookupError"):
                await client.run("cat", input=b"x")
        assert "a bug" in caplog.text
        assert (await client.run("cat", input=b"x")).stdout == b"x"
    assert not unpaired()


async def test_a_shell_that_can_not_be_told_its_lines_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with tls_session(limits=BRIEF) as client, client.open_shell() as shell:
        await shell.run("true")
        with monkeypatch.context() as patch:
            patch.setattr(PipeSink, "write", broken)
            running = asyncio.ensure_future(shell.run("echo never heard"))
            with pytest.raises(ChannelError):  # the next shell can't be told its lines either
                await running
        assert (await client.run("exit 3")).exit_status == 3
    assert not unpaired()


async def test_a_question_that_fails_costs_the_shell_its_channel_and_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(shell_server, "wants_more", broken)
    async with tls_session(limits=BRIEF) as client, client.open_line(SIZE, term="dumb") as line:
        asking = asyncio.ensure_future(line.wants_more("for"))
        await line.channel.wait_closed()
        assert isinstance(line.channel.error, ChannelReset)
        assert "a bug" in caplog.text
        asking.cancel()
        await asyncio.wait([asking])


async def test_a_process_that_can_not_be_watched_is_one_there_is_no_room_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """There is neither a descriptor nor a thread left."""
    async with tls_session(limits=BRIEF) as client:
        with monkeypatch.context() as patch:
            patch.setattr("rshell.execution.running_process.ExitWatch", broken_now)
            done = await client.run("exec sleep 100")
            assert (done.exit_status, b"no room for another process" in done.stderr) == (126, True)
        assert (await client.run("exit 3")).exit_status == 3
    assert not unpaired()
