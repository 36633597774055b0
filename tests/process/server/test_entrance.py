"""Who comes in: sources that failed, floods, full servers, and other users' processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
from pathlib import Path

import pytest

import rshell
from rshell.errors import ConnectError
from rshell.security.credentials import local_token
from rshell.security.files import private_directory, server_directory
from rshell.values import Limits
from tests.support.audit import audited

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")


async def test_who_failed_too_often_is_not_even_heard() -> None:
    limits = Limits(penalty_failures=-20)  # the first failure costs minutes
    async with rshell.serve("127.0.0.1", 0, limits=limits) as server:
        where = server.addresses[0]
        line = local_token(server_directory())
        assert line is not None
        wrong = str(line).replace(line.token, "A" * 43)
        with pytest.raises(rshell.AuthenticationFailed):
            await rshell.connect(where, token=wrong)
        with pytest.raises(ConnectError, match="failed logins"):
            await rshell.connect(where)
        failed = audited("login-failed")
        assert len(failed) == 1 and failed[0]["source"] == "127.0.0.1"


async def test_unfinished_logins_are_bounded_and_sessions_live_on() -> None:
    limits = Limits(unfinished_logins=1)
    async with rshell.serve("127.0.0.1", 0, limits=limits) as server:
        where = server.addresses[0]
        async with rshell.connect(where) as client:
            with socket.create_connection((where.host, where.port)) as silent:
                while True:  # until the server has taken notice of the silent one
                    try:
                        await (await rshell.connect(where)).close()
                    except ConnectError:
                        break
                assert (await client.run("echo on")).stdout == b"on\n"
            silent.close()
            assert await asyncio.wait_for(reconnect(where), 30) == "local"


async def reconnect(where: rshell.Address) -> str:
    while True:
        try:
            async with rshell.connect(where) as client:
                return client.identity
        except ConnectError:
            pass  # it has not yet noticed that the silent one left


async def test_too_many_sessions_are_turned_away_before_tls() -> None:
    async with (
        rshell.serve("127.0.0.1", 0, limits=Limits(sessions=1)) as server,
        rshell.connect(server.addresses[0]),
    ):
        assert server.sessions == 1
        with pytest.raises(ConnectError):
            await rshell.connect(server.addresses[0])


@needs_root
async def test_another_users_process_is_refused_by_the_kernels_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even on a socket that somebody has opened up."""
    directory = private_directory(tmp_path / "u")
    async with rshell.serve(None, unix=directory / "s"):
        (directory / "s").chmod(0o666)
        directory.chmod(0o755)
        monkeypatch.chdir(directory)
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(30)
            os.seteuid(4242)
            try:
                sock.connect("s")  # the kernel notes who does this
            finally:
                os.seteuid(0)
            assert await asyncio.to_thread(sock.recv, 1) == b""
        async with rshell.connect(f"unix:{directory / 's'}") as client:
            assert (await client.run("echo on")).stdout == b"on\n"
    refused = audited("refused")
    assert [entry["uid"] for entry in refused] == [4242]


async def test_a_connection_let_in_at_the_moment_of_close_does_not_outlive_it() -> None:
    server = await rshell.serve("127.0.0.1", 0, limits=Limits(login_seconds=1000))
    where = server.addresses[0]
    with socket.create_connection((where.host, where.port)) as silent:
        # What a turn of the loop may do just before it goes on with a `close`.
        [listener] = server._entrance._listeners
        while not server._entrance.links:
            listener._ready()
        await server.close()
        silent.settimeout(30)
        with contextlib.suppress(ConnectionError):
            assert await asyncio.to_thread(silent.recv, 1) == b""
    assert not server._entrance.links
