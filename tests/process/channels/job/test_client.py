"""The client's side of jobs: answers that are checked, whoever gives them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from rshell import ChannelReset, ExitStatus, JobInfo, JobLost
from rshell.channels.base import Context
from rshell.channels.job.messages import encode_dropped, encode_output
from rshell.channels.process.messages import STDOUT
from rshell.client.client import Client
from rshell.errors import LocalProtocolError, RemoteProtocolError
from rshell.protocol.codec import Json
from rshell.transport.channel import Channel
from tests.support.session import tls_session
from tests.unit.channels.job.test_messages import BAD_NAMES

DONE = JobInfo("a", "true", 1.0, "exited", ExitStatus(code=0), 2.0, 1.0, 3, 0).encode()
LOST = JobInfo("a", "true", 1.0, "lost", ended=2.0).encode()


def answering(
    *messages: Json, data: bytes = b"", reply: Json | None = None
) -> Callable[[Channel, Context], Awaitable[None]]:
    """Return a handler that says this whatever it is asked."""

    async def serve(channel: Channel, context: Context) -> None:
        channel.accept(reply)
        if data:
            await channel.write(data)
        for message in messages:
            channel.send_message(message)
        channel.close()

    return serve


async def test_no_bad_name_leaves_here() -> None:
    async with tls_session(handlers={}) as client:
        for name in BAD_NAMES:
            with pytest.raises(LocalProtocolError, match="not a job's name"):
                await client.start_job("true", name=name)
            with pytest.raises(LocalProtocolError, match="not a job's name"):
                await client.wait_job(name)
            with pytest.raises(LocalProtocolError, match="not a job's name"):
                await client.kill_job(name)
            with pytest.raises(LocalProtocolError, match="not a job's name"):
                client.job_logs(name)


async def test_a_whole_life() -> None:
    async with tls_session() as client:
        name = await client.start_job("echo a; echo b >&2; exit 7")
        assert await client.wait_job(name) == ExitStatus(code=7)
        logs = client.job_logs(name, follow=True)
        found = [piece async for piece in logs]
        assert sorted(found) == [(1, b"a\n"), (2, b"b\n")]
        assert logs.dropped == {1: 0, 2: 0} and logs.info == (await client.jobs())[0]
        assert await client.kill_job(name) == logs.info  # harmless
        with pytest.raises(StopAsyncIteration):
            await logs.__anext__()


async def test_a_lost_job_has_no_status() -> None:
    async with tls_session(handlers={"job": answering(LOST)}) as client:
        with pytest.raises(JobLost, match="not known") as caught:
            await client.wait_job("a")
        assert caught.value.name == "a"
        assert (await client.kill_job("a")).state == "lost"


@pytest.mark.parametrize("reply", [{}, {"name": 7}, {"name": "../x"}, {"name": "\x1b[31m"}])
async def test_a_start_without_a_good_name_is_an_error(reply: Json) -> None:
    async with tls_session(handlers={"job": answering(reply=reply)}) as client:
        with pytest.raises(RemoteProtocolError, match="the reply needs 'name'"):
            await client.start_job("true")


@pytest.mark.parametrize(
    "messages",
    [(), (DONE,), (DONE, {"type": "end", "jobs": 2}), ({"type": "end"},), ({"type": "odd"},)],
)
async def test_a_list_that_stops_short_is_an_error(messages: tuple[Json, ...]) -> None:
    async with tls_session(handlers={"job": answering(*messages)}) as client:
        with pytest.raises(RemoteProtocolError):
            await client.jobs()


async def test_a_wait_without_an_answer_is_an_error() -> None:
    async with tls_session(handlers={"job": answering()}) as client:
        with pytest.raises(RemoteProtocolError, match="without an answer"):
            await client.wait_job("a")


RECORD = encode_output(STDOUT, b"abc")


@pytest.mark.parametrize(
    ("data", "messages"),
    [
        (RECORD, ()),
        (RECORD, ({"type": "end", "bytes": len(RECORD) + 1, "job": DONE},)),
        (RECORD[:-1], ({"type": "end", "bytes": len(RECORD) - 1, "job": DONE},)),
        (RECORD, ({"type": "end", "bytes": len(RECORD)},)),
        (RECORD, ({"type": "exit", "bytes": len(RECORD), "job": DONE},)),
        (b"\0" * 9, ({"type": "end", "bytes": 9, "job": DONE},)),
    ],
)
async def test_a_log_that_stops_short_is_an_error(data: bytes, messages: tuple[Json, ...]) -> None:
    async with tls_session(handlers={"job": answering(*messages, data=data)}) as client:
        with pytest.raises(RemoteProtocolError):
            async for _ in client.job_logs("a"):
                pass


async def test_what_was_dropped_is_known_where_it_is_missing() -> None:
    data = encode_dropped(1, 5) + RECORD + encode_output(2, b"x") + encode_dropped(1, 6)
    end = {"type": "end", "bytes": len(data), "job": DONE}
    async with tls_session(handlers={"job": answering(end, data=data)}) as client:
        logs = client.job_logs("a")
        seen = [(stream, piece, logs.dropped[1]) async for stream, piece in logs]
        assert seen == [(1, b"abc", 5), (2, b"x", 5)]
        assert logs.dropped == {1: 11, 2: 0}


async def test_a_server_that_gives_up_is_heard() -> None:
    async def serve(channel: Channel, context: Context) -> None:
        channel.accept()
        await channel.write(RECORD)
        channel.reset("failed", "the disk has gone")

    async with tls_session(handlers={"job": serve}) as client:
        with pytest.raises(ChannelReset, match="the disk has gone"):
            async for _ in client.job_logs("a"):
                pass


async def test_cancelling_a_step_loses_nothing() -> None:
    async with tls_session() as client:
        name = await client.start_job("echo up; read x < /dev/null; exec sleep 100")
        async with client.job_logs(name, follow=True) as logs:
            assert await logs.__anext__() == (1, b"up\n")
            step = asyncio.ensure_future(logs.__anext__())
            await asyncio.sleep(0)
            step.cancel()
            with pytest.raises(asyncio.CancelledError):
                await step
            await _kill(client, name)
            with pytest.raises(StopAsyncIteration):
                await logs.__anext__()
            assert logs.info is not None and logs.info.state == "signaled"


async def _kill(client: Client, name: str) -> None:
    info = await client.kill_job(name)
    assert info.status is not None and info.status.shell_status == 143
