"""The audit log has each command in pairs: what was asked, and how that ended."""

from __future__ import annotations

import asyncio

import pytest

from rshell.errors import ChannelRefused
from rshell.values import Bounds
from tests.support.audit import audited, noted, unpaired
from tests.support.execution import no_descriptors, until
from tests.support.session import tls_session

WAITING = Bounds(kill_grace=0.2)


async def test_a_command_that_is_given_up_at_any_moment_has_its_end_in_the_log() -> None:
    async with tls_session(limits=WAITING) as client:
        running = [asyncio.ensure_future(client.run("exec sleep 100")) for _ in range(60)]
        await until(lambda: len(audited("command")) == 60, "all to be asked for")
        for task in running:  # some have started by now, most wait for their turn
            task.cancel()
        await asyncio.wait(running)
    ended = audited("ended")
    assert len(ended) == 60 and not unpaired()
    assert all(line["cut_short"] for line in ended)
    # Of some the log says who it was that ran, of others that nothing did.
    assert all(("pid" in line) != (line.get("started") is False) for line in ended)
    assert {"pid" in line for line in ended} == {True, False}


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
    assert [line.get("cut_short") for line in audited("ended")][:2] == [None, True]
    assert audited("ended")[1]["signal"] in ("SIGHUP", "SIGKILL")
