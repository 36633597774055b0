"""One job from start to end: how it ends, what is kept, and who may wait."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from rshell import ExitStatus
from tests.support.desk import desk
from tests.support.processes import gone, is_running

DEADLINE = 20.0
STUBBORN = "trap '' TERM HUP; echo $$; while :; do sleep 0.05; done"


@pytest.mark.parametrize(
    ("script", "state", "status"),
    [
        ("exit 7", "exited", 7),
        ("true", "exited", 0),
        ("kill -KILL $$", "signaled", 137),
    ],
)
async def test_how_it_ended_is_known(tmp_path: Path, script: str, state: str, status: int) -> None:
    async with asyncio.timeout(DEADLINE), desk(tmp_path / "jobs") as own:
        job = own.running(await own.start(f"echo out; echo err >&2; {script}"))
        assert (job.info.state, job.info.status) == ("running", None)
        info = await job.wait()
        assert info == job.info == own.jobs.find("me", info.name)
        assert info.status is not None and info.status.shell_status == status
        assert (info.state, info.stdout, info.stderr, info.ended_by) == (state, 4, 4, "")
        assert info.ended is not None and info.duration is not None
        assert sorted(own.read(info.name).split()) == [b"err", b"out"]
        await job.wait_change()  # at once, now that it is over


async def test_output_is_kept_in_order_and_told_of_as_it_comes(tmp_path: Path) -> None:
    async with asyncio.timeout(DEADLINE), desk(tmp_path / "jobs") as own:
        gate = tmp_path / "gate"
        name = await own.start(f"echo 1; until [ -e {gate} ]; do sleep 0.01; done; echo 2 >&2")
        await own.until_output(name, b"1\n")
        assert own.running(name).info.stdout == 2
        gate.touch()
        info = await own.running(name).wait()
        assert own.read(name) == b"1\n2\n"
        assert info.duration is not None and info.duration > 0


async def test_an_end_is_asked_for_politely_and_then_by_force(tmp_path: Path) -> None:
    async with asyncio.timeout(DEADLINE), desk(tmp_path / "jobs") as own:
        name = await own.start(STUBBORN)
        await own.until_output(name, b"\n")
        pid = int(own.read(name))
        job = own.running(name)
        waiters = [asyncio.create_task(job.wait()) for _ in range(3)]
        await asyncio.gather(job.end("kill"), job.end("again"))
        for waiter in waiters:
            info = await waiter
            assert info.status == ExitStatus(signal="SIGKILL", signal_number=9)
            assert info.ended_by == "kill"
        await gone(pid)


async def test_an_end_that_nobody_asked_for_is_its_own(tmp_path: Path) -> None:
    async with asyncio.timeout(DEADLINE), desk(tmp_path / "jobs") as own:
        job = own.running(await own.start("exit 3"))
        await job.wait()
        await job.end("kill")
        assert job.info.ended_by == ""


async def test_cancelling_a_waiter_changes_nothing(tmp_path: Path) -> None:
    async with asyncio.timeout(DEADLINE), desk(tmp_path / "jobs") as own:
        name = await own.start("echo $$; exec sleep 100")
        await own.until_output(name, b"\n")
        job = own.running(name)
        first, second = asyncio.create_task(job.wait()), asyncio.create_task(job.wait())
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert is_running(int(own.read(name))) and not second.done()
        await job.end("kill")
        assert (await second).state == "signaled"


async def test_a_background_child_does_not_hold_up_the_end(tmp_path: Path) -> None:
    async with asyncio.timeout(DEADLINE), desk(tmp_path / "jobs") as own:
        job = own.running(await own.start("sleep 100 & echo $!"))
        info = await job.wait()
        assert info.held_open and info.state == "exited"

        os.kill(int(own.read(info.name)), signal.SIGKILL)
