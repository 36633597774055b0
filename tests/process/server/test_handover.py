"""What is handed over to a background server, by whoever it is, and when it has nothing to do."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from rshell.server.enter import TAKEN, hand_over
from rshell.server.handover import take_handed, until_idle
from rshell.values import Bounds

BRIEF = Bounds(login_seconds=0.2)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs


async def test_descriptors_and_an_environment_of_any_size_arrive(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = ends
    environment = {"A": "x" * 500_000, "B": "\udcff\n"}
    read_fd, write_fd = os.pipe()
    sending = asyncio.to_thread(hand_over, theirs, (read_fd, write_fd), environment)
    handed, _ = await asyncio.gather(take_handed(ours, Bounds()), sending)
    os.close(read_fd)
    os.close(write_fd)
    assert handed is not None and theirs.recv(10) == TAKEN
    with handed.incoming, handed.outgoing:
        assert not os.get_inheritable(handed.incoming.fileno())
        assert handed.environment == environment
        handed.outgoing.write(b"through")
        assert handed.incoming.read(7) == b"through"


async def test_who_says_it_wrong_or_not_at_all_leaves_no_descriptor(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = ends
    line = json.dumps({"environment": {"A": "b"}}).encode()
    wrong = (
        *((line + b"\n", 1), (line + b"\n", 0), (line, 2), (b"", 2), (b"no json\n", 2)),
        *((b"[]\n", 2), (b'{"environment": 3}\n', 2), (b'{"environment": {"A": 1}}\n', 2)),
        *((b'{"environment": {"A\\u0000": "b"}}\n', 2), (b"[" * 100_000 + b"\n", 2)),
    )
    for data, count in wrong:
        nothing = os.open(os.devnull, os.O_RDWR)
        before = len(list(Path("/dev/fd").iterdir()))
        if data:
            socket.send_fds(theirs, [data], [nothing] * count)
        assert await take_handed(ours, BRIEF) is None, data[:80]
        assert len(list(Path("/dev/fd").iterdir())) == before
        os.close(nothing)
        theirs.recv(10)
    theirs.shutdown(socket.SHUT_WR)
    assert await take_handed(ours, BRIEF) is None


async def test_a_server_ends_once_it_has_been_idle_for_long_enough() -> None:
    busy = [True]
    waiting = asyncio.ensure_future(until_idle(lambda: not busy[0], 0.1))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    busy[0] = False
    await waiting
