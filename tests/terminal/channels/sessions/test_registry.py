"""Whose sessions, how many, and who makes one that two ask for at once."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

import rshell
from rshell import ChannelRefused, ChannelReset
from rshell.channels.shell.messages import ShellRequest
from rshell.security.credentials import local_token
from rshell.security.files import private_directory, server_directory
from rshell.security.tokens import TokenStore
from tests.support.guests import (
    BRIEF,
    SIZE,
    Guest,
    attach,
    guest,
    inn,
    listed,
    until_listed,
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
async def test_an_identity_reaches_its_own_sessions_only() -> None:
    async with asyncio.timeout(DEADLINE), rshell.serve("127.0.0.1", 0, limits=BRIEF) as server:
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
        guests = await asyncio.gather(*(attach(client) for client in clients))
        assert sorted(guest.joined.attached for guest in guests) == [False] + [True] * 4
        assert len(await listed(clients[0])) == 1
        # The last one has it; the others were moved away.
        moved = [guest for guest in guests if guest.channel.is_over]
        while len(moved) < 4:
            await asyncio.sleep(0)
            moved = [guest for guest in guests if guest.channel.is_over]
        [left] = [guest for guest in guests if guest not in moved]
        assert (await left.run(":")).number == 1


async def test_who_gives_up_while_the_shell_is_started_leaves_nothing() -> None:
    request = ShellRequest(name="work", terminal=SIZE).encode()
    async with inn() as server, guest(server) as client:
        for passes in range(0, 40, 4):
            opening = asyncio.ensure_future(client.open_channel("shell", request).__aenter__())
            for _ in range(passes):
                await asyncio.sleep(0)
            opening.cancel()
            await asyncio.gather(opening, return_exceptions=True)
            if not opening.cancelled():
                opening.result().close()  # it was faster
            while sessions := await listed(client):
                if not sessions[0]["attached"]:
                    break  # it was faster, and the session is there
            second = await attach(client)
            second.channel.close()
            async with client.open_channel("sessions", {"verb": "end", "name": "work"}) as channel:
                assert (await channel.receive_message() or {})["name"] == "work"


async def test_who_waits_for_a_maker_that_gives_up_makes_it() -> None:
    request = ShellRequest(name="work", terminal=SIZE).encode()
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
    shell = tmp_path / "shell"
    shell.write_text(f"#!/bin/sh\nexec {program}\n")
    shell.chmod(0o700)
    monkeypatch.setenv("SHELL", str(shell))
    async with inn(replace(BRIEF, open_timeout=1.0)) as server, guest(server) as client:
        for _ in range(2):
            with pytest.raises(ChannelRefused) as caught:
                await attach(client)
            assert caught.value.code == "failed"
            assert await listed(client) == []


async def test_so_many_are_open_at_once() -> None:
    async with inn(replace(BRIEF, named_sessions_each=2)) as server, guest(server) as client:
        for name in ("a", "b"):
            await attach(client, name)
        with pytest.raises(ChannelRefused, match="2 named sessions of yours") as caught:
            await attach(client, "c")
        assert caught.value.code == "busy"
        assert (await attach(client, "a")).joined.attached
        assert [session["name"] for session in await listed(client)] == ["a", "b"]
    async with inn(replace(BRIEF, named_sessions=1)) as server, guest(server) as client:
        await attach(client, "a")
        with pytest.raises(ChannelRefused, match="the server has as many") as caught:
            await attach(client, "b")
        assert caught.value.code == "busy"


@pytest.mark.parametrize(
    "wrong", [{"terminal": None}, {"name": "a/b"}, {"name": 5}, {"name": None, "share": True}]
)
async def test_requests_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    async with inn() as server, guest(server) as client:
        with pytest.raises(ChannelRefused) as caught:
            await client.open_channel(
                "shell", ShellRequest(name="a", terminal=SIZE).encode() | wrong
            )
        assert caught.value.code == "bad-request"


async def test_a_server_of_one_session_has_none() -> None:
    async with rshell.connect(local=True) as client:
        with pytest.raises(ChannelRefused, match="Start rshell-server on its own") as caught:
            await attach(client)
        assert caught.value.code == "failed"


@needs_openssl
async def test_sessions_end_with_the_token_that_made_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rshell.server.revocation._LOOK", 0.05)
    path = private_directory(tmp_path / "u") / "s"
    async with (
        asyncio.timeout(DEADLINE),
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
        asyncio.timeout(DEADLINE),
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
        assert server._named is not None
        await server._named.close()
        assert not is_running(pid)
        await first.channel.wait_closed()
        assert isinstance(first.channel.error, ChannelReset)
        with pytest.raises(ChannelRefused, match="shutting down"):
            await attach(client)
