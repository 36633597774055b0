"""Whose named shells, how many, what is said of them, and who makes one that two ask for."""

from __future__ import annotations

import asyncio
import shutil
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

import rshell
from rshell import ChannelRefused, ChannelReset
from rshell.aio import timeout
from rshell.channels.process.messages import Terminal
from rshell.channels.shell.messages import NamedShellInfo, ShellRequest
from rshell.client.client import Client
from rshell.protocol.codec import Json
from rshell.security.credentials import local_token
from rshell.security.files import private_directory, server_directory
from rshell.security.tokens import TokenStore
from rshell.values import TerminalSize
from tests.support.audit import audited
from tests.support.guests import (
    BRIEF,
    SIZE,
    Guest,
    attach,
    guest,
    inn,
    join,
    listed,
    until_listed,
    until_none,
    watch,
)
from tests.support.processes import gone, is_running
from tests.support.session import DEADLINE

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")


def add_token(name: str) -> str:
    """Let somebody else in; returns the line that does."""
    line = local_token(server_directory())
    assert line is not None
    token = TokenStore(server_directory() / "tokens.json").add(name)
    return str(line).replace(line.token, token).replace(" local ", f" {name} ")


async def pid_of(guest: Guest) -> int:
    done = await guest.run("echo $$")
    return int(await guest.output.readexactly(done.stdout))


@needs_openssl
async def test_an_identity_reaches_its_own_shells_only() -> None:
    async with timeout(DEADLINE), rshell.serve("127.0.0.1", 0, limits=BRIEF) as server:
        where = server.addresses[0]
        async with (
            rshell.connect(where) as one,
            rshell.connect(where, token=add_token("other")) as two,
        ):
            assert (one.identity, two.identity) == ("local", "other")
            mine = await attach(one)
            await mine.run("x=mine")
            assert await listed(two) == []
            words = []
            for name in ("work", "none"):
                with pytest.raises(ChannelRefused) as caught:
                    await watch(two, name)
                assert caught.value.code == "unknown-session"
                words.append(str(caught.value).replace(name, "NAME"))
            assert len(set(words)) == 1
            theirs = await attach(two)
            assert not theirs.joined.attached
            done = await theirs.run('echo "x=$x"')
            assert await theirs.output.readexactly(done.stdout) == b"x=\r\n"
            assert [found["identity"] for found in await listed(one)] == ["local"]
            assert (await until_listed(one, attached=True))["name"] == "work"


async def test_of_many_who_ask_at_once_one_makes_it() -> None:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(inn())
        clients = [await stack.enter_async_context(guest(server)) for _ in range(5)]
        guests = await asyncio.gather(*(join(client) for client in clients))
        assert sorted(guest.joined.attached for guest in guests) == [False] + [True] * 4
        assert len(await listed(clients[0])) == 1
        # The last one has it; the others were moved away.
        moved = [guest for guest in guests if guest.channel.is_over]
        while len(moved) < 4:
            await asyncio.sleep(0)
            moved = [guest for guest in guests if guest.channel.is_over]
        [left] = [guest for guest in guests if guest not in moved]
        if left.channel.reply.get("starting"):
            assert (await left.done()).number == 0
        assert (await left.run(":")).number == 1


async def test_who_gives_up_while_the_shell_is_started_leaves_nothing() -> None:
    request = ShellRequest(name="work", terminal=Terminal(SIZE)).encode()
    async with inn() as server, guest(server) as client:
        for passes in range(0, 40, 4):
            opening = asyncio.ensure_future(client.open_channel("shell", request).__aenter__())
            for _ in range(passes):
                await asyncio.sleep(0)
            opening.cancel()
            await asyncio.gather(opening, return_exceptions=True)
            if not opening.cancelled():
                opening.result().close()  # it was faster
            while shells := await listed(client):
                if not shells[0]["attached"]:
                    break  # it was faster, and the shell is there
            second = await attach(client)
            second.channel.close()
            async with client.open_channel("sessions", {"verb": "end", "name": "work"}) as channel:
                assert (await channel.receive_message() or {})["name"] == "work"


async def test_who_waits_for_a_maker_that_gives_up_makes_it() -> None:
    request = ShellRequest(name="work", terminal=Terminal(SIZE)).encode()
    async with inn() as server, guest(server) as one, guest(server) as two:
        opening = asyncio.ensure_future(one.open_channel("shell", request).__aenter__())
        await asyncio.sleep(0)
        second = asyncio.ensure_future(attach(two))
        await asyncio.sleep(0)
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
        assert (await (await second).run(":")).number == 1


@pytest.mark.parametrize("program", ["false", "sleep 100"])
async def test_a_shell_that_does_not_start_leaves_no_entry(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell = tmp_path / "dash"  # which reads lines, and is started when it does
    shell.write_text(f"#!/bin/sh\nexec {program}\n")
    shell.chmod(0o700)
    monkeypatch.setenv("SHELL", str(shell))
    async with inn(replace(BRIEF, open_timeout=0.4)) as server, guest(server) as client:
        for _ in range(2):
            with pytest.raises(ChannelRefused) as caught:
                await attach(client)
            assert caught.value.code == "failed"
            assert ("not ready after 0.4 s" in str(caught.value)) == (program != "false")
            assert await listed(client) == []


async def test_a_shell_that_ends_in_its_startup_files_leaves_no_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".bashrc").write_text("echo no; exit 3\n")
    monkeypatch.setenv("SHELL", "/bin/bash")
    async with inn() as server, guest(server) as client:
        for _ in range(2):
            first = await join(client)
            done = await first.done()
            assert (done.number, done.status.code, done.left) == (0, 3, True)
            assert await first.see(b"\n") == b"no\r\n"
            await first.channel.wait_closed()
            await until_none(client)


async def test_so_many_are_open_at_once() -> None:
    async with inn(replace(BRIEF, named_shells_each=2)) as server, guest(server) as client:
        for name in ("a", "b"):
            await attach(client, name)
        with pytest.raises(ChannelRefused, match="2 named shells of yours") as caught:
            await attach(client, "c")
        assert caught.value.code == "busy"
        assert (await attach(client, "a")).joined.attached
        assert [shell["name"] for shell in await listed(client)] == ["a", "b"]
    async with inn(replace(BRIEF, named_shells=1)) as server, guest(server) as client:
        await attach(client, "a")
        with pytest.raises(ChannelRefused, match="the server has as many") as caught:
            await attach(client, "b")
        assert caught.value.code == "busy"


async def test_a_server_of_one_session_has_none_and_says_where_there_are_some() -> None:
    async with rshell.connect(local=True) as client:
        for asking in (attach(client), client.open_channel("sessions", {"verb": "list"})):
            with pytest.raises(ChannelRefused, match="Start rshell-server on its own") as caught:
                await asking
            assert caught.value.code == "failed"


@needs_openssl
async def test_they_end_with_the_token_that_made_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rshell.server.server._LOOK", 0.05)
    path = private_directory(tmp_path / "u") / "s"
    async with (
        timeout(DEADLINE),
        rshell.serve("127.0.0.1", 0, unix=path, limits=BRIEF) as server,
        rshell.connect(f"unix:{path}") as trusted,
        rshell.connect(server.addresses[0]) as local,
    ):
        line = add_token("laptop")
        async with rshell.connect(server.addresses[0], token=line) as laptop:
            pids = [await pid_of(await attach(client)) for client in (laptop, local, trusted)]
        TokenStore(server_directory() / "tokens.json").revoke("laptop")
        await gone(pids[0])
        assert is_running(pids[1]) and is_running(pids[2])
        TokenStore(server_directory() / "tokens.json").revoke("local")
        await gone(pids[1])
        assert is_running(pids[2])
        assert (await until_listed(trusted, attached=True))["name"] == "work"


@needs_openssl
async def test_a_token_of_a_users_name_does_not_end_what_the_user_made(tmp_path: Path) -> None:
    path = private_directory(tmp_path / "u") / "s"
    async with (
        timeout(DEADLINE),
        rshell.serve("127.0.0.1", 0, unix=path, limits=BRIEF) as server,
        rshell.connect(f"unix:{path}") as trusted,
    ):
        own = await attach(trusted)
        pid = await pid_of(own)
        async with rshell.connect(
            server.addresses[0], token=add_token(trusted.identity)
        ) as namesake:
            assert namesake.identity == trusted.identity
            await attach(namesake)
            TokenStore(server_directory() / "tokens.json").revoke(trusted.identity)
            await namesake.wait_closed()
        await until_listed(trusted, attached=False)
        assert is_running(pid)


async def test_what_is_closing_makes_no_more(tmp_path: Path) -> None:
    async with inn() as server, guest(server) as client:
        first = await attach(client)
        pid = await pid_of(first)
        await server._named.close()
        assert not is_running(pid)
        await first.channel.wait_closed()
        assert isinstance(first.channel.error, ChannelReset)
        with pytest.raises(ChannelRefused, match="shutting down"):
            await attach(client)


async def end(client: Client, name: str) -> Json:
    async with client.open_channel("sessions", {"verb": "end", "name": name}) as channel:
        message = await channel.receive_message()
        assert message is not None and await channel.receive_message() is None
        return message


async def test_requests_that_are_refused() -> None:
    wrong: list[tuple[Json, str]] = [
        ({}, "bad-request"),
        ({"verb": "stop"}, "bad-request"),
        ({"verb": "end"}, "bad-request"),
        ({"verb": "end", "name": "a/b"}, "bad-request"),
        ({"verb": "end", "name": "none"}, "unknown-session"),
    ]
    async with inn() as server, guest(server) as client:
        for request, code in wrong:
            with pytest.raises(ChannelRefused) as caught:
                await client.open_channel("sessions", request)
            assert caught.value.code == code, request


async def test_they_are_listed_by_age() -> None:
    async with inn() as server, guest(server) as client:
        assert await listed(client) == []
        first = await attach(client, "b", cwd="/")
        (await attach(client, "a", terminal=TerminalSize(100, 30))).channel.close()
        await watch(client, "b")
        first.begin("sleep 100")
        while (infos := [NamedShellInfo.decode(found) for found in await listed(client)]) and (
            infos[0].running is None or infos[1].attached
        ):
            pass
        older, newer = infos
        assert (older.name, older.attached, older.watchers) == ("b", True, 1)
        assert (older.running, older.cwd, older.size) == ("sleep 100", "/", TerminalSize(80, 24))
        assert (newer.name, newer.watchers, newer.running) == ("a", 0, None)
        assert (newer.size, newer.identity) == (TerminalSize(100, 30), client.identity)
        assert older.shell == first.channel.reply["shell"]
        assert time.time() - 60 < older.created <= newer.created <= time.time()


async def test_an_end_takes_everything_with_it() -> None:
    # In time enough all go by the hang-up; of what had to be killed, the last may be seen dying.
    async with (
        inn(replace(BRIEF, kill_grace=20.0)) as server,
        guest(server) as one,
        guest(server) as two,
    ):
        first, second = await attach(one), await watch(one)
        done = await first.run("sleep 1000 & echo $$ $!")
        pids = [int(word) for word in (await first.output.readexactly(done.stdout)).split()[-2:]]
        first.begin("sleep 1001")
        await second.message("command")
        await second.done()
        await second.message("command")
        info = NamedShellInfo.decode(await end(two, "work"))
        assert (info.name, info.attached, info.watchers) == ("work", True, 1)
        assert info.running == "sleep 1001"
        assert not any(map(is_running, pids))
        for ended in (first, second):
            await ended.channel.wait_closed()
            assert isinstance(ended.channel.error, ChannelReset)
            assert ended.channel.error.code == "killed"
        assert await listed(one) == []
        assert [line["reason"] for line in audited("shell-ended")] == ["somebody ended this shell"]
        with pytest.raises(ChannelRefused):
            await end(two, "work")


async def test_an_end_goes_on_without_its_asker() -> None:
    async with inn() as server, guest(server) as client:
        first = await attach(client)
        done = await first.run("trap '' HUP TERM; echo $$")
        pid = int(await first.output.readexactly(done.stdout))
        asking = asyncio.ensure_future(end(client, "work"))
        await first.channel.wait_closed()
        asking.cancel()
        await gone(pid)
