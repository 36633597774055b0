"""The server's side of the reaper: when it is started, what it is told, and its end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from rshell.execution.reaper_client import Reaper
from tests.execution.helpers import DEADLINE, await_gone, begin, is_alive, no_leak, our_children


@contextmanager
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    popen = begin("sleep", "100")
    try:
        yield popen
    finally:
        popen.kill()
        popen.wait()


async def close(reaper: Reaper) -> None:
    async with asyncio.timeout(DEADLINE):
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
        reaper = Reaper(1)
        reaper.add(kept.pid)
        reaper.add(removed.pid)
        reaper.remove(removed.pid)
        await close(reaper)
        assert kept.wait(DEADLINE) == -signal.SIGHUP
        assert removed.poll() is None
        assert stranger.poll() is None


async def test_a_killed_one_is_replaced_without_a_zombie_and_not_told_of_the_removed() -> None:
    with no_leak(), sleeper() as first, sleeper() as removed, sleeper() as last:
        reaper = Reaper(1)
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
