"""Our side of the witness: one process for all sessions, which is told and shows nothing more."""

from __future__ import annotations

import asyncio
import math
import os
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path

import pytest

import rshell
from rshell.aio import timeout
from rshell.client import witness_client
from rshell.client.client import Client
from rshell.security.credentials import Trust
from rshell.values import Address, Bounds
from tests.support.audit import noted
from tests.support.commands import DEADLINE
from tests.support.commands import until as wait_until
from tests.support.execution import await_gone, is_alive

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")

SOON = Bounds(witness_after=0.0)
needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")


def pid() -> int:
    popen = witness_client._witness._popen
    return 0 if popen is None else popen.pid


async def seen() -> int:
    await asyncio.to_thread(wait_until, pid, "the witness")
    return pid()


@needs_proc
async def test_it_holds_a_pipe_and_shows_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    async with timeout(DEADLINE), rshell.serve("127.0.0.1", 0) as server:
        assert server.token_line is not None
        monkeypatch.setenv("RSHELL_TOKEN", server.token_line)
        async with rshell.connect(server.addresses[0], limits=SOON) as client:
            proc = Path(f"/proc/{await seen()}")
            await asyncio.to_thread(wait_until, lambda: b"witness" in _read(proc, "cmdline"), "it")
            secret = client.links.link.live.session.secret.encode()
            token = server.token_line.split()[-1].encode()
            for shown in (_read(proc, "cmdline"), _read(proc, "environ")):
                assert shown and secret not in shown and token not in shown
            # It opens modules while it starts.
            await asyncio.to_thread(wait_until, lambda: _held(proc) == ["/dev/null"] * 2, "it")
            assert str((proc / "fd" / "0").readlink()).startswith("pipe:")
            assert os.getsid(pid()) == pid()


def _held(proc: Path) -> list[str]:
    """Return what it holds beside its stdin."""
    numbers = sorted(int(each.name) for each in (proc / "fd").iterdir())
    held = []
    for number in numbers[1:]:
        with suppress(FileNotFoundError):
            held.append(str((proc / "fd" / str(number)).readlink()))
    return held


def _read(proc: Path, name: str) -> bytes:
    return (proc / name).read_bytes()


async def test_a_program_has_one_and_it_ends_with_the_last_session() -> None:
    async with timeout(DEADLINE), rshell.serve("127.0.0.1", 0) as server:
        where = server.addresses[0]
        async with rshell.connect(where, limits=SOON):
            first = await seen()
            async with rshell.connect(where, limits=SOON) as other:
                await asyncio.to_thread(
                    wait_until, lambda: len(witness_client._witness.lines) == 2, "both"
                )
                assert (await other.run("echo on")).stdout == b"on\n"
            assert pid() == first and len(witness_client._witness.lines) == 1
        assert pid() == 0 and not is_alive(first) and not witness_client._witness.lines


async def test_nothing_is_started_for_what_ends_soon_or_may_not_come_back() -> None:
    async with timeout(DEADLINE), rshell.serve("127.0.0.1", 0) as server:
        where = server.addresses[0]
        for limits in (Bounds(witness_after=60.0), Bounds(witness_after=0.0, resume_window=0.0)):
            async with rshell.connect(where, limits=limits) as client:
                assert (await client.run("echo on")).stdout == b"on\n"
                assert pid() == 0


async def test_one_that_died_is_replaced_at_the_next_word() -> None:
    async with timeout(DEADLINE), rshell.serve("127.0.0.1", 0) as server:
        where = server.addresses[0]
        async with rshell.connect(where, limits=SOON) as client:
            first = await seen()
            os.kill(first, signal.SIGKILL)
            await asyncio.to_thread(await_gone, first)
            await come_back(client)
            assert pid() not in (0, first)


async def come_back(client: Client) -> None:
    client.links.link.driver.abort()
    await noted("resume")
    await client.links.wait_up()


def test_a_crowd_of_sessions_waits_for_the_one_that_is_just_beginning() -> None:
    """The pipe was full, and the witness was started anew for each of them and told half."""
    trust = Trust("somebody", "t" * 43, "f" * 43)
    crowd = [
        witness_client.Testimony(Address("127.0.0.1", 1), trust, None, 1.0) for _ in range(400)
    ]
    try:
        crowd[0].note("session", "secret" * 10)
        first = pid()
        assert first
        for each in crowd[1:]:
            each.note("session", "secret" * 10)
        assert pid() == first
    finally:
        for each in crowd:
            each.withdraw(tells=False)
    assert pid() == 0


async def test_where_none_can_be_started_nobody_minds(monkeypatch: pytest.MonkeyPatch) -> None:
    async with timeout(DEADLINE), rshell.serve("127.0.0.1", 0) as server:
        for name, value in (("executable", "/no/such/python"), ("frozen", True)):
            with monkeypatch.context() as changed:
                changed.setattr(sys, name, value, raising=False)
                async with rshell.connect(server.addresses[0], limits=SOON) as client:
                    assert (await client.run("echo on")).stdout == b"on\n"
                    assert pid() == 0


def test_the_witness_of_a_client_that_would_come_back_for_ever_does_not_stay_for_ever() -> None:
    for window, tries in ((30.0, 30.0), (math.inf, 86400.0)):
        testimony = witness_client.Testimony(Address("far", 1), None, None, window)
        assert testimony._way["window"] == tries
