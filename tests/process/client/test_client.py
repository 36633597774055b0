"""A session from the client's side, against a real server over TLS, and what outlives it."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

import rshell
from rshell.aio import timeout
from rshell.channels.base import Context
from rshell.errors import (
    ChannelRefused,
    LinkLost,
    LocalProtocolError,
    OutputTruncated,
    ProcessFailed,
    ProcessTimeout,
    SessionClosed,
)
from rshell.protocol.codec import Json
from rshell.transport.channel import Channel
from rshell.values import Bounds, TerminalSize
from tests.support.commands import until
from tests.support.cutting import Cutter
from tests.support.execution import await_gone
from tests.support.proxy import Relay
from tests.support.session import DEADLINE, tls_session

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")


async def test_who_and_how_far() -> None:
    async with tls_session() as client:
        assert client.identity == "local" and not client.is_closed
        await client.run("true")
        assert client.round_trip is not None and 0 < client.round_trip < DEADLINE


async def test_output_is_bytes_unless_text_is_asked_for() -> None:
    async with tls_session() as client:
        odd = "printf 'a\\377\\303\\251'"
        assert (await client.run(odd)).stdout == b"a\xff\xc3\xa9"
        assert (await client.run(odd, text=True)).stdout == "a\ufffd\u00e9"
        assert (await client.run(odd, encoding="latin-1")).stdout == "a\u00ff\u00c3\u00a9"
        done = await client.run("cat; echo err >&2", input="\u00e9", text=True)
        assert (done.stdout, done.stderr, done.exit_status) == ("\u00e9", "err\n", 0)


@pytest.mark.parametrize("encoding", ["no-such-encoding", "hex"])
async def test_an_unknown_encoding_is_told_before_anything_runs(
    encoding: str, tmp_path: Path
) -> None:
    """The command ran on, and nobody had a handle to it."""
    async with tls_session() as client:
        command = ["touch", str(tmp_path / "ran")]
        with pytest.raises(LookupError):
            await client.run(command, encoding=encoding)
        with pytest.raises(LookupError):
            client.open_process(command, encoding=encoding)
        await client.run("true")
        assert not (tmp_path / "ran").exists()


async def test_a_sequence_is_run_without_a_shell() -> None:
    async with tls_session() as client:
        done = await client.run(["printf", "%s|", "a b", "$HOME", "*", "é\udcff"])
        assert done.stdout == b"a b|$HOME|*|\xc3\xa9\xff|"
        with pytest.raises(TypeError):
            await client.run(b"true")  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            await client.run([])


async def test_directory_and_environment(tmp_path: Path) -> None:
    async with tls_session(cwd=tmp_path) as client:
        (tmp_path / "sub").mkdir()
        done = await client.run("pwd; echo $A-$HOME", cwd="sub", env={"A": "1"}, text=True)
        where, said = done.stdout.split()
        assert where == str(tmp_path / "sub") and said.startswith("1-/")
        done = await client.run(["/usr/bin/env"], env={"A": "1"}, clear_env=True, text=True)
        assert done.stdout == "A=1\n"


async def test_stderr_can_be_merged_in_order() -> None:
    async with tls_session() as client:
        done = await client.run("echo 1; echo 2 >&2; echo 3", merge_stderr=True)
        assert (done.stdout, done.stderr) == (b"1\n2\n3\n", b"")


async def test_check_raises_with_all_that_was_said() -> None:
    async with tls_session() as client:
        with pytest.raises(ProcessFailed, match=r"status 3.*: broken") as caught:
            await client.run("echo out; echo broken >&2; exit 3", check=True, text=True)
        assert (caught.value.exit_status, caught.value.stdout) == (3, "out\n")
        with pytest.raises(ProcessFailed, match="SIGKILL") as caught:
            await client.run("kill -9 $$", check=True)
        assert (caught.value.exit_status, caught.value.signal) == (None, "SIGKILL")


async def test_a_timeout_is_the_servers_and_keeps_what_was_said() -> None:
    async with tls_session() as client:
        with pytest.raises(ProcessTimeout) as caught:
            await client.run("echo early; sleep 100", timeout=1.0, text=True)
        assert (caught.value.timeout, caught.value.stdout) == (1.0, "early\n")


async def test_output_past_the_callers_bound_ends_the_command() -> None:
    async with tls_session() as client:
        with pytest.raises(OutputTruncated) as caught:
            await client.run("yes", max_output=10_000, text=True)
        assert caught.value.max_output == 10_000
        assert len(caught.value.stdout) >= 10_000
        assert set(caught.value.stdout) == {"y", "\n"}
        assert (await client.run("echo next", max_output=5)).stdout == b"next\n"


async def test_cancelling_ends_the_remote_group_and_not_the_session(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = (
        f"(echo $BASHPID >> {pids}; exec sleep 100) & (echo $BASHPID >> {pids}; exec sleep 100)"
    )
    async with tls_session() as client:
        task = asyncio.ensure_future(client.run(script))
        await asyncio.to_thread(until, lambda: len(read_pids(pids)) == 2, "two processes")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        for pid in read_pids(pids):
            await asyncio.to_thread(await_gone, pid)
        assert (await client.run("echo next")).stdout == b"next\n"


def read_pids(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().split("\n")[:-1]] if path.exists() else []


async def test_everything_at_once_over_one_link() -> None:
    async with tls_session() as client:
        flood = client.open_process("yes")
        async with flood:
            done = await asyncio.gather(
                *(client.run(f"echo {n}; exit {n}", input=b"x") for n in range(40))
            )
        assert [(d.stdout, d.exit_status) for d in done] == [(b"%d\n" % n, n) for n in range(40)]


async def test_a_terminal_has_its_size_and_type() -> None:
    async with tls_session() as client:
        size = TerminalSize(columns=90, rows=30)
        async with client.open_process(
            "stty size; echo $TERM", terminal=size, term="vt100"
        ) as process:
            assert await process.stdout.read() == b"30 90\r\nvt100\r\n"
            assert (await process.wait()).code == 0


async def test_an_unknown_kind_is_refused_and_the_session_goes_on() -> None:
    async with tls_session() as client:
        with pytest.raises(
            ChannelRefused, match="there are files, job, process, sessions, shell"
        ) as caught:
            await client.open_channel("forward")
        assert caught.value.code == "unknown-kind"
        assert (await client.run("echo on")).stdout == b"on\n"


async def test_a_kind_of_our_own() -> None:
    async def double(channel: Channel, context: Context) -> None:
        channel.accept({"hello": context.identity})
        channel.send_message({"sum": channel.request["a"] * 2})
        async for block in channel:
            await channel.write(block * 2)
        channel.send_eof()

    async with tls_session(handlers={"double": double}) as client:
        async with client.open_channel("double", {"a": 21}) as channel:
            assert channel.reply == {"hello": "local"}
            assert await channel.receive_message() == {"sum": 42}
            await channel.write(b"ab")
            channel.send_eof()
            assert await channel.read() == b"abab"
        with pytest.raises(ChannelRefused, match="there are double"):
            await client.run("true")


async def test_close_is_a_word_and_harmless_when_repeated() -> None:
    async with tls_session() as client:
        await client.close()
        await client.close()
        closed = await client.wait_closed()
        assert isinstance(closed, SessionClosed)
        assert (closed.code, closed.by, client.is_closed) == ("done", "local", True)
        with pytest.raises(SessionClosed):
            await client.run("true")


async def test_a_close_that_is_cancelled_ends_the_session_all_the_same() -> None:
    async with (
        timeout(DEADLINE),
        rshell.serve("127.0.0.1", 0) as server,
        Cutter(server.addresses[0].port) as cutter,
    ):
        client = await rshell.connect(cutter.address)
        cutter.refuse()
        await cutter.cut()
        await asyncio.to_thread(until, lambda: not client.links.is_up, "the cut")
        closing = asyncio.create_task(client.close())
        await asyncio.sleep(0)  # it waits for what looks for a way back
        closing.cancel()
        await asyncio.wait([closing])
        assert closing.cancelled()
        closed = await client.wait_closed()
        assert closed is not None and (closed.code, closed.by) == ("done", "local")
        await client.close()


async def test_leaving_ends_what_runs(tmp_path: Path) -> None:
    async with rshell.serve("127.0.0.1", 0) as server:
        async with rshell.connect(server.addresses[0]) as client:
            running = asyncio.ensure_future(client.run("sleep 100"))
            shell = await client.open_shell()
        for end in (running, shell.run("true")):
            with pytest.raises(SessionClosed):
                await end


async def test_a_link_that_does_not_come_back_is_lost_for_everything_in_it() -> None:
    async with (
        rshell.serve("127.0.0.1", 0) as server,
        Relay(server.addresses[0].port) as relay,
        rshell.connect(relay.address, limits=Bounds(resume_window=0.0)) as client,
    ):
        running = asyncio.ensure_future(client.run("sleep 100"))
        process = await client.open_process("echo up; sleep 100")
        assert await process.stdout.readline() == b"up\n"
        await asyncio.to_thread(relay.cut)
        for end in (running, process.wait(), process.stdout.read()):
            with pytest.raises(LinkLost):
                await end
        assert isinstance(await client.wait_closed(), LinkLost)


async def test_a_session_lost_while_a_channel_opens_does_not_hang() -> None:
    asked, never = asyncio.Event(), asyncio.Event()

    async def ponder(channel: Channel, context: Context) -> None:
        asked.set()
        await never.wait()

    async with (
        timeout(DEADLINE),
        rshell.serve("127.0.0.1", 0, handlers={"process": ponder}) as server,
        rshell.connect(server.addresses[0]) as client,
    ):
        opening = asyncio.ensure_future(client.run("true"))
        await asked.wait()
        await server.close()
        with pytest.raises(SessionClosed, match="shutting down"):
            await opening


SIZE = TerminalSize(columns=80, rows=24)


async def test_each_method_asks_for_just_what_it_says() -> None:
    asked: list[tuple[str, Json]] = []

    async def serve(channel: Channel, context: Context) -> None:
        asked.append((channel.kind, channel.request))
        channel.refuse("failed", "only looking")

    handlers = dict.fromkeys(("job", "sessions", "shell"), serve)
    async with tls_session(handlers=handlers) as client:
        watching = client.watch_named_shell("work", SIZE)
        assert asked == []  # nothing happens before it is opened
        for question in (
            client.start_job(["echo", "a"], name="j"),
            client.jobs(),
            client.wait_job("j"),
            client.kill_job("j"),
            client.named_shells(),
            client.end_named_shell("work"),
            watching,
        ):
            with pytest.raises(ChannelRefused, match="only looking"):
                await question
    terminal = {"columns": 80, "rows": 24, "term": ""}
    shell = asked.pop()
    assert shell[0] == "shell" and shell[1].pop("terminal").items() <= terminal.items()
    assert shell[1] == {"name": "work", "share": True}
    assert asked == [
        ("job", {"verb": "start", "name": "j", "argv": ["echo", "a"]}),
        ("job", {"verb": "list"}),
        ("job", {"verb": "wait", "name": "j"}),
        ("job", {"verb": "kill", "name": "j"}),
        ("sessions", {"verb": "list"}),
        ("sessions", {"verb": "end", "name": "work"}),
    ]


async def test_no_name_that_can_not_be_leaves_here() -> None:
    async with tls_session(handlers={}) as client:
        for name in ("../x", "", "a b", "-x", "a" * 65):
            with pytest.raises(LocalProtocolError, match="not a named shell's name"):
                await client.end_named_shell(name)
            with pytest.raises(LocalProtocolError, match="not a named shell's name"):
                client.watch_named_shell(name, SIZE)
            with pytest.raises(LocalProtocolError, match="not a named shell's name"):
                client.open_line(SIZE, term="dumb", name=name)


# Arguments.


async def test_paths_are_words_and_directories(tmp_path: Path) -> None:
    async with tls_session() as client:
        done = await client.run([Path("/bin/echo"), PurePosixPath("/a b")], cwd=tmp_path)
        assert done.stdout == b"/a b\n"
        assert (await client.run("pwd", cwd=tmp_path, text=True)).stdout == f"{tmp_path}\n"
        async with client.open_shell(cwd=tmp_path) as shell:
            assert shell.cwd == str(tmp_path)


async def test_arguments_that_cannot_be_are_told_before_anything_runs(tmp_path: Path) -> None:
    wrong: list[dict[str, Any]] = [
        *({"max_output": value} for value in ("3", -1, True, 1.5)),
        *({"input": value} for value in (5, [b"x"])),
        *({"cwd": value} for value in (5, b"/")),
        *({"timeout": value} for value in (-1, 0, "x")),
    ]
    async with tls_session() as client:
        for options in wrong:
            with pytest.raises((TypeError, ValueError)):
                await client.run(["touch", str(tmp_path / "ran")], **options)
        commands: list[Any] = [["touch", 3], [], b"true", Path("/bin/true"), 5]
        for command in commands:
            with pytest.raises(TypeError):
                await client.run(command)
        await client.run("true")
    assert not (tmp_path / "ran").exists()


async def test_a_file_and_an_iterator_are_input(tmp_path: Path) -> None:
    async def lines() -> AsyncIterator[bytes | str]:
        yield "one\n"
        yield b"two\n"

    path = tmp_path / "file"
    path.write_bytes(os.urandom(1_000_000))
    async with tls_session() as client:
        with path.open("rb") as file:
            assert (await client.run("cat", input=file)).stdout == path.read_bytes()
        assert (await client.run("cat", input=lines())).stdout == b"one\ntwo\n"


async def test_an_input_that_fails_ends_the_command_and_is_raised(tmp_path: Path) -> None:
    ready = tmp_path / "ready"

    async def failing() -> AsyncIterator[bytes]:
        yield b"first\n"
        await asyncio.to_thread(until, ready.exists, "the command at work")
        raise KeyError("the source has gone")

    async with tls_session() as client:
        command = f"read x; echo $$ >{ready}.; mv {ready}. {ready}; exec sleep 1000"
        with pytest.raises(KeyError, match="the source has gone"):
            await client.run(command, input=failing())
        await asyncio.to_thread(await_gone, int(ready.read_text()))


async def test_an_input_that_was_too_slow_is_no_command_that_was() -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield b"first\n"
        raise TimeoutError("the source is slow")

    async with tls_session() as client:
        for timeout in (None, 30.0):
            with pytest.raises(TimeoutError, match="the source is slow") as caught:
                await client.run("cat", input=failing(), timeout=timeout)
            assert not isinstance(caught.value, ProcessTimeout)


async def test_an_input_without_an_end_does_not_outlive_the_command() -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 1000
            await asyncio.sleep(0)

    read, write = os.pipe()
    async with tls_session() as client:
        assert (await client.run("head -c 3", input=endless())).stdout == b"xxx"
        with os.fdopen(read, "rb", buffering=0) as file:
            assert (await client.run("exit 3", input=file)).exit_status == 3
            os.write(write, b"x")  # which lets the thread go
    os.close(write)


# Event loops.


def test_another_event_loop_is_told_so_instead_of_waiting_for_ever() -> None:
    loop = asyncio.new_event_loop()

    async def use(client: rshell.Client, process: Any, shell: Any) -> None:
        for call in (
            lambda: client.run("true"),
            lambda: client.open_process("true").__aenter__(),
            lambda: shell.run("true"),
            process.wait,
            lambda: process.stdout.read(1),
            lambda: process.stdin.write(b"x"),
            client.wait_closed,
            client.close,
            client.jobs,
        ):
            with pytest.raises(RuntimeError, match="bound to a different event loop"):
                async with timeout(DEADLINE):
                    await call()

    async def open_all() -> tuple[rshell.Client, Any, Any]:
        client = await rshell.connect(local=True)
        process = await client.open_process("cat", stdin=rshell.PIPE)
        return client, process, await client.open_shell()

    client, process, shell = loop.run_until_complete(open_all())
    try:
        asyncio.run(use(client, process, shell))
        assert loop.run_until_complete(client.run("echo here")).stdout == b"here\n"
    finally:
        loop.run_until_complete(client.close())
        loop.close()
    asyncio.run(client.close())  # does nothing, wherever
