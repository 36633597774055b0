"""Whose jobs, how many, for how long, and what a next server makes of them."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from rshell import ChannelRefused, JobInfo
from rshell.channels.job.running_job import RunningJob
from rshell.execution.spawn import Command
from tests.support.desk import BRIEF, desk

DEADLINE = 20.0


async def test_nothing_is_on_the_disk_before_the_first_question(tmp_path: Path) -> None:
    async with desk(tmp_path / "jobs") as own:
        assert not (tmp_path / "jobs").exists()
        assert own.jobs.list("me") == []
        assert (tmp_path / "jobs").exists()


async def test_jobs_are_listed_by_age_and_belong_to_one_identity(tmp_path: Path) -> None:
    async with asyncio.timeout(DEADLINE), desk(tmp_path / "jobs") as own:
        for name in ("b", "a", "c"):
            await own.start("exec sleep 100", name)
        await own.start("echo theirs", "a", identity="other")
        assert [info.name for info in own.jobs.list("me")] == ["b", "a", "c"]
        [theirs] = own.jobs.list("other")
        assert theirs.command == "echo theirs"
        assert own.jobs.list("third") == []
        words = []
        for identity, name in (("other", "b"), ("third", "a"), ("me", "none")):
            with pytest.raises(ChannelRefused) as caught:
                own.jobs.find(identity, name)
            assert caught.value.code == "unknown-job"
            words.append(str(caught.value).replace(repr(name), "NAME"))
        assert len(set(words)) == 1


async def test_a_name_is_taken_once(tmp_path: Path) -> None:
    async with asyncio.timeout(DEADLINE), desk(tmp_path / "jobs") as own:
        await own.start("echo first", "a")
        with pytest.raises(ChannelRefused, match="there is a job 'a' already"):
            await own.start("echo second", "a")
        job = own.jobs.find("me", "a")
        if isinstance(job, RunningJob):
            await job.wait()
        assert own.read("a") == b"first\n"


async def test_so_many_run_for_each_identity(tmp_path: Path) -> None:
    limits = replace(BRIEF, jobs_running=2)
    async with asyncio.timeout(DEADLINE), desk(tmp_path / "jobs", limits) as own:
        tries = [own.start("exec sleep 100") for _ in range(4)]
        results = await asyncio.gather(*tries, return_exceptions=True)
        refused = [result for result in results if isinstance(result, ChannelRefused)]
        assert [error.code for error in refused] == ["busy", "busy"]
        await own.start("true", identity="other")
        await own.running(own.jobs.list("me")[0].name).end("kill")
        await own.start("true")


async def test_so_many_are_kept_and_the_oldest_go(tmp_path: Path) -> None:
    limits = replace(BRIEF, jobs_kept=3)
    async with asyncio.timeout(DEADLINE), desk(tmp_path / "jobs", limits) as own:
        await own.start("exec sleep 100", "runs")
        for number in range(6):
            await own.running(await own.start("true", f"n{number}")).wait()
        assert [info.name for info in own.jobs.list("me")] == ["runs", "n3", "n4", "n5"]
        left = {path.parent.name for path in (tmp_path / "jobs").rglob("job.json")}
        assert left == {"runs", "n3", "n4", "n5"}


async def test_old_ones_go(tmp_path: Path) -> None:
    async with asyncio.timeout(DEADLINE), desk(tmp_path / "jobs") as own:
        for name in ("old", "young"):
            await own.running(await own.start("true", name)).wait()
    [record] = (tmp_path / "jobs").rglob("old/job.json")
    values = json.loads(record.read_text())
    record.write_text(json.dumps(values | {"ended": values["ended"] - 15 * 86400}))
    async with desk(tmp_path / "jobs") as own:
        assert [info.name for info in own.jobs.list("me")] == ["young"]
    assert not record.parent.exists()


async def test_closing_ends_all_and_the_next_server_knows_how(tmp_path: Path) -> None:
    async with asyncio.timeout(DEADLINE):
        async with desk(tmp_path / "jobs") as own:
            for name in ("a", "b"):
                await own.start("echo $0; exec sleep 100", name)
                await own.until_output(name, b"\n")
        with pytest.raises(ChannelRefused, match="shutting down"):
            await own.start("true")
        assert {event for event, _ in own.audited} == {"job-started", "job-ended"}
        async with desk(tmp_path / "jobs") as own:
            for info in own.jobs.list("me"):
                assert (info.state, info.ended_by) == ("signaled", "shutdown")
                assert own.jobs.find("me", info.name) == info
                assert own.read(info.name) == b"/bin/sh\n"


async def test_two_servers_do_not_share_a_directory(tmp_path: Path) -> None:
    async with desk(tmp_path / "jobs") as own, desk(tmp_path / "jobs") as other:
        assert own.jobs.list("me") == []
        with pytest.raises(ChannelRefused, match="another server keeps its jobs") as caught:
            other.jobs.list("me")
        assert caught.value.code == "failed"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (Command(("/no/such/program",), None, {}), "No such file"),
        (Command(("/bin/sh",), "/no/such/directory", {}), "can't enter"),
    ],
)
async def test_what_cannot_start_leaves_nothing(
    tmp_path: Path, command: Command, message: str
) -> None:
    async with desk(tmp_path / "jobs") as own:
        with pytest.raises(ChannelRefused, match=message):
            await own.jobs.start(
                "me", command, shown="x", name="x", merge_stderr=False, audit=lambda *_: None
            )
        assert own.jobs.list("me") == []
        assert not list((tmp_path / "jobs").rglob("x"))


async def test_a_start_that_is_cancelled_in_the_queue_leaves_nothing(tmp_path: Path) -> None:
    async with asyncio.timeout(DEADLINE), desk(tmp_path / "jobs") as own:
        tasks = [asyncio.create_task(own.start("exec sleep 100", f"n{n}")) for n in range(3)]
        await asyncio.sleep(0)  # the first has had its turn; the others wait for theirs
        tasks[2].cancel()
        with pytest.raises(asyncio.CancelledError):
            await tasks[2]
        assert [await task for task in tasks[:2]] == ["n0", "n1"]
        assert [info.name for info in own.jobs.list("me")] == ["n0", "n1"]
        await own.start("true", "n2")
        assert all(isinstance(info, JobInfo) for info in own.jobs.list("me"))
