"""A link over pipes: both ends, children that carry one, and our own stdio."""

from __future__ import annotations

import asyncio
import fcntl
import os
import random
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest

from rshell.aio import timeout
from rshell.errors import ConfigurationError, LinkLost, SessionClosed
from rshell.transport.channel import Channel
from rshell.transport.driver import Driver
from rshell.transport.live_session import Serve
from rshell.transport.stdio import PipeStream
from rshell.values import Bounds
from tests.support.processes import descriptors
from tests.support.session import DEADLINE, JoinedSession, ServerEnd

MIB = 1024 * 1024
F_GETPIPE_SZ = 1032  # `fcntl` names it from Python 3.10 on


def pipe() -> tuple[BinaryIO, BinaryIO]:
    reading, writing = os.pipe()
    return open_fd(reading, "rb"), open_fd(writing, "wb")


def open_fd(fd: int, mode: str) -> BinaryIO:
    return cast(BinaryIO, os.fdopen(fd, mode, 0))


async def echo(channel: Channel) -> None:
    channel.accept()
    async for block in channel:
        await channel.write(block)


async def wait(channel: Channel) -> None:
    channel.accept()
    await channel.wait_closed()


@asynccontextmanager
async def piped_session(serve: Serve) -> AsyncIterator[JoinedSession]:
    limits = Bounds()
    down, up = pipe(), pipe()
    async with timeout(DEADLINE):
        session = JoinedSession(serve, limits, limits)
        try:
            PipeStream(session.client.driver, limits).connect(down[0], up[1])
            PipeStream(session.server.driver, limits).connect(up[0], down[1])
            await session.client.attached
            yield session
        finally:
            await session.close()


async def test_much_data_both_ways_at_once() -> None:
    async with piped_session(echo) as session:
        data = random.Random(1).randbytes(16 * MIB)
        channel = await session.open()
        writing = asyncio.ensure_future(channel.write(data))
        assert await channel.stream(0).readexactly(len(data)) == data
        await writing


class Nobody:
    """A driver that only hears of the end."""

    def __init__(self) -> None:
        self.lost = asyncio.Event()

    def stream_opened(self, _: object) -> None: ...

    def stream_ready(self) -> None: ...

    def stream_writable(self) -> None: ...

    def receive_eof(self) -> None: ...

    def receive_data(self, _: object) -> None: ...

    def stream_lost(self, _: object) -> None:
        self.lost.set()


async def test_a_stream_that_is_given_up_at_once_leaves_no_pipe_open() -> None:
    class GivenUp(Nobody):
        def stream_opened(self, stream: object) -> None:
            cast(PipeStream, stream).abort()

    for make in (Nobody, GivenUp):
        (incoming, feeding), (reading, outgoing) = pipe(), pipe()
        before = descriptors()
        driver = make()
        stream = PipeStream(cast(Driver, driver), Bounds())
        async with timeout(DEADLINE):
            stream.connect(incoming, outgoing)
            assert incoming.closed and outgoing.closed
            stream.abort()
            await driver.lost.wait()
        assert descriptors() == before - 2
        feeding.close()
        reading.close()


async def test_pipes_that_the_loop_does_not_take_are_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = asyncio.get_running_loop()
    add = loop.add_reader
    for taken in range(2):
        left = iter([add] * taken)

        def refuse(*args: Any, left: Iterator[Any] = left) -> None:
            if (take := next(left, None)) is None:
                raise OSError(28, "no room to watch another one")
            take(*args)

        (incoming, feeding), (reading, outgoing) = pipe(), pipe()
        before = descriptors()
        with monkeypatch.context() as patch, pytest.raises(OSError, match="watch another"):
            patch.setattr(loop, "add_reader", refuse)
            PipeStream(cast(Driver, Nobody()), Bounds()).connect(incoming, outgoing)
        assert descriptors() == before - 2 and incoming.closed and outgoing.closed
        feeding.close()
        reading.close()


async def test_an_aborted_end_is_a_lost_link() -> None:
    async with piped_session(wait) as session:
        channel = await session.open()
        session.server.driver.abort()
        await channel.wait_closed()
        assert isinstance(channel.error, LinkLost)
        await session.client.driver.done.wait()


async def test_a_goodbye_and_then_the_end_is_an_orderly_close() -> None:
    async with piped_session(wait) as session:
        channel = await session.open()
        session.server.link.close("shutdown", "going home")
        await channel.wait_closed()
        assert isinstance(channel.error, SessionClosed)
        assert channel.error.code == "shutdown"
        await session.client.driver.done.wait()


@pytest.mark.parametrize("which", ["reading", "writing"])
async def test_the_end_of_one_pipe_ends_the_other(which: str) -> None:
    """A peer that closed one of its two ends can't go on, and must not keep us."""
    end = ServerEnd()
    to_us, from_us = pipe(), pipe()
    async with timeout(DEADLINE):
        PipeStream(end.driver, Bounds()).connect(to_us[0], from_us[1])
        with to_us[1], from_us[0]:
            (to_us[1] if which == "writing" else from_us[0]).close()
            await end.driver.done.wait()
    assert isinstance(end.cause, LinkLost)


async def test_garbage_is_answered_by_a_goodbye() -> None:
    end = ServerEnd()
    to_us, from_us = pipe(), pipe()
    async with timeout(DEADLINE):
        PipeStream(end.driver, Bounds()).connect(to_us[0], from_us[1])
        with to_us[1], from_us[0]:
            to_us[1].write(b"bash: rshell-server: command not found\n")
            await end.driver.done.wait()
            assert b"frame-too-long" in from_us[0].read()


@pytest.mark.parametrize("which", ["incoming", "outgoing"])
async def test_files_are_refused(tmp_path: Path, which: str) -> None:
    path = tmp_path / "file"
    path.touch()
    reading, writing = pipe()
    end = ServerEnd()
    with reading, writing, open_fd(os.open(path, os.O_RDWR), "r+b") as file:
        incoming, outgoing = (file, writing) if which == "incoming" else (reading, file)
        with pytest.raises(ConfigurationError, match="not files"):
            PipeStream(end.driver, Bounds()).connect(incoming, outgoing)
        for _ in range(3):
            await asyncio.sleep(0)  # until the transport that was made is gone
    end.driver.abort()


@pytest.mark.parametrize("which", ["incoming", "outgoing"])
async def test_a_device_that_can_not_be_waited_for_is_refused(which: str) -> None:
    """asyncio takes /dev/null, and stumbles over it in a callback later."""
    reading, writing = pipe()
    end = ServerEnd()
    with reading, writing, open_fd(os.open(os.devnull, os.O_RDWR), "wb") as null:
        incoming, outgoing = (null, writing) if which == "incoming" else (reading, null)
        with pytest.raises(ConfigurationError, match="/dev/null"):
            PipeStream(end.driver, Bounds()).connect(incoming, outgoing)
    end.driver.abort()


TAKEN = """
import os, sys
from rshell.transport.stdio import take_stdio
incoming, outgoing = take_stdio()
print("a stray print", flush=True)
assert sys.stdin.read() == ""
outgoing.write(b"<" + incoming.read(100) + b">")
"""


def test_stray_prints_and_reads_do_not_touch_a_link_on_our_stdio() -> None:
    done = subprocess.run(
        [sys.executable, "-c", TAKEN], input=b"frames", capture_output=True, timeout=DEADLINE
    )
    assert (done.stdout, done.stderr) == (b"<frames>", b"a stray print\n")
    assert done.returncode == 0


async def test_one_socket_may_be_both_ends() -> None:
    """What came was taken for the end of who reads."""
    ours, theirs = socket.socketpair()
    end = ServerEnd()
    with theirs:
        theirs.setblocking(False)
        loop = asyncio.get_running_loop()
        async with timeout(DEADLINE):
            fd = ours.detach()
            PipeStream(end.driver, Bounds()).connect(open_fd(os.dup(fd), "rb"), open_fd(fd, "wb"))
            first = await loop.sock_recv(theirs, 1000)
            await loop.sock_sendall(theirs, first)
            assert not end.driver.done.is_set()
            theirs.shutdown(socket.SHUT_WR)
            await end.driver.done.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the size of a pipe")
async def test_pipes_that_are_busy_are_made_to_hold_more() -> None:
    async with timeout(DEADLINE):
        (incoming, feeding), (reading, outgoing) = pipe(), pipe()
        driver = Nobody()
        stream = PipeStream(cast(Driver, driver), Bounds())
        stream.connect(incoming, outgoing)
        sizes = [fcntl.fcntl(end, F_GETPIPE_SZ) for end in (feeding, reading)]
        assert sizes == [64 * 1024] * 2
        os.write(feeding.fileno(), bytes(64 * 1024))
        stream.write([bytes(4 * 64 * 1024)])
        left = 4 * 64 * 1024
        while left:
            left -= len(await asyncio.to_thread(os.read, reading.fileno(), left))
        sizes = [fcntl.fcntl(end, F_GETPIPE_SZ) for end in (feeding, reading)]
        assert sizes == [MIB] * 2
        stream.abort()
        await driver.lost.wait()
        feeding.close()
        reading.close()
