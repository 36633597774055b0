"""Helpers of coroutines: the first of several, changes, owned tasks, and what opens."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable

import pytest

from rshell.aio import (
    Changes,
    Opening,
    Tasks,
    accompanied,
    all_of,
    first_of,
    on_failure,
    readable,
    start_task,
    timeout,
    was_cancelled,
    writable,
)
from tests.support.session import until


class Door:
    def __init__(self) -> None:
        self.closed_with: list[type[BaseException] | None] = []

    async def __aenter__(self) -> Door:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: object, traceback: object
    ) -> None:
        self.closed_with.append(exc_type)


async def test_awaiting_opens_and_closes_nothing() -> None:
    door = Door()

    async def start() -> Door:
        return door

    assert await Opening(start) is door
    assert door.closed_with == []


async def test_entering_opens_and_leaving_closes_once() -> None:
    door = Door()

    async def start() -> Door:
        return door

    async with Opening(start) as opened:
        assert opened is door
        assert door.closed_with == []
    assert door.closed_with == [None]


async def test_leaving_by_an_exception_tells_which_and_lets_it_through() -> None:
    door = Door()

    async def start() -> Door:
        return door

    with pytest.raises(KeyError):
        async with Opening(start):
            raise KeyError
    assert door.closed_with == [KeyError]


async def test_what_failed_to_open_is_not_closed() -> None:
    async def start() -> Door:
        raise OSError("locked")

    with pytest.raises(OSError, match="locked"):
        async with Opening(start):
            pytest.fail("it is not open")


async def test_nothing_starts_before_it_is_awaited() -> None:
    started = []

    async def start() -> Door:
        started.append(True)
        return Door()

    opening = Opening(start)
    assert not started
    await opening
    assert started


async def forever(log: list[str]) -> None:
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        await asyncio.sleep(0)  # as cleaning up may
        log.append("cleaned up")


async def give(value: object) -> object:
    return value


async def fail() -> None:
    raise KeyError("broken")


async def test_all_of_several_or_the_first_error_and_none_goes_on() -> None:
    log: list[str] = []
    assert await all_of(give(1), give(2)) == [1, 2]
    with pytest.raises(KeyError):
        await all_of(forever(log), fail())
    assert log == ["cleaned up"]
    waiting = asyncio.ensure_future(all_of(forever(log), forever(log)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert log == ["cleaned up"] * 3


async def test_a_helper_that_fails_ends_the_work_and_one_that_is_done_does_not() -> None:
    """A task that feeds a command and dies unseen: a command that waits for ever."""
    log: list[str] = []

    async def work() -> str:
        for _ in range(5):
            await asyncio.sleep(0)
        return "done"

    assert await accompanied(work(), give(None)) == "done"
    assert await accompanied(work(), forever(log)) == "done"
    assert log == ["cleaned up"]
    with pytest.raises(KeyError):
        await accompanied(forever(log), fail())
    assert log == ["cleaned up"] * 2
    assert await accompanied(give("done"), fail()) == "done", "both at once: the work counts"


async def test_the_first_of_several_counts_and_the_others_are_over_afterwards() -> None:
    log: list[str] = []
    assert await first_of(forever(log), give("it"), forever(log)) == (1, "it")
    assert log == ["cleaned up"] * 2
    assert await first_of(give(1), give(2)) == (0, 1), "the first in order, where both are done"
    with pytest.raises(KeyError):
        await first_of(forever(log), fail())
    assert log == ["cleaned up"] * 3


async def test_cancelling_a_wait_for_the_first_ends_them_all() -> None:
    log: list[str] = []
    waiting = asyncio.ensure_future(first_of(forever(log), forever(log)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert log == ["cleaned up"] * 2


async def test_the_owner_of_a_task_is_told_of_its_failure_and_of_nothing_else() -> None:
    told: list[BaseException] = []
    tasks = [asyncio.ensure_future(work) for work in (fail(), give(1), forever([]))]
    for task in tasks:
        on_failure(task, told.append)
    await asyncio.sleep(0)
    tasks[2].cancel()
    await asyncio.wait(tasks)
    assert list(map(repr, told)) == ["KeyError('broken')"]


async def test_what_is_shielded_goes_on_after_another_was_first() -> None:
    future = asyncio.get_running_loop().create_future()
    assert await first_of(asyncio.shield(future), give("it")) == (1, "it")
    assert not future.done()
    future.set_result("late")


async def test_a_change_wakes_all_who_wait_and_none_who_come_later() -> None:
    changes, woken = Changes(), []
    changes.notify()  # nobody waits

    async def wait(name: str) -> None:
        await changes.wait()
        woken.append(name)

    waiting = [asyncio.ensure_future(wait(name)) for name in "abc"]
    await asyncio.sleep(0)
    waiting[2].cancel()
    await asyncio.sleep(0)
    changes.notify()
    late = asyncio.ensure_future(wait("late"))
    await asyncio.gather(*waiting[:2])
    assert woken == ["a", "b"] and not late.done()
    changes.notify()
    await late


async def test_tasks_are_owned_until_they_are_over_and_their_failures_are_told() -> None:
    failures: list[BaseException] = []
    tasks, log = Tasks(failures.append), list[str]()

    async def begin_another() -> None:
        tasks.own(fail())

    tasks.own(begin_another())
    tasks.own(forever(log))
    await asyncio.sleep(0)
    assert len(tasks) == 3
    await until(lambda: len(tasks) == 1)
    tasks.cancel()
    await tasks.join()
    assert not len(tasks) and log == ["cleaned up"]
    assert [type(error) for error in failures] == [KeyError]


async def test_a_task_that_fails_is_logged_where_nobody_asked_to_be_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tasks = Tasks()
    tasks.own(fail())
    await tasks.join()
    [record] = caplog.records
    assert record.levelname == "ERROR" and record.exc_info is not None


async def never() -> None:
    await asyncio.Event().wait()


async def child() -> None:
    await asyncio.ensure_future(never())


async def gathered() -> None:
    await all_of(never(), never())


async def until_cancelled_twice() -> None:
    try:
        await never()
    finally:
        await asyncio.sleep(0)


async def racing() -> None:
    await first_of(never(), never())


WAYS_TO_WAIT = [never, child, gathered, racing, until_cancelled_twice]


async def test_a_timeout_raises_the_built_in_error_and_leaves_nothing() -> None:
    for wait in WAYS_TO_WAIT:
        for delay in (0.001, 0, -1):
            with pytest.raises(TimeoutError):
                async with timeout(delay) as block:
                    await wait()
            assert block.expired()
            await asyncio.sleep(0)  # nobody is cancelled any more
    async with timeout(None), timeout(60) as block:
        await asyncio.sleep(0)
    assert not block.expired()
    for error in (KeyError, TimeoutError, asyncio.CancelledError):
        with pytest.raises(error):
            async with timeout(60) as block:
                raise error
        assert not block.expired()


async def test_of_timeouts_within_each_other_the_one_whose_time_is_up_raises() -> None:
    for inner, outer in ((0.001, 60), (60, 0.001), (0, 0), (0.001, 0.001)):
        for wait in WAYS_TO_WAIT:
            is_caught = False
            with pytest.raises(TimeoutError):
                async with timeout(outer) as around:
                    try:
                        async with timeout(inner):
                            await wait()
                    except TimeoutError:
                        is_caught = True
                    assert not around.expired()
                    await never() if outer < 60 else None
                    raise TimeoutError
            assert is_caught == (inner < outer)


async def test_a_cancel_in_the_moment_of_a_timeout_is_not_lost() -> None:
    loop = asyncio.get_running_loop()
    went_on = []

    async def work(wait: Callable[[], Awaitable[None]]) -> None:
        async with timeout(60) as outer:
            try:
                async with timeout(0.01):
                    await wait()
            except TimeoutError:
                went_on.append(wait)
            assert not outer.expired()
            await never()

    for wait in (never, racing):
        # Before its timer, with it, and right after it, in one turn of the loop.
        for order in (0.0, 0.01, 0.0101):
            task = asyncio.ensure_future(work(wait))
            await asyncio.sleep(0)
            loop.call_later(order, task.cancel)
            time.sleep(0.02)  # noqa: ASYNC251
            await asyncio.wait([task], timeout=5)
            assert task.cancelled() and not went_on, (wait, order)


async def test_whether_a_task_was_cancelled_is_known_while_it_cleans_up() -> None:
    task = start_task(asyncio.get_running_loop(), until_cancelled_twice())
    await asyncio.sleep(0)
    assert not was_cancelled(task)
    task.cancel()
    assert was_cancelled(task) and not task.done()
    await asyncio.sleep(0)
    assert was_cancelled(task) and not task.done()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_a_descriptor_is_waited_for_and_let_go_of_whoever_gives_up() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    loop = asyncio.get_running_loop()
    try:
        await writable(writing)
        for wait, fd in ((readable, reading), (writable, writing)):
            while wait is writable:
                try:
                    os.write(writing, bytes(65536))
                except BlockingIOError:
                    break
            task = asyncio.ensure_future(wait(fd))
            await asyncio.sleep(0)
            assert not task.done()
            task.cancel()
            await asyncio.wait([task])
            assert not loop.remove_reader(fd) and not loop.remove_writer(fd)
        await readable(reading)  # there is much by now
    finally:
        os.close(reading)
        os.close(writing)
