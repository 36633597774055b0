"""Who comes in: sources that failed, floods, full servers, and other users' processes."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import resource
import shutil
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import rshell
from rshell.aio import timeout
from rshell.errors import ConnectError
from rshell.security.credentials import local_token
from rshell.security.files import private_directory, server_directory
from rshell.security.tokens import TokenStore
from rshell.server.audit import AuditLog, Refusals
from rshell.server.entrance import Listener, bind_tcp
from rshell.values import Bounds
from tests.support.audit import audited

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")

HASTY = Bounds(open_timeout=0.3)  # a client that is turned away tries again for so long
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")


async def test_who_failed_too_often_has_to_wait_and_nobody_else_at_that_address() -> None:
    limits = Bounds(penalty_failures=-20)  # the first failure costs minutes
    async with rshell.serve("127.0.0.1", 0, limits=limits) as server:
        where = server.addresses[0]
        line = local_token(server_directory())
        assert line is not None
        right = TokenStore(server_directory() / "tokens.json").add("laptop")
        laptop = replace(line, identity="laptop", token=right)
        other = replace(line, identity="other", token="A" * 43)
        for wrong in (replace(other, identity="nobody"), other):
            with pytest.raises(rshell.AuthenticationFailed):
                await rshell.connect(where, token=str(wrong))
        with pytest.raises(ConnectError, match=r"too many logins as other .* heard in 600 s"):
            await rshell.connect(where, token=str(other))
        await (await rshell.connect(where, token=str(laptop))).close()
        # Even the right token waits after failures in its own name ...
        with pytest.raises(rshell.AuthenticationFailed):
            await rshell.connect(where, token=str(replace(laptop, token="A" * 43)))
        with pytest.raises(ConnectError, match="too many logins as laptop"):
            await rshell.connect(where, token=str(laptop))
        # ... but that of the server's own user, on a loopback.
        for _ in range(3):
            with pytest.raises(rshell.AuthenticationFailed):
                await rshell.connect(where, token=str(replace(line, token="A" * 43)))
        await (await rshell.connect(where)).close()
        assert server._refusals.total["waiting"] == 2
        failed = audited("login-failed")
        assert {entry["source"] for entry in failed} == {"127.0.0.1"}


async def test_a_crowd_of_silent_links_keeps_nobody_out() -> None:
    limits = Bounds(unfinished_logins=10)
    async with rshell.serve("127.0.0.1", 0, limits=limits) as server:
        where = server.addresses[0]
        async with rshell.connect(where) as client:
            with contextlib.ExitStack() as stack:
                crowd = []
                for _ in range(40):
                    sock = stack.enter_context(socket.create_connection((where.host, where.port)))
                    crowd.append(sock)
                    async with rshell.connect(where) as other:
                        assert other.identity == "local"
                assert (await client.run("echo on")).stdout == b"on\n"
                crowd[0].settimeout(30)
                with contextlib.suppress(ConnectionError):
                    assert await asyncio.to_thread(crowd[0].recv, 1) == b""
        assert server._refusals.total["crowded"] >= 30
        assert server._refusals.total["left"] <= 10  # nobody is counted twice
    [line] = audited("turned-away")
    assert line["reasons"]["crowded"] >= 30 and line["most"]["127.0.0.1"] >= 30


async def test_too_many_sessions_are_turned_away_before_tls() -> None:
    async with (
        rshell.serve("127.0.0.1", 0, limits=Bounds(sessions=1)) as server,
        rshell.connect(server.addresses[0]),
    ):
        assert server.sessions == 1
        with pytest.raises(ConnectError):
            await rshell.connect(server.addresses[0], limits=HASTY)


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
    server = await rshell.serve("127.0.0.1", 0, limits=Bounds(login_seconds=1000))
    where = server.addresses[0]
    with socket.create_connection((where.host, where.port)) as silent:
        # What a turn of the loop may do just before it goes on with a `close`.
        [listener] = server._entrance._listeners
        assert isinstance(listener, Listener)
        while not server._entrance.links:
            listener._ready()
        await server.close()
        silent.settimeout(30)
        with contextlib.suppress(ConnectionError):
            assert await asyncio.to_thread(silent.recv, 1) == b""
    assert not server._entrance.links


DEADLINE = 30.0


@contextlib.contextmanager
def bound(host: str, port: int = 0) -> Iterator[list[socket.socket]]:
    sockets = bind_tcp(host, port)
    try:
        yield sockets
    finally:
        for sock in sockets:
            sock.close()


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


def test_localhost_is_both_loopbacks_on_one_port_and_nothing_else() -> None:
    with bound("localhost") as sockets:
        names = [sock.getsockname()[:2] for sock in sockets]
        port = names[0][1]
        expected = [("127.0.0.1", port)] + ([("::1", port)] if has_ipv6() else [])
        assert names == expected and port > 0
        assert not any(sock.getblocking() or sock.get_inheritable() for sock in sockets)


def test_one_address_is_one_socket() -> None:
    with bound("127.0.0.1") as sockets:
        assert [sock.getsockname()[0] for sock in sockets] == ["127.0.0.1"]


def test_a_port_in_use_is_an_error_and_leaves_no_socket_open() -> None:
    with bound("127.0.0.1") as sockets:
        port = sockets[0].getsockname()[1]
        with pytest.raises(OSError, match="in use") as caught:
            bind_tcp("127.0.0.1", port)
        assert caught.value.errno == errno.EADDRINUSE
        with pytest.raises(OSError, match="in use"):
            bind_tcp("localhost", port)


def test_a_port_in_use_on_ipv6_alone_is_an_error_too() -> None:
    if not has_ipv6():
        pytest.skip("no IPv6 here")
    with bound("::1") as sockets, pytest.raises(OSError, match="in use"):
        bind_tcp("localhost", sockets[0].getsockname()[1])


def test_addresses_that_are_not_ours_are_an_error() -> None:
    with pytest.raises(OSError, match="assign"):
        bind_tcp("192.0.2.1", 0)
    with pytest.raises(socket.gaierror):
        bind_tcp("no-such-name.invalid", 0)


class Hall:
    """Takes what a listener accepts."""

    def __init__(self) -> None:
        self.sockets: list[socket.socket] = []
        self.changed = asyncio.Event()

    def accept(self, sock: socket.socket, address: object) -> None:
        assert not sock.getblocking()
        self.sockets.append(sock)
        self.changed.set()

    async def until(self, count: int) -> None:
        async with timeout(DEADLINE):
            while len(self.sockets) < count:
                self.changed.clear()
                await self.changed.wait()

    def close(self) -> None:
        for sock in self.sockets:
            sock.close()


async def test_a_storm_is_accepted_to_the_last_one() -> None:
    hall = Hall()
    with bound("127.0.0.1") as sockets, contextlib.ExitStack() as stack:
        stack.callback(hall.close)
        listener = Listener(sockets[0], hall.accept, Refusals(AuditLog(None), 60.0))
        stack.callback(listener.close)
        for _ in range(100):
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(listener.address)
        await hall.until(100)
        listener.close()
        listener.close()
        with socket.socket() as late, pytest.raises(ConnectionRefusedError):
            late.connect(listener.address)


async def test_too_few_descriptors_turn_clients_away_and_log_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Without the reserve, the loop would wake for ever for what it can't accept."""
    hall = Hall()
    loop = asyncio.get_running_loop()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with bound("127.0.0.1") as sockets, contextlib.ExitStack() as stack:
        listener = Listener(sockets[0], hall.accept, Refusals(AuditLog(None), 60.0))
        stack.callback(listener.close)
        stack.callback(hall.close)
        clients = [stack.enter_context(socket.socket()) for _ in range(3)]
        for client in clients:
            client.setblocking(False)
        # As many as there are: not one more can be opened.
        highest = max(int(entry.name) for entry in Path("/dev/fd").iterdir()) + 1
        fillers = []
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest, limits[1]))
        try:
            with contextlib.suppress(OSError):
                while True:
                    fillers.append(os.open(os.devnull, os.O_RDONLY))
            with caplog.at_level(logging.WARNING):
                for client in clients:
                    client.connect_ex(listener.address)
                    async with timeout(DEADLINE):
                        assert await loop.sock_recv(client, 1) == b""
        finally:
            for filler in fillers:
                os.close(filler)
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert [r.getMessage().split(":")[0] for r in caplog.records] == [
            "turning connections away"
        ]
        assert not hall.sockets
        with socket.socket() as client:
            client.setblocking(False)
            client.connect_ex(listener.address)
            await hall.until(1)
