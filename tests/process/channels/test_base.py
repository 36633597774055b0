"""Which kinds a server has, and what a handler of one's own is given."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

import rshell
from rshell import ChannelRefused
from rshell.aio import timeout
from rshell.channels.base import Context
from rshell.channels.process.messages import STDERR, STDIN, STDOUT
from rshell.execution.spawn import SpawnQueue
from rshell.security.files import private_directory
from rshell.transport.channel import Channel
from rshell.values import Bounds
from tests.support.session import DEADLINE, tls_session


def test_the_numbers_of_streams_are_those_of_descriptors() -> None:
    assert (STDIN, STDOUT, STDERR) == (0, 1, 2)


async def test_a_handler_is_told_who_asks_and_what_the_server_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INHERITED", "from the server")
    limits = Bounds(channels=7)
    contexts: list[Context] = []

    async def serve(channel: Channel, context: Context) -> None:
        contexts.append(context)
        channel.accept({"request": channel.request})

    async with (
        tls_session(limits=limits, handlers={"own": serve}, cwd=tmp_path) as client,
        client.open_channel("own", {"key": ["value"]}) as channel,
    ):
        assert channel.reply == {"request": {"key": ["value"]}}
        [context] = contexts
        assert (context.identity, context.limits, context.cwd) == (
            "local",
            limits,
            str(tmp_path),
        )
        assert context.session
        assert context.environment == dict(os.environ)
        assert isinstance(context.spawner, SpawnQueue)


async def test_what_a_handler_audits_is_one_line_with_its_identity(tmp_path: Path) -> None:
    async def serve(channel: Channel, context: Context) -> None:
        context.audit("own-event", {"text": 'a\nb\x1b[31m"\u202e'})

    async with tls_session(handlers={"own": serve}) as client:
        with pytest.raises(Exception, match="did not answer"):
            await client.open_channel("own")
    [log] = tmp_path.rglob("audit.jsonl")
    lines = log.read_text(encoding="ascii").splitlines()
    [record] = [found for line in lines if (found := json.loads(line))["event"] == "own-event"]
    assert record["identity"] == "local"
    assert record["session"]
    assert record["text"] == 'a\nb\x1b[31m"\u202e'


async def test_the_server_waits_for_what_a_handler_left_to_clean_up() -> None:
    steps: list[str] = []
    may_end = asyncio.Event()

    async def clean_up() -> None:
        steps.append("begun")
        await may_end.wait()
        for _ in range(20):
            await asyncio.sleep(0)
        steps.append("ended")

    async def serve(channel: Channel, context: Context) -> None:
        channel.accept()
        try:
            await channel.wait_closed()
        finally:
            context.clean_up(clean_up())

    async with tls_session(handlers={"own": serve}) as client:
        await client.open_channel("own")
        await client.close()
        asyncio.get_running_loop().call_soon(may_end.set)
    assert steps == ["begun", "ended"]


async def test_a_clean_up_that_fails_is_logged_and_stops_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail() -> None:
        raise KeyError("a bug")

    async def serve(channel: Channel, context: Context) -> None:
        context.clean_up(fail())
        channel.accept()

    async with (
        tls_session(handlers={"own": serve}) as client,
        client.open_channel("own") as channel,
    ):
        await channel.wait_closed()
    assert [record.levelname for record in caplog.records] == ["ERROR"]


async def test_a_stopping_server_waits_for_what_a_handler_notes_as_work(tmp_path: Path) -> None:
    async def serve(channel: Channel, context: Context) -> None:
        with context.working(channel):
            channel.accept()
            assert await channel.read() == b"the rest"

    path = private_directory(tmp_path / "u") / "s"
    async with (
        timeout(DEADLINE),
        rshell.serve(None, unix=path, handlers={"own": serve}) as server,
        rshell.connect(f"unix:{path}", limits=Bounds(ack_seconds=0.05)) as client,
        client.open_channel("own") as channel,
    ):
        draining = asyncio.ensure_future(server.drain())
        notice = await channel.receive_message()
        assert notice is not None and notice["type"] == "notice"
        assert not draining.done() and server.commands == 1
        await channel.write(b"the rest")
        channel.send_eof()
        await draining
        assert server.sessions == 0


async def test_a_server_offers_what_runs_commands_and_refuses_the_rest_by_name() -> None:
    async with tls_session() as client:
        assert (await client.run("echo hi")).stdout == b"hi\n"
        async with client.open_shell() as shell:
            assert (await shell.run("echo hi")).stdout == b"hi\n"
        for kind in ("forward", "", "Process", "serve", "x" * 100, "\x1b[31m"):
            with pytest.raises(
                ChannelRefused, match="files, job, process, sessions, shell"
            ) as caught:
                await client.open_channel(kind)
            assert caught.value.code == "unknown-kind"


async def test_kinds_of_ones_own_come_instead_of_those_or_beside_and_before_them() -> None:
    async def own(channel: Channel, context: Context) -> None:
        channel.accept({"kind": channel.kind})

    async with tls_session(handlers={}) as client:
        with pytest.raises(ChannelRefused, match="there are none"):
            await client.run("echo hi")
    async with tls_session(handlers={"own": own, "job": own}, commands=True) as client:
        assert (await client.run("echo hi")).stdout == b"hi\n"
        for kind in ("own", "job"):
            async with client.open_channel(kind) as channel:
                assert channel.reply == {"kind": kind}
