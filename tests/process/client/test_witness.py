"""The witness: what it was told to forget, to tell now, and to tell when its client has ended."""

from __future__ import annotations

import asyncio
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import rshell
from rshell.aio import timeout
from rshell.client.client import Client
from rshell.security.credentials import find_trust
from rshell.security.files import private_directory
from rshell.values import Address, Bounds
from tests.support.audit import audited, noted
from tests.support.commands import DEADLINE, ROOT, until
from tests.support.execution import is_alive

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")

ALONE = Bounds(witness_after=math.inf)
START = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); "
    "from rshell.client.witness import main; main()"
)


@contextmanager
def witness() -> Iterator[subprocess.Popen[bytes]]:
    argv = [sys.executable, "-I", "-S", "-c", START, str(ROOT)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, cwd="/") as popen:
        try:
            yield popen
        finally:
            popen.kill()


def say(popen: subprocess.Popen[bytes], line: bytes) -> None:
    assert popen.stdin is not None
    popen.stdin.write(line + b"\n")
    popen.stdin.flush()


def record(client: Client, address: Address, **more: object) -> bytes:
    session = client.links.link.live.session
    trust = None if address.path else find_trust(Address("127.0.0.1"))
    facts = {
        "address": str(address),
        "identity": trust and trust.identity,
        "token": trust and trust.token,
        "fingerprint": trust and trust.fingerprint,
        "ca": None,
        "window": 30.0,
        "session": session.id,
        "secret": session.secret,
    }
    return json.dumps(facts | more).encode()


async def test_each_session_is_ended_when_it_is_time_and_no_other(tmp_path: Path) -> None:
    path = private_directory(tmp_path / "u") / "s"
    async with (
        timeout(DEADLINE),
        rshell.serve("127.0.0.1", 0, unix=path) as server,
        rshell.connect(server.addresses[0], limits=ALONE) as kept,
        rshell.connect(server.addresses[0], limits=ALONE) as now,
        rshell.connect(server.addresses[0], limits=ALONE) as later,
        rshell.connect(server.addresses[1], limits=ALONE) as local,
    ):
        tls, unix = server.addresses
        with witness() as popen:
            say(popen, b"1 " + record(kept, tls))
            say(popen, b"2 " + record(now, tls))
            say(popen, b"3 " + record(later, tls, secret="an old one"))
            say(popen, b"4 " + record(local, unix))
            say(popen, b"5 " + record(kept, Address("127.0.0.1", 1), window=0.1))
            say(popen, b"2 !")
            await noted("end")
            assert server.sessions == 3
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                popen.send_signal(number)  # it has long begun, and hears none of them
            say(popen, b"1")
            say(popen, b"3 " + record(later, tls))
            assert popen.stdin is not None
            popen.stdin.close()
            assert await asyncio.to_thread(popen.wait, DEADLINE) == 0
        await noted("end", 3)
        ended = {entry["session"] for entry in audited("end")}
        ids = [each.links.link.live.session.id for each in (now, later, local)]
        assert ended == set(ids)
        assert (await kept.run("echo on")).stdout == b"on\n"


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_who_tells_for_the_living_does_not_hide_that_the_witness_is_dead() -> None:
    """It had the pipe as well, and so the client spoke to nobody for as long as it tried."""
    way = {"address": "unix:/no/such/socket", "identity": None, "ca": None, "window": 30.0}
    with witness() as popen:
        say(popen, b"1 " + json.dumps(way | {"session": "s", "secret": "s"}).encode())
        say(popen, b"1 !")
        children = Path(f"/proc/{popen.pid}/task/{popen.pid}/children")
        until(lambda: children.read_text() != "", "the one that tells")
        teller = int(children.read_text())
        try:
            popen.kill()
            popen.wait()
            until(lambda: is_deaf(popen), "the end of the pipe")
            assert is_alive(teller)
        finally:
            os.kill(teller, signal.SIGKILL)
        with suppress(BrokenPipeError):
            popen.stdin.close()  # type: ignore[union-attr]


def is_deaf(popen: subprocess.Popen[bytes]) -> bool:
    try:
        say(popen, b"2")
    except BrokenPipeError:
        return True
    return False


async def test_a_session_with_much_on_its_way_is_ended_as_well() -> None:
    """What nobody acknowledged can't be sent again to somebody who has received nothing."""
    async with (
        timeout(DEADLINE),
        rshell.serve("127.0.0.1", 0) as server,
        rshell.connect(server.addresses[0], limits=ALONE) as client,
    ):
        await client.run("head -c 3000000 /dev/zero")
        async with client.open_process("exec cat /dev/zero") as process:
            await process.stdout.readexactly(100_000)
            with witness() as popen:
                say(popen, b"1 " + record(client, server.addresses[0]))
                assert popen.stdin is not None
                popen.stdin.close()
                assert await asyncio.to_thread(popen.wait, DEADLINE) == 0
            await noted("ended", 2)
        assert server.sessions == 0
