"""Jobs: whose, how many, for how long; one from start to end; and questions on a real server."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

import rshell
from rshell import ChannelRefused, ExitStatus, JobInfo
from rshell.aio import timeout
from rshell.client.client import Client
from rshell.execution.spawn import Command
from rshell.protocol.codec import Json
from tests.support.desk import BRIEF, desk
from tests.support.processes import descriptors, gone, is_running
from tests.support.session import tls_session

DEADLINE = 20.0
STUBBORN = "trap '' TERM HUP; echo $$; while :; do sleep 0.05; done"


async def test_nothing_is_on_the_disk_before_the_first_question(tmp_path: Path) -> None:
    async with desk(tmp_path / "jobs") as own:
        assert not (tmp_path / "jobs").exists()
        assert own.jobs.list("me") == []
        assert (tmp_path / "jobs").exists()


async def test_jobs_are_listed_by_age_and_belong_to_one_identity(tmp_path: Path) -> None:
    async with timeout(DEADLINE), desk(tmp_path / "jobs") as own:
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


async def test_a_name_is_one_running_jobs_and_free_when_that_has_ended(tmp_path: Path) -> None:
    async with timeout(DEADLINE), desk(tmp_path / "jobs") as own:
        await own.start("echo first; exec sleep 100", "a")
        await own.until_output("a", b"first\n")
        with pytest.raises(ChannelRefused, match="there is a job 'a' already, and it runs"):
            await own.start("echo second", "a")
        await own.running("a").end("kill")
        with pytest.raises(ChannelRefused, match="can't be started"):
            nothing = Command(("/no/such/program",), None, {})
            await own.jobs.start(
                "me", nothing, shown="x", name="a", merge_stderr=False, audit=lambda *_: None
            )
        assert own.read("a") == b"first\n"  # kept until another one really runs
        reader = own.jobs.read_log("me", "a")
        assert reader.read() == (1, b"first\n", 0)
        tries = [own.start("echo second", "a") for _ in range(2)]
        second, third = await asyncio.gather(*tries, return_exceptions=True)
        assert second == "a" and isinstance(third, ChannelRefused)
        await own.ended("a")
        assert own.read("a") == b"second\n"
        assert reader.read() is None  # it stays with the job that it was opened for
        reader.close()
        assert [info.command for info in own.jobs.list("me")] == ["echo second"]


async def test_a_job_whose_record_could_not_be_written_does_not_block_its_name(
    tmp_path: Path,
) -> None:
    async with timeout(DEADLINE):
        async with desk(tmp_path / "jobs") as own:
            await own.ended(await own.start("echo first", "a"))
        [record] = (tmp_path / "jobs").rglob("job.json")
        record.unlink()  # as on a full disk
        async with desk(tmp_path / "jobs") as own:
            assert own.jobs.list("me") == []
            await own.ended(await own.start("echo second", "a"))
            assert own.read("a") == b"second\n"


async def test_so_many_run_for_each_identity(tmp_path: Path) -> None:
    limits = replace(BRIEF, jobs_running=2)
    async with timeout(DEADLINE), desk(tmp_path / "jobs", limits) as own:
        tries = [own.start("exec sleep 100") for _ in range(4)]
        results = await asyncio.gather(*tries, return_exceptions=True)
        refused = [result for result in results if isinstance(result, ChannelRefused)]
        assert [error.code for error in refused] == ["busy", "busy"]
        await own.start("true", identity="other")
        await own.running(own.jobs.list("me")[0].name).end("kill")
        await own.start("true")


async def test_so_many_are_kept_and_the_oldest_go(tmp_path: Path) -> None:
    limits = replace(BRIEF, jobs_kept=3)
    async with timeout(DEADLINE), desk(tmp_path / "jobs", limits) as own:
        await own.start("exec sleep 100", "runs")
        for number in range(6):
            await own.running(await own.start("true", f"n{number}")).wait()
        assert [info.name for info in own.jobs.list("me")] == ["runs", "n3", "n4", "n5"]
        left = {path.parent.name for path in (tmp_path / "jobs").rglob("job.json")}
        assert left == {"runs", "n3", "n4", "n5"}


async def test_old_ones_go_and_a_clock_that_jumps_takes_none(tmp_path: Path) -> None:
    names = ("old", "young")
    async with timeout(DEADLINE), desk(tmp_path / "jobs") as own:
        for name in names:
            await own.ended(await own.start("true", name))
    [record] = (tmp_path / "jobs").rglob("old/job.json")
    values = json.loads(record.read_text())
    record.write_text(json.dumps(values | {"ended": values["ended"] - 15 * 86400}))
    limits = replace(BRIEF, job_age=14 * 86400.0)
    clock = {"time": time.time(), "monotonic": time.monotonic()}
    with pytest.MonkeyPatch.context() as patch:
        for name in clock:
            patch.setattr(f"rshell.channels.job.jobs.time.{name}", partial(clock.__getitem__, name))

        def passes(seconds: float, *, jump: float = 0.0) -> list[str]:
            clock["time"] += seconds + jump
            clock["monotonic"] += seconds
            return [info.name for info in own.jobs.list("me")]

        async with desk(tmp_path / "jobs", limits) as own:
            assert sorted(passes(0)) == ["old", "young"]  # the clock may be wrong
            assert sorted(passes(3600, jump=10 * 365 * 86400)) == ["old", "young"]
            assert sorted(passes(3600, jump=-10 * 365 * 86400)) == ["old", "young"]
            assert passes(86400) == ["young"]
    assert not record.parent.exists()


async def test_jobs_of_a_wrong_clock_do_not_push_out_the_new_ones(tmp_path: Path) -> None:
    async with timeout(DEADLINE), desk(tmp_path / "jobs") as own:
        for name in ("a", "b"):
            await own.ended(await own.start("true", name))
    for record in (tmp_path / "jobs").rglob("job.json"):
        values = json.loads(record.read_text())
        record.write_text(json.dumps(values | {"ended": values["ended"] + 10 * 365 * 86400}))
    limits = replace(BRIEF, jobs_kept=2)
    async with timeout(DEADLINE), desk(tmp_path / "jobs", limits) as own:
        for name in ("c", "d"):
            await own.ended(await own.start("true", name))
        assert sorted(info.name for info in own.jobs.list("me")) == ["c", "d"]


async def test_closing_ends_all_and_the_next_server_knows_how(tmp_path: Path) -> None:
    async with timeout(DEADLINE):
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


async def test_what_cannot_start_leaves_nothing(tmp_path: Path) -> None:
    async with desk(tmp_path / "jobs") as own:
        for command, message in (
            (Command(("/no/such/program",), None, {}), "No such file"),
            (Command(("/bin/sh",), "/no/such/directory", {}), "can't enter"),
        ):
            with pytest.raises(ChannelRefused, match=message):
                await own.jobs.start(
                    "me", command, shown="x", name="x", merge_stderr=False, audit=lambda *_: None
                )
            assert own.jobs.list("me") == []
            assert not list((tmp_path / "jobs").rglob("x"))


async def test_a_start_that_is_cancelled_in_the_queue_leaves_nothing(tmp_path: Path) -> None:
    async with timeout(DEADLINE), desk(tmp_path / "jobs") as own:
        tasks = [asyncio.create_task(own.start("exec sleep 100", f"n{n}")) for n in range(3)]
        await asyncio.sleep(0)  # the first has had its turn; the others wait for theirs
        tasks[2].cancel()
        with pytest.raises(asyncio.CancelledError):
            await tasks[2]
        assert [await task for task in tasks[:2]] == ["n0", "n1"]
        assert [info.name for info in own.jobs.list("me")] == ["n0", "n1"]
        await own.start("true", "n2")
        assert all(isinstance(info, JobInfo) for info in own.jobs.list("me"))


# One job.


async def test_how_it_ended_is_known(tmp_path: Path) -> None:
    async with timeout(DEADLINE), desk(tmp_path / "jobs") as own:
        for script, state, status in (
            ("exit 7", "exited", 7),
            ("true", "exited", 0),
            ("kill -KILL $$", "signaled", 137),
        ):
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
    async with timeout(DEADLINE), desk(tmp_path / "jobs") as own:
        gate = tmp_path / "gate"
        name = await own.start(f"echo 1; until [ -e {gate} ]; do sleep 0.01; done; echo 2 >&2")
        await own.until_output(name, b"1\n")
        assert own.running(name).info.stdout == 2
        gate.touch()
        info = await own.running(name).wait()
        assert own.read(name) == b"1\n2\n"
        assert info.duration is not None and info.duration > 0


async def test_an_end_is_asked_for_politely_and_then_by_force(tmp_path: Path) -> None:
    async with timeout(DEADLINE), desk(tmp_path / "jobs") as own:
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
    async with timeout(DEADLINE), desk(tmp_path / "jobs") as own:
        job = own.running(await own.start("exit 3"))
        await job.wait()
        await job.end("kill")
        assert job.info.ended_by == ""


async def test_cancelling_a_waiter_changes_nothing(tmp_path: Path) -> None:
    async with timeout(DEADLINE), desk(tmp_path / "jobs") as own:
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
    async with timeout(DEADLINE), desk(tmp_path / "jobs") as own:
        job = own.running(await own.start("sleep 100 & echo $!"))
        info = await job.wait()
        assert info.held_open and info.state == "exited"

        os.kill(int(own.read(info.name)), signal.SIGKILL)


# On a server.


async def ask(client: Client, request: Json) -> list[Json]:
    """Return the messages that answer a request."""
    messages = []
    async with client.open_channel("job", request) as channel:
        while (message := await channel.receive_message()) is not None:
            messages.append(message)
    return messages


async def test_requests_that_are_refused(tmp_path: Path) -> None:
    async with tls_session() as client:
        for request, code in (
            ({}, "bad-request"),
            ({"verb": "dance"}, "bad-request"),
            ({"verb": "start"}, "bad-request"),
            ({"verb": "start", "command": "true", "name": "../../x"}, "bad-request"),
            ({"verb": "logs", "name": "a/b"}, "bad-request"),
            ({"verb": "wait", "name": ".."}, "bad-request"),
            ({"verb": "wait", "name": "none"}, "unknown-job"),
            ({"verb": "kill", "name": "none"}, "unknown-job"),
            ({"verb": "logs", "name": "none"}, "unknown-job"),
            ({"verb": "start", "argv": ["/no/such"]}, "failed"),
            ({"verb": "start", "command": "true", "cwd": "/no/such"}, "failed"),
        ):
            with pytest.raises(ChannelRefused) as caught:
                await ask(client, request)
            assert caught.value.code == code, request
            assert await client.jobs() == []
            assert not list(tmp_path.rglob("job.json"))


async def test_a_server_without_a_state_directory_keeps_no_jobs() -> None:
    async with rshell.connect(local=True) as client:
        with pytest.raises(ChannelRefused, match="jobs end with their server"):
            await client.start_job("true")


async def test_what_is_started_has_the_servers_environment_and_no_stdin(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    async with tls_session(cwd=tmp_path) as client:
        script = 'cat; echo "$PWD $A ${HOME:+home}" >&2'
        name = await client.start_job(script, cwd="sub", env={"A": "1"}, merge_stderr=True)
        await client.wait_job(name)
        found = [piece async for piece in client.job_logs(name)]
        assert found == [(1, f"{tmp_path}/sub 1 home\n".encode())]
        name = await client.start_job(["/usr/bin/env"], env={"A": "1"}, clear_env=True)
        await client.wait_job(name)
        assert [piece async for piece in client.job_logs(name)] == [(1, b"A=1\n")]


async def test_a_job_outlives_its_session_and_every_session_sees_it() -> None:
    async with (
        timeout(30),
        rshell.serve("127.0.0.1", 0, limits=BRIEF) as server,
    ):
        async with rshell.connect(server.addresses[0]) as client:
            name = await client.start_job("echo up; exec sleep 100")
        async with rshell.connect(server.addresses[0]) as client:
            async with client.job_logs(name, follow=True) as logs:
                assert await logs.__anext__() == (1, b"up\n")
            [info] = await client.jobs()
            assert info.state == "running"
            assert (await client.kill_job(name)).ended_by == "kill"


async def test_a_kill_goes_on_without_its_asker() -> None:
    stubborn = "trap '' TERM HUP; echo up; while :; do sleep 0.05; done"
    async with tls_session(limits=BRIEF) as client:
        name = await client.start_job(stubborn)
        async with client.job_logs(name, follow=True) as logs:
            assert await logs.__anext__() == (1, b"up\n")
        async with client.open_channel("job", {"verb": "kill", "name": name}) as channel:
            channel.reset("cancelled", "the asker has gone")
        assert (await client.wait_job(name)).shell_status == 137


async def test_start_end_and_kill_are_in_the_audit_log(tmp_path: Path) -> None:
    async with tls_session(limits=BRIEF) as client:
        await client.start_job("exec sleep 100", name="nap")
        await client.kill_job("nap")
    [log] = tmp_path.rglob("audit.jsonl")
    records = [json.loads(line) for line in log.read_text().splitlines()]
    ours = {record["event"]: record for record in records if record.get("job") == "nap"}
    assert set(ours) == {"job-started", "job-killed", "job-ended"}
    assert all(record["identity"] == "local" and record["session"] for record in ours.values())
    assert ours["job-started"]["argv"][1:] == ["-c", "exec sleep 100"]
    ended = ours["job-ended"]
    assert (ended["signal"], ended["ended_by"], ended["stdout"]) == ("SIGTERM", "kill", 0)


async def test_readers_that_leave_hold_nothing() -> None:
    async with tls_session(limits=replace(BRIEF, job_log=200_000)) as client:
        await client.start_job("exec yes", name="flood")
        counts = []
        for _ in range(5):
            async with client.job_logs("flood", follow=True) as logs:
                for _ in range(20):
                    await logs.__anext__()
            async with client.job_logs("flood") as logs:
                assert sum([len(data) async for _, data in logs]) <= 200_000
            counts.append(descriptors())
        await client.kill_job("flood")
        assert counts == counts[:1] * 5


async def test_a_log_of_two_floods_is_bounded_and_adds_up() -> None:
    limits = replace(BRIEF, job_log=100_000)
    script = "head -c 3000000 /dev/zero; head -c 1000000 /dev/zero >&2; echo end"
    async with tls_session(limits=limits) as client:
        name = await client.start_job(script)
        await client.wait_job(name)
        kept = {1: b"", 2: b""}
        async with client.job_logs(name) as logs:
            async for stream, data in logs:
                kept[stream] += data
        # What lies in both pipes at the end has no order between the two.
        assert kept[1].endswith(b"\0end\n")
        counts = {stream: len(data) for stream, data in kept.items()}
        assert all(0 < count <= 100_000 for count in counts.values())
        assert {s: counts[s] + logs.dropped[s] for s in counts} == {1: 3_000_004, 2: 1_000_000}
        assert logs.info is not None
        assert (logs.info.stdout, logs.info.stderr) == (3_000_004, 1_000_000)
