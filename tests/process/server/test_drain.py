"""A server that is about to stop: who is let go, who is waited for, and for how long."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import rshell
from rshell.aio import Opening, timeout
from rshell.channels.shell.messages import ShellEnding
from rshell.client.client import Client
from rshell.errors import ChannelRefused, ConnectError, SessionClosed
from rshell.server.server import Server
from rshell.values import Bounds, TerminalSize
from tests.support.audit import noted
from tests.support.commands import until as wait_until
from tests.support.execution import await_gone
from tests.support.session import until as until_async

LONG = Bounds(drain_seconds=100.0, kill_grace=0.3, ack_seconds=0.1, witness_after=math.inf)
BRIEF = replace(LONG, drain_seconds=0.2)
DEADLINE = 60.0
WAITS = "until [ -e go ]; do sleep 0.02; done; "


@asynccontextmanager
async def serving(limits: Bounds = LONG) -> AsyncIterator[tuple[Server, Path]]:
    """Run a server on a Unix socket, whose commands start in an empty directory."""
    directory = Path(os.environ["XDG_RUNTIME_DIR"]) / "commands"
    directory.mkdir()
    async with (
        timeout(DEADLINE),
        rshell.serve(None, unix=socket_path(), limits=limits, cwd=str(directory)) as server,
    ):
        yield server, directory


def socket_path() -> Path:
    return Path(os.environ["XDG_RUNTIME_DIR"]) / "socket"


def connected(limits: Bounds = LONG) -> Opening[Client]:
    return rshell.connect(f"unix:{socket_path()}", limits=limits)


@asynccontextmanager
async def draining(server: Server) -> AsyncIterator[asyncio.Task[None]]:
    """Begin to drain, and see to the end of it."""
    task = asyncio.create_task(server.drain())
    await asyncio.sleep(0)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until_there(path: Path) -> None:
    await asyncio.to_thread(wait_until, path.exists, str(path))


async def test_a_server_where_nothing_runs_is_done_at_once() -> None:
    async with serving() as (server, _), connected() as idle, idle.open_shell() as shell:
        await shell.run("true")
        await server.drain()
        closed = await idle.wait_closed()
        assert closed is not None and (closed.code, closed.by) == ("shutdown", "remote")
        assert server.sessions == 0
        await server.drain()


async def test_a_command_that_ends_in_time_gives_its_whole_reply(tmp_path: Path) -> None:
    told: list[str] = []
    script = f"touch up; {WAITS}head -c 3000000 /dev/zero; exit 3"
    async with serving() as (server, directory), connected() as client, connected() as idle:
        async with client.open_process(script) as process:
            process.on_notice = told.append
            await until_there(directory / "up")
            async with draining(server) as task:
                await idle.wait_closed()  # without waiting for the others
                assert server.commands == 1 and not task.done()
                with pytest.raises(ChannelRefused) as refused:
                    await client.run("true")
                assert refused.value.code == "shutdown"
                (directory / "go").touch()
                assert len(await process.stdout.read()) == 3_000_000
                assert (await process.wait()).code == 3
                await task
        assert told == [
            "the server is shutting down; this command is ended in 100 s unless it ends before"
        ]
        assert isinstance(await client.wait_closed(), SessionClosed)


async def test_what_a_client_has_not_read_yet_is_waited_for() -> None:
    """The end of a command is not yet the end of its delivery.

    Eight commands write more than may be on its way at once, and each of them what has room in
    the queue of its channel.
    """
    script = f"{WAITS}head -c 450000 /dev/zero"
    async with serving() as (server, directory), connected() as client:
        processes = [await client.open_process(script) for _ in range(8)]
        transport: asyncio.Transport = getattr(client.links.link.driver.stream, "_transport")  # noqa: B009
        transport.pause_reading()
        (directory / "go").touch()
        await noted("ended", 8)
        async with draining(server) as task:
            await asyncio.wait([task], timeout=0.2)
            assert not task.done() and server.commands == 0
            transport.resume_reading()
            for process in processes:
                assert len(await process.stdout.read()) == 450_000
                assert (await process.wait()).code == 0
            await task


async def test_commands_that_wait_for_their_turn_to_start_are_told_once_they_have() -> None:
    async with serving() as (server, directory), connected() as client:
        opening = [asyncio.create_task(open_process(client, f"{WAITS}exit 8")) for _ in range(20)]
        await until_async(lambda: server.commands == 20)
        async with draining(server) as task:
            processes = await asyncio.gather(*opening)
            (directory / "go").touch()
            for process in processes:
                assert (await process.wait()).code == 8
                assert "shutting down" in process.notice
            await task


async def open_process(client: Client, command: str) -> rshell.Process[Any]:
    return await client.open_process(command)


async def test_past_the_limit_the_rest_is_for_close_to_end() -> None:
    async with serving(BRIEF) as (server, directory), connected() as client:
        running = asyncio.create_task(client.run("echo $$ > pid; mv pid up; sleep 100"))
        await until_there(directory / "up")
        await server.drain()
        assert server.commands == 1 and not client.is_closed
        await server.close()
        with pytest.raises(SessionClosed, match="shutting down"):
            await running
        await asyncio.to_thread(await_gone, int((directory / "up").read_text()))


async def test_close_and_cancelling_end_the_wait() -> None:
    async with serving() as (server, directory), connected() as client:
        running = asyncio.create_task(client.run("touch up; sleep 100"))
        await until_there(directory / "up")
        async with draining(server) as cancelled:
            await asyncio.wait([cancelled], timeout=0.1)
        assert cancelled.cancelled()
        with pytest.raises(ChannelRefused):
            await client.run("true")
        async with draining(server) as task:
            await server.close()
            await task
        with pytest.raises(SessionClosed):
            await running
        await server.drain()  # harmless


async def test_the_place_is_free_for_the_next_server_meanwhile() -> None:
    async with serving() as (server, directory), connected() as client:
        running = asyncio.create_task(client.run(f"touch up; {WAITS}echo whole"))
        await until_there(directory / "up")
        async with draining(server) as task:
            with pytest.raises(ConnectError):
                await connected()
            state = directory / "state"
            async with rshell.serve(None, unix=socket_path(), state=state) as second:
                async with connected() as other:
                    assert (await other.run("echo on")).stdout == b"on\n"
                (directory / "go").touch()
                assert (await running).stdout == b"whole\n"
                await task
                await server.close()
                async with connected() as other:
                    assert (await other.run("echo on")).stdout == b"on\n"
                assert second.commands == 0


async def test_a_command_whose_client_is_cut_off_goes_on_and_nobody_comes_back() -> None:
    async with serving() as (server, directory), connected() as client:
        running = asyncio.create_task(client.run(f"touch up; {WAITS}touch effect"))
        await until_there(directory / "up")
        async with draining(server) as task:
            client.links.link.driver.abort()
            await noted("detach")
            assert not task.done() and server.commands == 1
            (directory / "go").touch()
            await task
        assert (directory / "effect").exists() and server.sessions == 0
        await client.close()
        with pytest.raises(SessionClosed):
            await running


async def test_an_idle_session_that_waits_for_its_client_holds_nothing_up() -> None:
    async with serving() as (server, _), connected() as client:
        client.links.link.driver.abort()
        await client.links.close()
        await noted("detach")
        assert server.sessions == 1
        await server.drain()
        assert server.sessions == 0


async def test_a_shell_is_waited_for_while_a_command_runs_in_it() -> None:
    async with (
        serving() as (server, directory),
        connected() as client,
        client.open_line(TerminalSize(80, 24), term="dumb") as line,
        client.open_line(TerminalSize(80, 24), term="dumb") as other,
    ):
        told: list[str] = []
        late: list[str] = []
        line.on_notice, other.on_notice = told.append, late.append
        running = asyncio.create_task(line.run(f"cd {directory}; touch up; {WAITS}(exit 4)"))
        await until_there(directory / "up")
        async with draining(server) as task:
            # Its session stays as long as anything runs in it, so this one is still there.
            assert code(await other.run("(exit 5)")) == 5
            assert len(told) == 1 and "100 s" in told[0]
            assert len(late) == 1 and "shutting down" in late[0]
            assert not task.done()
            (directory / "go").touch()
            assert code(await running) == 4
            await task
        closed = await client.wait_closed()
        assert closed is not None and closed.code == "shutdown"


def code(done: ShellEnding) -> int | None:
    return done.status.code


async def test_a_job_and_who_waits_for_it_are_waited_for() -> None:
    async with serving() as (server, directory), connected() as client, connected() as starter:
        name = await starter.start_job(f"touch up; {WAITS}exit 6")
        waiting = asyncio.create_task(client.wait_job(name))
        await asyncio.sleep(0)
        await client.run("true")  # the question was there before
        await until_there(directory / "up")
        async with draining(server) as task:
            await starter.wait_closed()
            assert server.commands == 1 and not task.done()
            (directory / "go").touch()
            assert (await waiting).code == 6
            await task


async def test_a_job_past_the_limit_is_ended_by_close() -> None:
    async with serving(BRIEF) as (server, directory), connected() as client:
        await client.start_job("echo $$ > pid; mv pid up; sleep 100")
        await until_there(directory / "up")
        await server.drain()
        assert server.commands == 1
        await server.close()
        assert server.commands == 0
        await asyncio.to_thread(await_gone, int((directory / "up").read_text()))


async def test_a_limit_of_0_waits_for_nothing() -> None:
    async with (
        serving(replace(LONG, drain_seconds=0.0)) as (server, directory),
        connected() as client,
    ):
        running = asyncio.create_task(client.run("touch up; sleep 100"))
        await until_there(directory / "up")
        await server.drain()
        await server.close()
        with pytest.raises(SessionClosed):
            await running
