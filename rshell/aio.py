"""What asyncio lacks and several layers need, once each: who waits, who owns, who opens.

Nothing here knows anything of rshell. What asyncio lacked before Python 3.11 is at the end, under
the names and with the meaning that it has there; it goes when no older Python is served.

Hazards:
- `asyncio.TimeoutError` is not the built-in `TimeoutError` before Python 3.11. `timeout` raises the
  built-in one everywhere; `asyncio.wait_for` does not, and before Python 3.12 it may also lose a
  cancellation: nobody here uses it.
- Before Python 3.10 events, locks and queues belong to the loop that runs where they are made.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, TypeVar

Result = TypeVar("Result")


async def first_of(*works: Awaitable[Any]) -> tuple[int, Any]:
    """Wait until one of `works` is done; return its index and its result, or raise its error.

    Of several that are done at once the first in order counts. The others are cancelled and
    waited for, and so are all of them when the caller is cancelled; shield what must go on.
    """
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        index = next(index for index, task in enumerate(tasks) if task.done())
        return index, tasks[index].result()
    finally:
        await _end(tasks)


async def all_of(*works: Awaitable[Any]) -> list[Any]:
    """Wait for all of `works` and return their results, or raise the first error at once.

    None of them goes on after this call, unlike with `gather`; cancelling it cancels them.
    """
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        return await asyncio.gather(*tasks)
    finally:
        await _end(tasks)


async def accompanied(work: Awaitable[Result], helper: Awaitable[Any]) -> Result:
    """Return the result of `work`, or raise the error of its `helper` if that fails before it.

    A helper may end early. Neither of them goes on after this call; cancelling it cancels them.
    """
    tasks = [asyncio.ensure_future(work), asyncio.ensure_future(helper)]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not tasks[0].done():
            tasks[1].result()
        result: Result = await tasks[0]
        return result
    finally:
        await _end(tasks)


async def _end(tasks: Sequence[asyncio.Future[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop that runs here, None where none does."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def require_loop(loop: asyncio.AbstractEventLoop | None, what: str) -> None:
    """Raise RuntimeError unless `loop`, if there is one, runs here, as asyncio's own things do.

    Whoever waits in another one would do so for ever.
    """
    if loop is not None and running_loop() is not loop:
        raise RuntimeError(f"{what} is bound to a different event loop")


class Changes:
    """Wakes those who wait for the next change of anything, in the event loop it was made in."""

    def __init__(self) -> None:
        self._loop = running_loop()
        self._next: asyncio.Future[None] | None = None

    def notify(self) -> None:
        """Wake all who wait now; none of them misses what changes after they woke."""
        if self._next is not None and not self._next.done():
            self._next.set_result(None)
        self._next = None

    async def wait(self) -> None:
        """Wait for the next `notify`. Any number of tasks may; cancelling one is safe.

        Raises RuntimeError in another event loop.
        """
        require_loop(self._loop, "what is waited for")
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._next)


async def readable(fd: int) -> None:
    """Wait until `fd` has something to read, or an end. Safe to cancel."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(fd, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(fd)


async def writable(fd: int) -> None:
    """Wait until `fd` has room, or nobody reads it any more. Safe to cancel."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_writer(fd, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(fd)


def on_failure(task: asyncio.Task[Any], failed: Callable[[BaseException], object]) -> None:
    """Call `failed(error)` when `task` ends by an exception; not when it is cancelled."""

    def look(task: asyncio.Task[Any]) -> None:
        if not task.cancelled():
            error = task.exception()
            if error is not None:
                failed(error)

    task.add_done_callback(look)


class Tasks:
    """Tasks with one owner, who can wait for all of them.

    `failed` gets the exception of a task that failed; without it, the log `rshell` does.
    """

    def __init__(self, failed: Callable[[BaseException], None] | None = None) -> None:
        self._failed = failed or _log_failure
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def __iter__(self) -> Iterator[asyncio.Task[None]]:
        return iter(list(self._tasks))

    def own(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` as a task, and own it until it is over."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        on_failure(task, self._failed)

    def cancel(self) -> None:
        """Cancel all that run now."""
        for task in self:
            task.cancel()

    async def join(self) -> None:
        """Wait until none is left, those that begin meanwhile included. Safe to cancel."""
        while self._tasks:
            await asyncio.wait(list(self._tasks))


def _log_failure(error: BaseException) -> None:
    import logging

    logging.getLogger("rshell").error("a task failed", exc_info=error)


def in_thread(work: Callable[[], Result], name: str) -> Future[Result]:
    """Do `work()` in a thread, which neither the loop nor the end of the process waits for.

    Await the result with `asyncio.wrap_future`; giving that up leaves the thread at work.
    """
    done: Future[Result] = Future()
    done.set_running_or_notify_cancel()

    def run() -> None:
        try:
            result = work()
        except BaseException as error:  # it belongs to the one who asks for the result
            done.set_exception(error)
        else:
            done.set_result(result)

    threading.Thread(target=run, name=name, daemon=True).start()
    return done


Opened = TypeVar("Opened", bound=AbstractAsyncContextManager[Any])


class Opening(Generic[Opened]):
    """Something that takes a moment to open: `await` it, or enter it with `async with`.

    Leaving the block closes what was opened; who awaits closes it themselves.
    """

    def __init__(self, start: Callable[[], Coroutine[Any, Any, Opened]]) -> None:
        self._start = start
        self._opened: Opened | None = None

    def __await__(self) -> Generator[Any, Any, Opened]:
        return self._start().__await__()

    async def __aenter__(self) -> Opened:
        self._opened = await self._start()
        return self._opened

    async def __aexit__(self, *exc_info: Any) -> None:
        assert self._opened is not None
        await self._opened.__aexit__(*exc_info)


if sys.version_info >= (3, 11):
    timeout = asyncio.timeout

    def start_task(
        loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Result]
    ) -> asyncio.Task[Result]:
        """Run `work` as a task of which `was_cancelled` knows."""
        return loop.create_task(work)

    def was_cancelled(task: asyncio.Task[Any]) -> bool:
        """Whether anybody has cancelled a task that `start_task` made, which may still clean up."""
        return task.cancelling() > 0

else:

    class _Task(asyncio.Task):  # type: ignore[type-arg]
        was_cancelled = False

        def cancel(self, msg: Any = None) -> bool:
            self.was_cancelled = True
            return super().cancel(msg)

    def start_task(
        loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Result]
    ) -> asyncio.Task[Result]:
        """Run `work` as a task of which `was_cancelled` knows."""
        return _Task(work, loop=loop)

    def was_cancelled(task: asyncio.Task[Any]) -> bool:
        """Whether anybody has cancelled a task that `start_task` made, which may still clean up."""
        return isinstance(task, _Task) and task.was_cancelled

    class timeout:
        """Cancels the block that it guards after `delay` seconds, which raises TimeoutError then.

        A cancel from elsewhere in that very moment is not lost where the task waits for no other
        task: then the block is cancelled. One that comes while the block cleans up after its time
        was up ends as TimeoutError too.
        """

        def __init__(self, delay: float | None) -> None:
            self._delay = delay
            self._timer: asyncio.TimerHandle | None = None
            self._has_expired = False
            self._is_cancelled = False

        async def __aenter__(self) -> timeout:
            task = asyncio.current_task()
            if task is None:
                raise RuntimeError("a timeout is for the inside of a task")
            self._task: Any = task
            self._outer = _innermost.get(task)
            _innermost[task] = self
            if self._delay is not None:
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(max(self._delay, 0), self._expire)
            return self

        async def __aexit__(
            self, kind: type[BaseException] | None, error: BaseException | None, trace: object
        ) -> None:
            if self._timer is not None:
                self._timer.cancel()
            if self._outer is None:
                del _innermost[self._task]
            else:
                _innermost[self._task] = self._outer
            is_ours = self._has_expired and not self._is_cancelled
            if is_ours and kind is asyncio.CancelledError and not _has_expired(self._outer):
                raise TimeoutError from error

        def expired(self) -> bool:
            """Whether the time was up before the block was left."""
            return self._has_expired

        def _expire(self) -> None:
            other = _has_expired(_innermost[self._task])
            self._has_expired = True
            if _has_cancel_ahead(self._task):
                self._is_cancelled = not other
                return
            # Called just before the task learns of it.
            asyncio.get_running_loop().call_soon(self._look_for_others)
            self._task.cancel(self)

        def _look_for_others(self) -> None:
            if self._task._must_cancel and self._task._cancel_message is not self:
                self._is_cancelled = True

    _innermost: weakref.WeakKeyDictionary[asyncio.Task[Any], timeout]
    _innermost = weakref.WeakKeyDictionary()

    def _has_expired(block: timeout | None) -> bool:
        """Whether the time of `block`, or of one around it, is up."""
        return block is not None and (block._has_expired or _has_expired(block._outer))

    def _has_cancel_ahead(task: Any) -> bool:
        """Whether a task will be cancelled as soon as it goes on."""
        waiter = task._fut_waiter
        if isinstance(waiter, asyncio.Task):
            return _has_cancel_ahead(waiter)
        return task._must_cancel or (waiter is not None and waiter.cancelled())
