"""A server as a whole: what it notes, and that its end is the end of all."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import socket
import weakref
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

import rshell
from rshell.aio import all_of, timeout
from rshell.channels.base import Context
from rshell.errors import ConnectError, LinkLost, SessionClosed
from rshell.security.credentials import local_token
from rshell.security.files import private_directory, server_directory
from rshell.security.tokens import TokenStore
from rshell.transport.channel import Channel
from rshell.transport.driver import Driver
from rshell.values import Bounds
from tests.support.audit import audited
from tests.support.commands import until
from tests.support.execution import await_gone, no_leak
from tests.support.proxy import raw_client


async def until_async(condition: Callable[[], bool]) -> None:
    await asyncio.to_thread(until, condition, "a change")


pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")


async def test_a_revoked_token_ends_its_live_sessions_and_no_others() -> None:
    async with rshell.serve("127.0.0.1", 0) as server:
        where = server.addresses[0]
        store = TokenStore(server_directory() / "tokens.json")
        line = local_token(server_directory())
        assert line is not None
        token = store.add("laptop")
        text = str(line).replace(line.token, token).replace(" local ", " laptop ")
        async with (
            rshell.connect(where, token=text) as laptop,
            rshell.connect(where) as local,
        ):
            assert laptop.identity == "laptop"
            running = asyncio.ensure_future(laptop.run("sleep 100"))
            # Added, used and revoked between two looks of the server.
            store.revoke("laptop")
            closed = await laptop.wait_closed()
            assert closed is not None and (closed.code, closed.by) == ("revoked", "remote")
            with pytest.raises(SessionClosed, match="revoked"):
                await running
            assert (await local.run("echo on")).stdout == b"on\n"
        with pytest.raises(ConnectError):
            await rshell.connect(where, token=text)


async def test_revoking_leaves_a_unix_socket_of_the_same_name_alone(tmp_path: Path) -> None:
    path = private_directory(tmp_path / "u") / "s"
    async with (
        rshell.serve("127.0.0.1", 0, unix=path) as server,
        rshell.connect(f"unix:{path}") as trusted,
        rshell.connect(server.addresses[0]) as local,
    ):
        TokenStore(server_directory() / "tokens.json").revoke("local")
        assert isinstance(await local.wait_closed(), SessionClosed)
        assert (await trusted.run("echo on")).stdout == b"on\n"


async def test_the_audit_log_tells_the_story_and_no_secret(tmp_path: Path) -> None:
    nasty = 'true \'\n{"event": "forged"}\x1b[2J\''
    async with rshell.serve("127.0.0.1", 0, cwd=str(tmp_path)) as server:
        async with rshell.connect(server.addresses[0]) as client:
            await client.run(nasty)
            await client.run("exit 3")
        line = local_token(server_directory())
    path = server_directory() / "audit.jsonl"
    text = path.read_text()
    assert line is not None and line.token not in text
    assert "\x1b" not in text and path.stat().st_mode & 0o777 == 0o600
    story = audited()
    assert [entry["event"] for entry in story] == [
        *("login", "command", "ended", "command", "ended", "end", "stopped")
    ]
    login, command, _, _, ended, end, _ = story
    assert (login["identity"], login["source"]) == ("local", "127.0.0.1")
    assert command["argv"][-1] == nasty and command["cwd"] == str(tmp_path)
    assert ended["exit_status"] == 3
    assert command["session"] == ended["session"] == end["session"]


async def test_a_handlers_failure_costs_its_channel_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail(channel: Channel, context: Context) -> None:
        channel.accept()
        raise RuntimeError("a bug")

    async def forget(channel: Channel, context: Context) -> None:
        pass

    handlers = {"fail": fail, "forget": forget}
    async with (
        rshell.serve("127.0.0.1", 0, handlers=handlers, commands=True) as server,
        rshell.connect(server.addresses[0]) as client,
    ):
        with pytest.raises(rshell.ChannelReset, match="RuntimeError"):
            await (await client.open_channel("fail")).read()
        with pytest.raises(rshell.ChannelRefused, match="did not answer"):
            await client.open_channel("forget")
        assert (await client.run("echo on")).stdout == b"on\n"
    assert "a bug" in caplog.text


async def test_close_ends_sessions_with_a_word_and_leaves_nothing(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    with no_leak():
        path = private_directory(tmp_path / "u") / "s"
        server = await rshell.serve("127.0.0.1", 0, unix=path)
        clients = [await rshell.connect(address) for address in server.addresses]
        script = f"echo $$ >> {pids}; sleep 100"
        running = [asyncio.ensure_future(client.run(script)) for client in clients]
        await asyncio.to_thread(
            until, lambda: pids.exists() and len(pids.read_text().split()) == 2, "two commands"
        )
        waiting = asyncio.ensure_future(server.serve_forever())
        await server.close()
        await server.close()
        await waiting
        for client, task in zip(clients, running):
            with pytest.raises(SessionClosed, match="shutting down"):
                await task
            closed = await client.wait_closed()
            assert closed is not None and (closed.code, closed.by) == ("shutdown", "remote")
            assert not isinstance(closed, LinkLost)
            await client.close()
        for pid in pids.read_text().split():
            await_gone(int(pid))
        assert not path.exists() and server.sessions == 0
        await asyncio.get_running_loop().shutdown_default_executor()


async def test_close_does_not_wait_for_who_never_logs_in_or_reads() -> None:
    limits = Bounds(close_seconds=3.0)
    server = await rshell.serve("127.0.0.1", 0, limits=limits)
    port = server.addresses[0].port
    with socket.create_connection(("127.0.0.1", port)), ExitStack() as stack:
        await asyncio.to_thread(stack.enter_context, raw_client(port))
        async with rshell.connect(server.addresses[0]) as client:
            process = await client.open_process("yes")
            async with timeout(30):
                await server.close()
            with pytest.raises(SessionClosed):
                await process.wait()


async def test_a_close_that_is_cancelled_goes_on_and_can_be_waited_for() -> None:
    server = await rshell.serve("127.0.0.1", 0)
    async with rshell.connect(server.addresses[0]) as client:
        closing = asyncio.create_task(server.close())
        await asyncio.sleep(0)  # it waits for the end of the link
        closing.cancel()
        await asyncio.wait([closing])
        assert closing.cancelled()
        async with timeout(30):
            await server.close()
            await server.serve_forever()
        assert isinstance(await client.wait_closed(), SessionClosed)


class SlowToClose:
    """A byte stream whose other end never takes what is kept."""

    def __init__(self, driver: Driver) -> None:
        self.did: list[str] = []
        self._driver = driver

    def write(self, buffers: list[bytes | bytearray | memoryview]) -> None:
        """Keep it."""

    def room(self) -> int:
        return 1

    def pause(self) -> None:
        """It reads nothing anyway."""

    def resume(self) -> None:
        """The same."""

    def close(self) -> None:
        self.did.append("close")

    def abort(self) -> None:
        self.did.append("abort")
        self._driver.stream_lost(None)


async def test_a_link_that_was_told_goodbye_before_the_close_does_not_outlive_it() -> None:
    socket_path = private_directory(server_directory()) / "socket"
    server = await rshell.serve(None, unix=socket_path, limits=Bounds(close_seconds=0.1))
    link = server._entrance.open_link("here", "somebody")
    stream = SlowToClose(link.driver)
    link.driver.stream_opened(stream)
    link.driver.stream_ready()
    link.close("revoked", "its token was revoked")
    assert stream.did == ["close"] and not server._entrance.links
    await server.close()
    assert stream.did == ["close", "abort"]


async def test_a_server_among_other_work_does_not_hold_it_up() -> None:
    turns = 0
    stop = asyncio.Event()

    async def other_work() -> None:
        nonlocal turns
        while not stop.is_set():
            turns += 1
            await asyncio.sleep(0)

    async def serve() -> None:
        async with (
            rshell.serve("127.0.0.1", 0) as server,
            rshell.connect(server.addresses[0]) as client,
        ):
            before = turns
            done = await client.run("head -c 3000000 /dev/zero")
            assert len(done.stdout) == 3_000_000 and turns > before
        stop.set()

    await all_of(serve(), other_work())


async def test_what_is_over_does_not_wait_for_a_garbage_collector(tmp_path: Path) -> None:
    """Thousands of sessions would be kept until it runs, each with its TLS and its buffers."""
    gone: list[weakref.ref[object]] = []
    gc.collect()
    gc.disable()
    try:
        async with rshell.serve("127.0.0.1", 0) as server:
            where = server.addresses[0]
            for _ in range(3):
                async with rshell.connect(where) as client:
                    await client.run("echo on; exit 3")
                    async with client.open_process("cat", stdin=rshell.PIPE) as process:
                        assert process.stdin is not None
                        await process.stdin.write(b"x")
                        [kept] = server._sessions
                        parts = (client, process, kept, kept.live, kept.link, kept.link.driver)
                        gone += [weakref.ref(part) for part in parts]
                    del process, kept, parts
                del client
            silent = socket.create_connection((where.host, where.port))
            await until_async(lambda: server._entrance.unfinished == 1)
            [link] = server._entrance.links
            gone += [weakref.ref(part) for part in (link, link.driver)]
            del link
            silent.close()
            await until_async(lambda: not [ref() for ref in gone if ref() is not None])
    finally:
        gc.enable()


async def test_a_server_is_idle_once_nobody_and_nothing_needs_it(tmp_path: Path) -> None:
    """One with a job, or with a shell that somebody will come back to, must not end."""
    path = private_directory(tmp_path / "u") / "s"
    os.mkfifo(tmp_path / "pipe")
    async with rshell.serve(None, unix=path) as server:
        assert server.is_idle
        async with rshell.connect(f"unix:{path}") as client:
            assert not server.is_idle
            await client.start_job("read line < pipe", cwd=str(tmp_path))
        await until_async(lambda: not server.sessions)
        assert not server.is_idle
        await asyncio.to_thread((tmp_path / "pipe").write_text, "go on\n")
        await until_async(lambda: server.is_idle)
        async with (
            rshell.connect(f"unix:{path}") as client,
            client.open_line(rshell.TerminalSize(80, 24), term="xterm", name="work"),
        ):
            pass
        await until_async(lambda: not server.sessions)
        assert not server.is_idle
