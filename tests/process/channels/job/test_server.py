"""Questions about jobs on a real server over TLS, sensible and not."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

import rshell
from rshell import ChannelRefused
from rshell.client.client import Client
from rshell.protocol.codec import Json
from tests.support.desk import BRIEF
from tests.support.processes import descriptors
from tests.support.session import tls_session


async def ask(client: Client, request: Json) -> list[Json]:
    """Return the messages that answer a request."""
    messages = []
    async with client.open_channel("job", request) as channel:
        while (message := await channel.receive_message()) is not None:
            messages.append(message)
    return messages


@pytest.mark.parametrize(
    ("request_", "code"),
    [
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
    ],
)
async def test_requests_that_are_refused(request_: Json, code: str, tmp_path: Path) -> None:
    async with tls_session() as client:
        with pytest.raises(ChannelRefused) as caught:
            await ask(client, request_)
        assert caught.value.code == code
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
        asyncio.timeout(30),
        rshell.serve("127.0.0.1", 0, limits=BRIEF) as server,
    ):
        async with rshell.connect(server.addresses[0]) as client:
            name = await client.start_job("echo up; exec sleep 100")
        async with rshell.connect(server.addresses[0]) as client:
            async with client.job_logs(name, follow=True) as logs:
                assert await anext(logs) == (1, b"up\n")
            [info] = await client.jobs()
            assert info.state == "running"
            assert (await client.kill_job(name)).ended_by == "kill"


async def test_a_kill_goes_on_without_its_asker() -> None:
    stubborn = "trap '' TERM HUP; echo up; while :; do sleep 0.05; done"
    async with tls_session(limits=BRIEF) as client:
        name = await client.start_job(stubborn)
        async with client.job_logs(name, follow=True) as logs:
            assert await anext(logs) == (1, b"up\n")
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
                    await anext(logs)
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
