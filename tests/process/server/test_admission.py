"""One identity uses up what it may have, and another one notices nothing."""

from __future__ import annotations

import resource
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace

import pytest

import rshell
from rshell.aio import timeout
from rshell.errors import ChannelRefused, ConnectError
from rshell.security.credentials import local_token
from rshell.security.files import server_directory
from rshell.security.tokens import TokenStore
from rshell.server.admission import most_links
from rshell.server.server import Server
from rshell.values import Bounds
from tests.support.audit import audited, noted

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")


@asynccontextmanager
async def serving(**limits: int) -> AsyncIterator[tuple[Server, str]]:
    """Run a server with such limits; yield it and the token line of another identity."""
    async with timeout(60), rshell.serve("127.0.0.1", 0, limits=Bounds(**limits)) as server:
        line = local_token(server_directory())
        assert line is not None
        token = TokenStore(server_directory() / "tokens.json").add("other")
        yield server, str(replace(line, identity="other", token=token))


async def test_sessions_of_one_identity_leave_room_for_others() -> None:
    async with serving(sessions_each=2) as (server, other):
        where = server.addresses[0]
        async with rshell.connect(where) as client, rshell.connect(where) as second:
            with pytest.raises(ConnectError, match=r"2 sessions of local are open.*sessions_each"):
                await rshell.connect(where)
            async with rshell.connect(where, token=other) as third:
                assert third.identity == "other"
            await second.close()
            async with rshell.connect(where) as again:
                assert (await again.run("echo on")).stdout == b"on\n"
            assert (await client.run("echo on")).stdout == b"on\n"
        assert server._refusals.total == {"sessions_each": 1}
    assert audited("turned-away")[0]["most"] == {"local": 1}


async def test_channels_of_one_identity_are_counted_over_its_sessions() -> None:
    async with serving(channels_each=2) as (server, other):
        where = server.addresses[0]
        async with (
            rshell.connect(where) as client,
            rshell.connect(where) as second,
            rshell.connect(where, token=other) as third,
        ):
            async with (
                client.open_process("cat", stdin=rshell.PIPE),
                second.open_process("cat", stdin=rshell.PIPE),
            ):
                with pytest.raises(ChannelRefused, match=r"2 channels of local.*channels_each"):
                    await client.run("true")
                assert (await third.run("echo on")).stdout == b"on\n"
            assert (await client.run("echo on")).stdout == b"on\n"


async def test_commands_of_one_identity_leave_room_for_others() -> None:
    async with serving(processes_each=1) as (server, other):
        where = server.addresses[0]
        async with (
            rshell.connect(where) as client,
            rshell.connect(where) as second,
            rshell.connect(where, token=other) as third,
        ):
            async with client.open_process("cat", stdin=rshell.PIPE):
                done = await second.run("true")
                assert done.exit_status == 126 and b"processes_each" in done.stderr
                assert (await third.run("echo on")).stdout == b"on\n"
            # Its end is known here before it is there.
            await noted("ended", 3)
            assert (await second.run("echo on")).stdout == b"on\n"


async def test_commands_leave_descriptors_for_logins(monkeypatch: pytest.MonkeyPatch) -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with serving() as (server, other):
        where = server.addresses[0]
        async with rshell.connect(where) as client:
            # As if all but a few of the links and commands that there may be were there.
            server._shares._links = lambda: soft * 15 // 16 - 11
            async with client.open_process(["cat"], stdin=rshell.PIPE):
                done = await client.run("true")
                assert done.exit_status == 126 and b"too few descriptors" in done.stderr
                async with rshell.connect(where, token=other) as third:
                    assert third.identity == "other"
            await noted("ended", 2)
            assert (await client.run("echo on")).stdout == b"on\n"
            assert server._refusals.total == {"descriptors": 1}
    monkeypatch.setattr("rshell.server.admission.descriptors", lambda: 100)
    assert most_links(Bounds()) == 75 and most_links(Bounds(sessions=5)) == 5


async def test_strangers_leave_descriptors_for_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rshell.server.admission.descriptors", lambda: 100)
    async with serving() as (server, _):
        where = server.addresses[0]
        async with rshell.connect(where) as client:
            with ExitStack() as crowd:
                for _ in range(100):
                    crowd.enter_context(socket.create_connection((where.host, where.port)))
                assert (await client.run("echo on")).stdout == b"on\n"
                async with rshell.connect(where) as second:
                    assert (await second.run("echo on")).stdout == b"on\n"
                assert "descriptors" not in server._refusals.total
