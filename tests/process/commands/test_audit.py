"""The audit log has each command in pairs: what was asked, and how that ended."""

from __future__ import annotations

import asyncio

import pytest

from rshell.client.client import Client
from rshell.errors import ChannelRefused
from rshell.execution.spawn import SpawnQueue
from rshell.values import Bounds
from tests.support.audit import audited, noted, unpaired
from tests.support.execution import no_descriptors, until
from tests.support.session import tls_session

WAITING = Bounds(kill_grace=0.2)


async def given_up(client: Client, asked: int, pids: int) -> None:
    """Have ten commands run, and give them up when so many were asked for and so many begun."""
    running = [asyncio.ensure_future(client.open_process("exec sleep 100")) for _ in range(10)]
    await until(lambda: len(audited("command")) == asked, "all to be asked for")
    await until(lambda: sum(task.done() for task in running) == pids, "those that start")
    for task in running:
        task.cancel()
        if task.done():
            await task.result().__aexit__(None, None, None)
    await asyncio.wait(running)


async def test_a_command_that_is_given_up_before_or_after_its_start_has_its_end_in_the_log(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def never(_: SpawnQueue) -> None:
        await asyncio.get_running_loop().create_future()

    async with tls_session(limits=WAITING) as client:
        await given_up(client, asked=10, pids=10)
        monkeypatch.setattr(SpawnQueue, "_turn", never)
        await given_up(client, asked=20, pids=0)
    ended = audited("ended")
    assert len(ended) == 20 and not unpaired()
    assert all(line["cut_short"] for line in ended)
    # Of some the log says who it was that ran, of others that nothing did.
    assert all(("pid" in line) != (line.get("started") is False) for line in ended)
    assert sum("pid" in line for line in ended) == 10


async def test_a_command_that_can_not_be_started_has_its_end_in_the_log() -> None:
    async with tls_session(limits=WAITING) as client:
        assert (await client.run(["no-such-program-anywhere"])).exit_status == 127
        await client.run("true")  # all is loaded
        with no_descriptors(), pytest.raises(ChannelRefused, match="can't start"):
            await client.run("true")
        with pytest.raises(ChannelRefused):
            await client.start_job(["no-such-program-anywhere"])
        assert (await client.run("exit 3")).exit_status == 3
    assert not unpaired()
    reasons = [line["reason"] for line in audited("ended") if line.get("started") is False]
    assert ["not found" in reasons[0], "open files" in reasons[1]] == [True, True]
    assert "not found" in audited("job-failed")[0]["reason"]


async def test_a_command_whose_shell_is_closed_has_its_end_in_the_log() -> None:
    async with tls_session(limits=WAITING) as client:
        shell = await client.open_shell()
        await shell.run("true")
        running = asyncio.ensure_future(shell.run("trap '' HUP TERM; sleep 100"))
        await noted("command", 2)
        shell.close()
        await asyncio.wait([running])
        running.exception()
        # One that waits while its shell is started anew.
        other = await client.open_shell()
        killed = asyncio.ensure_future(other.run("kill -9 $$; sleep 100"))
        await noted("command", 3)
        other.close()
        await asyncio.wait([killed])
        killed.exception()
    assert not unpaired()
    # Which of the two shells is gone first is theirs to decide.
    first, *others = audited("ended")
    cut = next(line for line in others if line["channel"] == first["channel"])
    assert "cut_short" not in first and cut["cut_short"] is True
    assert cut["signal"] in ("SIGHUP", "SIGKILL")
