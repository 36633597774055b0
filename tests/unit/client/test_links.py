"""Keeping a session over cuts: when to dial, when to wait, and when to stop."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast

import pytest

from rshell.aio import timeout
from rshell.client.links import ClientLink, Reconnector
from rshell.errors import (
    AuthenticationFailed,
    ConfigurationError,
    ConnectError,
    LinkLost,
    OpenTimeout,
    ResumeFailed,
    RshellError,
    SessionClosed,
    UntrustedServer,
    VersionMismatch,
)
from rshell.transport.live_session import LiveSession
from rshell.values import Bounds
from tests.support.memory import MemoryStream, join_in_memory
from tests.support.session import DEADLINE, ServerEnd, until

LIMITS = Bounds(resume_window=100.0)


class Bench:
    """A reconnector over links in memory; `steps` say what each attempt to come back meets.

    After the last step, attempts wait until they are cancelled.
    """

    def __init__(self, limits: Bounds, steps: list[BaseException | str]) -> None:
        self.limits = limits
        self.steps = steps
        self.attempts: list[float] = []
        self.servers: list[ServerEnd] = []
        self.streams: list[MemoryStream] = []
        self.links: list[ClientLink] = []
        self.changes: list[bool] = []

    async def open(self, *, can_redial: bool = True) -> Reconnector:
        """Attach the first link and give it to a reconnector."""
        link = await self.attach(None)
        self.reconnector = Reconnector(link, self.redial if can_redial else None, self.limits)
        self.reconnector.on_change = lambda: self.changes.append(self.reconnector.is_up)
        return self.reconnector

    async def attach(self, live: LiveSession | None) -> ClientLink:
        """Join a new link to the server that holds the one session."""
        server = ServerEnd(limits=self.limits, keeps=True)
        if self.servers:
            server.live = self.servers[0].live
        self.servers.append(server)
        link = ClientLink(None, None, self.limits, live, is_kept=True)
        self.links.append(link)
        stream, _ = join_in_memory(link.driver, server.driver, limit=2**18, piece=2**16)
        self.streams.append(stream)
        await link.attached
        return link

    async def redial(self, live: LiveSession) -> ClientLink:
        """Come back, or meet what the next step says."""
        self.attempts.append(asyncio.get_running_loop().time())
        if not self.steps:
            await asyncio.get_running_loop().create_future()
        step = self.steps.pop(0)
        if isinstance(step, BaseException):
            raise step
        link = await self.attach(live)
        if step == "cut":
            self.cut()  # before the reconnector has heard of it
        return link

    def cut(self) -> None:
        """Cut the present link."""
        self.streams[-1].abort()

    async def close(self) -> None:
        """Let go of everything."""
        await self.reconnector.close()
        for link in self.links:
            link.driver.abort()
        for server in self.servers:
            await server.join()
        if self.reconnector.link.live.error is None:
            self.reconnector.link.live.end(SessionClosed("done", "done", by="local"))


@asynccontextmanager
async def bench(
    *steps: BaseException | str, limits: Bounds = LIMITS, can_redial: bool = True
) -> AsyncIterator[Bench]:
    async with timeout(DEADLINE):
        made = Bench(limits, list(steps))
        await made.open(can_redial=can_redial)
        try:
            yield made
        finally:
            await made.close()


async def ending(made: Bench) -> RshellError:
    """Return what ended the session."""
    with pytest.raises(RshellError) as caught:
        while True:
            await made.reconnector.wait_up()
            await asyncio.sleep(0)
    assert not made.reconnector.is_up and made.reconnector.link.live.error is caught.value
    return caught.value


async def arrived(made: Bench, links: int) -> None:
    """Wait until the last of so many links carries the session."""
    while len(made.links) < links or made.reconnector.link is not made.links[-1]:
        await made.reconnector.wait_up()
        await asyncio.sleep(0)
    await made.reconnector.wait_up()


async def test_a_cut_is_a_pause() -> None:
    async with bench("back", "back") as made:
        first = made.reconnector.link
        for number in (1, 2):
            made.cut()
            await until(lambda: not made.reconnector.is_up)
            await made.reconnector.wait_up()
            assert made.reconnector.link is made.links[number] is not first
        assert made.changes == [False, True, False, True]
        assert made.reconnector.link.live.error is None


async def test_failures_that_may_pass_are_tried_again() -> None:
    passing = (
        ConnectError("no route"),
        OpenTimeout("slow", timeout=1.0),
    )
    async with bench(*passing, "back") as made:
        made.cut()
        await until(lambda: not made.reconnector.is_up)
        await made.reconnector.wait_up()
        assert len(made.attempts) == 3 and made.changes == [False, True]


@pytest.mark.parametrize(
    "failure",
    [
        AuthenticationFailed("revoked"),
        UntrustedServer("another"),
        VersionMismatch("newer", ours=(1, 1), theirs=(2, 2)),
        ConfigurationError("a damaged file"),
        OSError(24, "too many open files"),
        RuntimeError("can't start new thread"),
        MemoryError(),
    ],
)
async def test_a_failure_that_will_not_pass_ends_the_session_and_never_hangs(
    failure: Exception,
) -> None:
    async with bench(failure) as made:
        made.cut()
        error = await ending(made)
        assert isinstance(error, LinkLost) and error.__cause__ is failure
        assert "no way back" in error.reason and len(made.attempts) == 1


async def test_a_server_that_does_not_keep_the_session_is_believed() -> None:
    refusal = ConnectError("no")
    refusal.__cause__ = ResumeFailed("not kept")
    async with bench(ConnectError("a moment"), refusal) as made:
        made.cut()
        assert await ending(made) is refusal.__cause__


async def test_nobody_is_given_up_before_the_window_is_over() -> None:
    refused = [ConnectError("nothing listens")] * 100
    for steps in (refused, []):
        async with bench(*steps, limits=replace(LIMITS, resume_window=0.2)) as made:
            made.cut()
            error = await ending(made)
            assert isinstance(error, LinkLost) and "0.2 s" in error.reason
            assert made.attempts


@pytest.mark.parametrize("forbidden_by", ["window", "way"])
async def test_without_a_way_back_the_session_ends_at_once(forbidden_by: str) -> None:
    limits = replace(LIMITS, resume_window=0.0) if forbidden_by == "window" else LIMITS
    async with bench("back", limits=limits, can_redial=forbidden_by == "window") as made:
        made.cut()
        assert isinstance(await ending(made), LinkLost)
        assert not made.attempts


async def test_a_link_cut_before_its_keeper_heard_of_it_is_replaced_too() -> None:
    async with bench("cut", "cut", "back") as made:
        made.cut()
        await arrived(made, 4)
        assert len(made.attempts) == 3


async def test_links_that_are_cut_before_anything_moved_are_dialled_ever_more_slowly() -> None:
    async with bench(*["cut"] * 4, "back") as made:
        made.cut()
        await arrived(made, 6)
        gaps = [later - sooner for sooner, later in zip(made.attempts, made.attempts[1:])]
        # Half of 0.05, 0.1, 0.2 and 0.4 s at least.
        assert all(gap >= 0.025 * 2**n for n, gap in enumerate(gaps)), gaps


async def test_closing_stops_an_attempt_and_a_later_cut_starts_none() -> None:
    async with bench() as made:
        made.cut()
        await until(lambda: len(made.attempts) == 1)
        await made.reconnector.close()
    async with bench("back") as made:
        await made.reconnector.close()
        made.cut()
        assert isinstance(await ending(made), LinkLost)
        assert not made.attempts


async def test_the_end_of_an_old_link_means_nothing() -> None:
    async with bench("back") as made:
        made.cut()
        await until(lambda: not made.reconnector.is_up)
        await made.reconnector.wait_up()
        old = made.links[0]
        old.live.on_lost(old.driver)
        assert made.reconnector.is_up and made.changes == [False, True]


async def test_waiting_for_a_link_can_be_cancelled() -> None:
    async with bench() as made:
        made.cut()
        await until(lambda: not made.reconnector.is_up)
        waiting = asyncio.ensure_future(made.reconnector.wait_up())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert made.reconnector.link.live.error is None


class Word:
    """What a witness is told, without one."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, session: str, secret: str) -> None:
        self.said.append("note")

    def withdraw(self, *, tells: bool) -> None:
        self.said.append(f"withdraw {tells}")


async def test_leaving_that_is_cancelled_at_its_first_wait_tells_the_witness_all_the_same() -> None:
    """Or the server kept a session that nobody comes back to, and the witness a record of it."""
    word = Word()
    async with bench() as made:
        made.reconnector = Reconnector(
            made.links[0], made.redial, made.limits, lambda: cast(Any, word)
        )
        made.cut()
        await until(lambda: len(made.attempts) == 1)
        leaving = asyncio.ensure_future(made.reconnector.leave())
        await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        assert made.links[0].live.error is not None
        assert word.said == ["note", "withdraw True"]


async def test_who_would_come_back_for_ever_asks_for_the_longest_time_there_is() -> None:
    for window in (math.inf, 1e12):
        async with bench("back", limits=replace(LIMITS, resume_window=window)) as made:
            made.cut()
            await arrived(made, 2)
            assert made.reconnector.is_up


async def test_a_goodbye_ends_the_session_and_nobody_dials() -> None:
    async with bench("back") as made:
        made.servers[0].link.close("shutdown", "enough")
        error = await ending(made)
        assert isinstance(error, SessionClosed) and error.code == "shutdown"
        assert not made.attempts


async def test_a_listener_that_raises_is_logged_and_the_way_back_stays(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The next link's loss was never noticed, and the session hung for ever."""

    def fail() -> None:
        raise KeyError("a bug")

    async with bench("back", "back", "back") as made:
        made.reconnector.on_change = fail
        for links in (2, 3, 4):
            made.cut()
            await arrived(made, links)
        assert made.reconnector.is_up
    assert [record.exc_info is not None for record in caplog.records] == [True] * 6
