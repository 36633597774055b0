"""The server's side of the reaper: when it is started, what it is told, and its end."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from rshell.aio import timeout
from rshell.execution.reaper_client import Reaper
from tests.support.execution import (
    DEADLINE,
    await_gone,
    begin,
    is_alive,
    no_leak,
    our_children,
    until,
)


@contextmanager
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    popen = begin("sleep", "100")
    try:
        yield popen
    finally:
        popen.kill()
        popen.wait()


async def close(reaper: Reaper) -> None:
    async with timeout(DEADLINE):
        await reaper.close()


async def test_it_starts_with_the_first_process_and_only_once() -> None:
    with no_leak(), sleeper() as first, sleeper() as second:
        reaper = Reaper(1000)
        assert reaper.pid is None
        reaper.remove(first.pid)  # never added
        assert reaper.pid is None
        reaper.add(first.pid)
        pid = reaper.pid
        assert pid is not None and is_alive(pid)
        reaper.add(second.pid)
        assert reaper.pid == pid
        reaper.remove(first.pid)
        reaper.remove(second.pid)
        await close(reaper)


async def test_only_what_was_added_and_not_removed_is_ended() -> None:
    with no_leak(), sleeper() as kept, sleeper() as removed, sleeper() as stranger:
        reaper = Reaper(30)
        reaper.add(kept.pid)
        reaper.add(removed.pid)
        reaper.remove(removed.pid)
        await close(reaper)
        assert kept.wait(DEADLINE) == -signal.SIGHUP
        assert removed.poll() is None
        assert stranger.poll() is None


async def test_a_killed_one_is_replaced_without_a_zombie_and_not_told_of_the_removed() -> None:
    with no_leak(), sleeper() as first, sleeper() as removed, sleeper() as last:
        reaper = Reaper(30)
        reaper.add(first.pid)
        reaper.add(removed.pid)
        lost = reaper.pid
        assert lost is not None
        os.kill(lost, signal.SIGKILL)
        await_gone(lost)
        reaper.remove(removed.pid)  # finds nobody to tell
        reaper.add(last.pid)
        assert reaper.pid not in (None, lost)
        assert lost not in our_children()
        await close(reaper)
        assert first.wait(DEADLINE) == last.wait(DEADLINE) == -signal.SIGHUP
        assert removed.poll() is None


async def test_one_that_was_killed_is_replaced_at_once_and_the_next_knows_all_that_live() -> None:
    """Not only when it should hear of something: the server may be killed before that."""
    with no_leak(), sleeper() as first, sleeper() as removed, sleeper() as last:
        reaper = Reaper(30)
        for popen in (first, removed, last):
            reaper.add(popen.pid)
        reaper.remove(removed.pid)
        reaper._earliest = 0.0  # it has run for a while
        lost = reaper.pid
        assert lost is not None
        os.kill(lost, signal.SIGKILL)
        await until(lambda: reaper.pid not in (None, lost), "the next one")
        assert lost not in our_children()
        await close(reaper)
        assert first.wait(DEADLINE) == last.wait(DEADLINE) == -signal.SIGHUP
        assert removed.poll() is None


async def test_one_that_ends_as_soon_as_it_starts_is_not_started_in_a_loop() -> None:
    with no_leak(), sleeper() as child:
        reaper = Reaper(30)
        reaper.add(child.pid)
        assert reaper.pid is not None
        os.kill(reaper.pid, signal.SIGKILL)
        await until(lambda: reaper.pid is None, "its end to be seen")
        assert reaper._timer is not None
        assert reaper._timer.when() > asyncio.get_running_loop().time()
        await close(reaper)
        assert child.poll() is None


async def test_close_leaves_no_zombie_and_the_next_process_starts_another() -> None:
    with no_leak(), sleeper() as child:
        reaper = Reaper(1000)
        await close(reaper)  # never started
        pids = set()
        for _ in range(2):
            reaper.add(child.pid)
            assert reaper.pid is not None
            pids.add(reaper.pid)
            reaper.remove(child.pid)
            await close(reaper)
            assert reaper.pid is None
            assert not pids & our_children()
        assert child.poll() is None


async def test_a_cancelled_close_kills_it_at_once() -> None:
    with no_leak(), sleeper() as child:
        reaper = Reaper(1000)
        reaper.add(child.pid)
        pid = reaper.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)  # or it might end before
        closing = asyncio.create_task(reaper.close())
        await asyncio.sleep(0)  # it waits
        closing.cancel()
        await asyncio.wait([closing], timeout=DEADLINE)
        assert closing.cancelled()
        assert not is_alive(pid)
        assert child.poll() is None


async def test_a_deaf_one_can_not_wake_up_and_act_on_an_old_list() -> None:
    with no_leak(), sleeper() as child, sleeper() as other:
        reaper = Reaper(30)
        reaper.add(child.pid)
        deaf = reaper.pid
        assert deaf is not None
        reaper.add(other.pid)
        os.kill(deaf, signal.SIGSTOP)
        # Or it would read what fills its pipe.
        await asyncio.to_thread(os.waitid, os.P_PID, deaf, os.WSTOPPED | os.WNOWAIT)
        for block in (b"-0\n" * 1000, b"-"):  # until the pipe is full to the last byte
            with suppress(BlockingIOError):
                while True:
                    os.write(reaper._fd, block)
        reaper.remove(other.pid)
        assert not is_alive(deaf)
        assert reaper.pid is not None
        await close(reaper)
        assert child.wait(DEADLINE) == -signal.SIGHUP  # the new one knew of it
        assert other.poll() is None


async def test_a_process_that_can_not_be_guarded_is_not_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with no_leak(), sleeper() as child:
        reaper = Reaper(30)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            reaper.add(child.pid)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert reaper.pid is None and "would outlive" in caplog.text
        reaper.add(child.pid)
        assert reaper.pid is not None
        reaper.remove(child.pid)
        await close(reaper)
        assert child.poll() is None
