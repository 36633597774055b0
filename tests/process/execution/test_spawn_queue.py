"""Fairness of starting processes, the bound on their number, and cancelled turns."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import pytest

from rshell.errors import SpawnError
from rshell.execution.running_process import RunningProcess
from rshell.execution.spawn_queue import SpawnQueue
from tests.support.execution import DEADLINE, command, no_leak


@pytest.fixture
def null() -> Iterator[int]:
    fd = os.open(os.devnull, os.O_RDWR)
    yield fd
    os.close(fd)


async def start(turns: SpawnQueue, null: int, *argv: str) -> RunningProcess:
    return await turns.spawn(command(*argv), stdin=null, stdout=null, stderr=null)


async def test_a_pass_of_the_loop_starts_one_at_most(null: int) -> None:
    with no_leak():
        turns = SpawnQueue(1000)
        started: list[RunningProcess] = []

        async def one() -> None:
            started.append(await start(turns, null, "true"))

        tasks = [asyncio.ensure_future(one()) for _ in range(50)]
        before = 0
        async with asyncio.timeout(DEADLINE):
            while len(started) < 50:
                await asyncio.sleep(0)
                assert len(started) - before <= 1
                before = len(started)
            await asyncio.gather(*tasks)
            for process in started:
                await process.wait()
        assert turns.count == 0


async def test_a_free_turn_is_taken_without_a_switch_of_tasks(null: int) -> None:
    turns = SpawnQueue(10)
    coroutine = start(turns, null, "true")
    with pytest.raises(StopIteration) as ended:
        coroutine.send(None)
    process: RunningProcess = ended.value.value
    async with asyncio.timeout(DEADLINE):
        await process.wait()


async def test_more_than_the_limit_are_refused_at_once(null: int) -> None:
    with no_leak():
        turns = SpawnQueue(2)
        first = await start(turns, null, "sleep", "100")
        second = await start(turns, null, "sleep", "100")
        with pytest.raises(SpawnError) as refused:
            await start(turns, null, "true")
        assert refused.value.status == 126
        await first.end(1000)
        third = await start(turns, null, "true")
        await third.wait()
        await second.end(1000)
        assert turns.count == 0


async def test_a_failed_start_gives_its_place_back(null: int) -> None:
    turns = SpawnQueue(1)
    for _ in range(3):
        with pytest.raises(SpawnError) as refused:
            await start(turns, null, "no-such-program-anywhere")
        assert refused.value.status == 127
    assert turns.count == 0


async def test_a_cancelled_waiter_passes_its_turn_on(null: int) -> None:
    """Cancelled both while it waits and after it was given the turn."""
    with no_leak():
        turns = SpawnQueue(100)
        running: list[RunningProcess] = []
        for passes in range(6):
            tasks = [asyncio.ensure_future(start(turns, null, "true")) for _ in range(4)]
            for _ in range(passes):
                await asyncio.sleep(0)
            tasks[1].cancel()
            tasks[2].cancel()
            async with asyncio.timeout(DEADLINE):
                results = await asyncio.gather(*tasks, return_exceptions=True)
            running += [result for result in results if isinstance(result, RunningProcess)]
            assert not isinstance(results[0], BaseException)
            assert not isinstance(results[3], BaseException)
        async with asyncio.timeout(DEADLINE):
            for process in running:
                await process.wait()
        assert turns.count == 0
