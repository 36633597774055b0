"""Persistent shells as a client has them: turns, refusals, and servers that tell no truth."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from rshell import (
    PIPE,
    ChannelRefused,
    ChannelReset,
    LinkLost,
    ProcessFailed,
    RemoteProtocolError,
)
from rshell.channels.shell.messages import ShellReply, ShellRequest
from rshell.channels.shell.replies import start_shell
from rshell.transport.channel import Channel
from rshell.values import Bounds
from tests.support import execution
from tests.support.processes import descriptors, gone
from tests.support.session import memory_session, tls_session, until
from tests.terminal.channels.shell.test_contract import facts, output, shell_on

BRIEF = Bounds(kill_grace=0.5)


async def test_a_timeout_that_is_none_costs_no_shell() -> None:
    async with shell_on() as shell:
        await shell.run("kept=yes")
        for timeout in (0, -0.5, 1e9, float("nan")):
            with pytest.raises(ValueError, match="positive"):
                await shell.run("true", timeout=timeout)
        assert await output(shell, "echo $kept") == b"yes\n"


async def test_a_directory_that_is_missing_is_told_and_not_replaced_by_another() -> None:
    async with tls_session(limits=BRIEF) as client:
        with pytest.raises(ChannelRefused, match="can't enter /no/such/directory"):
            await client.open_shell(cwd="/no/such/directory")


async def test_each_shell_of_a_session_is_its_own(program: str) -> None:
    async with (
        tls_session() as client,
        client.open_shell(env={"WHO": "first"}) as first,
        client.open_shell(cwd="/", env={"WHO": "second"}) as second,
    ):
        await asyncio.gather(first.run("x=1"), second.run("x=2"))
        assert await output(first, "echo $x $WHO") == b"1 first\n"
        assert await output(second, "echo $x $WHO; pwd") == b"2 second\n/\n"


async def test_ten_megabytes_on_both_streams_are_whole(program: str) -> None:
    async with shell_on() as shell:
        script = "head -c 10000000 /dev/zero | tr '\\0' {0}"
        script = f"{script.format('o')}; {script.format('e')} >&2"
        status, stdout, stderr = facts(await shell.run(script))
        assert status == 0
        assert stdout == b"o" * 10_000_000
        assert stderr == b"e" * 10_000_000
        assert await output(shell, "echo on") == b"on\n"


async def test_concurrent_calls_take_turns(program: str) -> None:
    async with shell_on() as shell:
        await shell.run("n=0")
        results = await asyncio.gather(*(shell.run(f"n=$((n+1)); echo {i} $n") for i in range(30)))
        assert [result.stdout for result in results] == [b"%d %d\n" % (i, i + 1) for i in range(30)]


async def test_check_raises(program: str) -> None:
    async with shell_on() as shell:
        with pytest.raises(ProcessFailed, match="why") as caught:
            await shell.run("echo why >&2; (exit 4)", check=True)
        assert caught.value.exit_status == 4
        await shell.run(":", check=True)


async def test_a_call_that_is_cancelled_while_it_waits_for_its_turn_never_runs(
    program: str, tmp_path: Path
) -> None:
    async with shell_on() as shell:
        first = asyncio.ensure_future(shell.run("echo first"))
        second = asyncio.ensure_future(shell.run(f"touch '{tmp_path}/ran'"))
        third = asyncio.ensure_future(shell.run("echo third"))
        await asyncio.sleep(0)
        second.cancel()
        assert ((await first).stdout, (await third).stdout) == (b"first\n", b"third\n")
        assert not (tmp_path / "ran").exists()


async def test_fifty_shells_leave_no_descriptor(program: str) -> None:
    async with tls_session(limits=BRIEF) as client:
        assert (await client.run("true")).exit_status == 0
        before = descriptors()
        for _ in range(10):
            async with client.open_shell(stdin=PIPE) as shell:
                pid = int(await output(shell, "echo $$"))
                await shell.run("exit 1")
                last = int(await output(shell, "echo $$"))
            await gone(pid)
            await gone(last)
        assert (await client.run("true")).exit_status == 0
        # Those of the last one are closed when it has ended.
        await execution.until(lambda: descriptors() == before, "the end of the last shell")


# Servers that don't tell the truth.


WELCOME = ShellReply("/bin/fake", "/somewhere", "/", "me", "here").encode()
DONE: dict[str, Any] = {"type": "done", "number": 1, "exit_status": 0, "cwd": "/"}
DONE |= {"stdout": 0, "stderr": 0, "duration": 0.5}


def fake(*messages: dict[str, Any], out: bytes = b"") -> Any:
    """A server that answers the first command with some output and these messages."""

    async def serve(channel: Channel) -> None:
        channel.accept(WELCOME)
        await channel.receive_message()
        await channel.write(out, 1)
        for message in messages:
            channel.send_message(message)

    return serve


async def test_an_honest_fake_passes() -> None:
    async with memory_session(fake(DONE | {"stdout": 2}, out=b"ab")) as session:
        shell = await start_shell(session.live, ShellRequest())
        assert (shell.program, shell.cwd) == ("/bin/fake", "/somewhere")
        result = await shell.run("x")
        assert (facts(result), result.cwd, result.duration) == ((0, b"ab", b""), "/", 0.5)


async def test_an_ending_that_does_not_fit_is_an_error_and_never_a_status() -> None:
    for serve in (
        fake(),
        fake(out=b"abc"),
        fake(DONE | {"number": 2}),
        fake(DONE | {"number": -1}),
        fake(DONE | {"exit_status": 300}),
        fake(DONE | {"cwd": None}),
        fake(DONE | {"duration": "long"}),
        fake(DONE, out=b"x"),
        fake(DONE | {"stdout": 1}),
        fake(DONE | {"stderr": 1}),
    ):
        async with memory_session(serve) as session:
            shell = await start_shell(session.live, ShellRequest())
            with pytest.raises((ChannelReset, RemoteProtocolError)):
                await shell.run("x")
            with pytest.raises((ChannelReset, RemoteProtocolError)):
                await shell.run("y")


async def test_a_lost_link_ends_every_call() -> None:
    async def serve(channel: Channel) -> None:
        channel.accept(WELCOME)
        await channel.wait_closed()

    async with memory_session(serve) as session:
        shell = await start_shell(session.live, ShellRequest())
        calls = [asyncio.ensure_future(shell.run("x")) for _ in range(3)]
        await until(lambda: bool(session.server_live.session.channels))
        session.stream.cut(None)
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [LinkLost] * 3


async def test_giving_up_before_the_shell_is_ready_takes_the_request_back() -> None:
    heard: list[Channel] = []

    async def serve(channel: Channel) -> None:
        heard.append(channel)
        await channel.wait_closed()

    async with memory_session(serve) as session:
        starting = asyncio.ensure_future(start_shell(session.live, ShellRequest()))
        await until(lambda: bool(heard))
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        await until(lambda: heard[0].is_over)
