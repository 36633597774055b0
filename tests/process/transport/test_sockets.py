"""Plain sockets: joining writes, shared buffers, ends, a peer that does not read; Unix sockets:
who is there, and a listener that replaces nobody.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import random
import socket
import struct
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rshell.aio import timeout
from rshell.errors import ConfigurationError, LinkLost, SessionClosed
from rshell.transport.channel import Channel
from rshell.transport.driver import Driver
from rshell.transport.sockets import (
    SocketStream,
    UnixListener,
    is_trusted_uid,
    join_small,
    peer_uid,
    tune_socket,
)
from rshell.values import Bounds
from tests.support.session import (
    DEADLINE,
    JoinedSession,
    ServerEnd,
    connected,
    socket_session,
)

MIB = 1024 * 1024
FAMILIES = [socket.AF_INET, socket.AF_UNIX]


def plain(driver: Driver, is_server: bool) -> SocketStream:
    return SocketStream(driver, Bounds())


async def echo(channel: Channel) -> None:
    channel.accept()
    async for block in channel:
        await channel.write(block)


async def wait(channel: Channel) -> None:
    channel.accept()
    await channel.wait_closed()


@given(st.lists(st.integers(0, 40_000)))
def test_joining_keeps_every_byte_in_order_and_large_buffers_uncopied(sizes: list[int]) -> None:
    buffers: list[bytes | bytearray | memoryview] = [
        bytes([index % 251]) * size for index, size in enumerate(sizes)
    ]
    joined = join_small(list(buffers))
    assert b"".join(joined) == b"".join(buffers)
    large = [buffer for buffer in buffers if len(buffer) >= 16 * 1024]
    if sum(sizes) > 16 * 1024:
        assert [id(b) for b in joined if any(b is one for one in large)] == list(map(id, large))
    assert len(joined) <= 2 * len(large) + 1


@pytest.mark.parametrize("family", FAMILIES)
async def test_much_data_both_ways_at_once(family: int) -> None:
    async with socket_session(echo, plain, family=family) as session:
        data = random.Random(1).randbytes(32 * MIB)
        channel = await session.open()
        writing = asyncio.ensure_future(channel.write(data))
        assert await channel.stream(0).readexactly(len(data)) == data
        await writing


async def test_many_links_share_the_buffers_without_mixing() -> None:
    """Twenty at once, each with its own bytes, cut at other places by other pauses."""

    async def talk(session: JoinedSession, seed: int) -> bool:
        chance = random.Random(seed)
        channel = await session.open()
        for _ in range(20):
            data = chance.randbytes(chance.randrange(1, 200_000))
            writing = asyncio.ensure_future(channel.write(data))
            if await channel.stream(0).readexactly(len(data)) != data:
                return False
            await writing
        return True

    async def one(seed: int) -> bool:
        async with socket_session(echo, plain, family=FAMILIES[seed % 2]) as session:
            return await talk(session, seed)

    assert await asyncio.gather(*map(one, range(20))) == [True] * 20


@pytest.mark.parametrize("family", FAMILIES)
async def test_an_aborted_end_is_a_lost_link_at_the_other(family: int) -> None:
    async with socket_session(wait, plain, family=family) as session:
        channel = await session.open()
        session.server.driver.abort()
        await channel.wait_closed()
        await session.client.driver.done.wait()
        assert isinstance(channel.error, LinkLost)


@pytest.mark.parametrize("family", FAMILIES)
async def test_writes_after_the_loss_of_a_socket_are_no_news_for_the_log(
    family: int, caplog: pytest.LogCaptureFixture
) -> None:
    """asyncio warns of each that it is asked for before it tells us of the loss."""
    async with socket_session(wait, plain, family=family) as session:
        await session.open()
        stream = session.client.driver.stream
        assert isinstance(stream, SocketStream)
        session.server.driver.abort()
        await session.server.driver.done.wait()
        for _ in range(20):
            stream.write([b"x" * 20_000] * 5)
        await session.client.driver.done.wait()
    assert not caplog.records


async def test_a_goodbye_that_we_had_not_read_when_a_write_of_ours_failed_is_heard() -> None:
    async with socket_session(wait, plain, family=socket.AF_UNIX) as session:
        channel = await session.open()
        driver = session.client.driver
        assert isinstance(driver.stream, SocketStream)
        assert isinstance(driver.stream._transport, asyncio.Transport)
        driver.stream._transport.pause_reading()
        session.server.link.close("shutdown", "going home")
        await session.server.driver.done.wait()
        driver.link.ping(driver.now)
        driver.flush()  # nobody is there to take it
        await channel.wait_closed()
        await driver.done.wait()
        assert isinstance(channel.error, SessionClosed)
        assert channel.error.code == "shutdown"


async def test_a_goodbye_and_then_the_end_is_an_orderly_close() -> None:
    async with socket_session(wait, plain) as session:
        channel = await session.open()
        session.server.link.close("shutdown", "going home")
        await channel.wait_closed()
        await session.client.driver.done.wait()
        assert isinstance(channel.error, SessionClosed)
        assert channel.error.code == "shutdown"


@pytest.mark.parametrize("data", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\0" * 100, b"\xff"])
async def test_strangers_are_turned_away(data: bytes) -> None:
    ours, theirs = connected()
    end = ServerEnd()
    loop = asyncio.get_running_loop()
    async with timeout(DEADLINE):
        await loop.connect_accepted_socket(lambda: plain(end.driver, True), theirs)
        with ours:
            await loop.sock_sendall(ours, data)
            ours.shutdown(socket.SHUT_WR)
            while await loop.sock_recv(ours, 65536):
                pass
        await end.driver.done.wait()
    assert end.cause is not None
    assert end.live is None


async def test_a_reset_connection_is_a_lost_link_with_its_cause() -> None:
    ours, theirs = connected()
    end = ServerEnd()
    async with timeout(DEADLINE):
        await asyncio.get_running_loop().connect_accepted_socket(
            lambda: plain(end.driver, True), theirs
        )
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        ours.close()
        await end.driver.done.wait()
    assert isinstance(end.cause, LinkLost)
    assert isinstance(end.cause.__cause__, ConnectionError)


async def test_a_stream_keeps_little_for_a_peer_that_does_not_read() -> None:
    ours, theirs = connected()
    driver = ServerEnd().driver
    limits = Bounds()
    stream = SocketStream(driver, limits)
    with ours:
        await asyncio.get_running_loop().connect_accepted_socket(lambda: stream, theirs)
        block = bytes(64 * 1024)
        # The kernel takes what it will; then the room shrinks, and says so.
        while stream.room() > 0:
            stream.write([block])
        assert stream.room() > -len(block) - limits.transport_buffer // 2
        stream.close()
        assert stream.room() == 0
        stream.write([b"dropped"])
        stream.abort()
        await driver.done.wait()
        stream.abort()
        stream.close()


async def test_room_is_announced_when_the_peer_reads_again() -> None:
    class Told(SocketStream):
        def resume_writing(self) -> None:
            told.set()

    told = asyncio.Event()
    ours, theirs = connected()
    driver = ServerEnd().driver
    stream = Told(driver, Bounds())
    loop = asyncio.get_running_loop()
    async with timeout(DEADLINE):
        with ours:
            await loop.connect_accepted_socket(lambda: stream, theirs)
            while stream.room() > 0:
                stream.write([bytes(64 * 1024)])
            assert not told.is_set()
            while not told.is_set():
                await loop.sock_recv(ours, MIB)
            assert stream.room() > 0
            stream.abort()
            await driver.done.wait()


@pytest.mark.parametrize("way", ["failed write", "close"])
async def test_an_end_in_the_midst_of_asyncios_own_writing_is_one_end(way: str) -> None:
    """asyncio ended its transport twice where the room it told of was used at once in vain."""
    ours, theirs = connected(socket.AF_UNIX)
    end = ServerEnd()
    stream = SocketStream(end.driver, Bounds())
    loop = asyncio.get_running_loop()

    def use_the_room() -> None:
        ours.close()
        if way == "close":
            stream.close()
        else:
            stream.write([b"into the void"])

    async with timeout(DEADLINE):
        await loop.connect_accepted_socket(lambda: stream, theirs)
        end.driver.flush = use_the_room  # type: ignore[method-assign]
        while stream.room() > 0:
            stream.write([bytes(64 * 1024)])
        with suppress(BlockingIOError):
            while ours.recv(MIB):  # room for all that is kept
                pass
        await end.driver.done.wait()


async def test_sockets_are_tuned_and_unix_sockets_left_alone() -> None:
    for sock in connected():
        with sock:
            tune_socket(sock)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            if hasattr(socket, "TCP_NOTSENT_LOWAT"):
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == 131072
    for sock in connected(socket.AF_UNIX):
        with sock:
            tune_socket(sock)
            assert not sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_the_kernel_names_the_user_at_the_other_end() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert peer_uid(ours) == peer_uid(theirs) == os.getuid()


def test_only_our_own_user_and_root_are_trusted() -> None:
    assert is_trusted_uid(os.getuid())
    assert is_trusted_uid(0)
    assert not is_trusted_uid(os.getuid() + 1)
    assert not is_trusted_uid(2**32 - 1)


def test_only_its_user_can_reach_it(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        listener = UnixListener(tmp_path / "s")
        assert os.umask(0) == 0  # ours was put back
    finally:
        os.umask(before)
    assert (tmp_path / "s").stat().st_mode & 0o777 == 0o600
    assert not listener.socket.getblocking()
    assert not os.get_inheritable(listener.socket.fileno())
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(tmp_path / "s"))
    listener.close()


def test_closing_takes_the_path_away_and_leaves_the_lock(tmp_path: Path) -> None:
    UnixListener(tmp_path / "s").close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["own", "s.lock"]


def test_a_path_that_can_not_be_removed_keeps_nothing_open(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "s"
    listener = UnixListener(path)
    path.unlink()
    path.mkdir()
    listener.close()
    assert "can't remove" in caplog.text
    path.rmdir()
    UnixListener(path).close()  # the lock was given back


def test_a_live_listener_is_not_replaced(tmp_path: Path) -> None:
    first = UnixListener(tmp_path / "s")
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="another server listens"):
            UnixListener(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(tmp_path / "s"))
    first.close()
    UnixListener(tmp_path / "s").close()


def test_what_a_killed_server_left_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "s"))
    (tmp_path / "s.lock").touch()
    listener = UnixListener(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(tmp_path / "s"))
    listener.close()


def test_a_file_that_is_no_socket_is_spared(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("precious")
    with pytest.raises(ConfigurationError, match="is no socket"):
        UnixListener(tmp_path / "s")
    assert (tmp_path / "s").read_text() == "precious"


def test_a_path_that_is_too_long_is_refused_and_the_lock_given_back(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 120)
    with pytest.raises(ConfigurationError, match="can't listen"):
        UnixListener(path)
    with path.with_name(path.name + ".lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_directory_that_is_missing_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        UnixListener(tmp_path / "missing" / "s")
