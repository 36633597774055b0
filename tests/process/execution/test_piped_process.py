"""A process with its pipes or its terminal: what goes where, every end, and nothing left behind."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
from collections import defaultdict
from collections.abc import Mapping

import pytest

from rshell.aio import timeout
from rshell.errors import SpawnError
from rshell.execution.piped_process import PipedProcess
from rshell.execution.spawn import Command, SpawnQueue
from rshell.values import Bounds, ExitStatus, TerminalSize
from tests.support.execution import (
    DEADLINE,
    ROOM,
    await_gone,
    command,
    is_alive,
    no_leak,
    open_descriptors,
    script,
)

BOTH = {1: 1, 2: 2}
BRIEF = Bounds(kill_grace=0.1)
SIZE = TerminalSize(columns=100, rows=30)


class Collected:
    """An outlet that keeps what comes, by stream."""

    def __init__(self, room: int = ROOM) -> None:
        self.streams: dict[int, bytes] = defaultdict(bytes)
        self.is_over = False
        self.room = room
        self.wants_room = False
        self._changed = asyncio.Event()

    def want_room(self) -> None:
        self.wants_room = True

    def write_nowait(self, data: bytes, stream: int = 0) -> None:
        assert len(data) <= self.room
        self.room -= len(data)
        self.streams[stream] += data
        self._changed.set()

    async def until(self, part: bytes, stream: int = 1) -> None:
        while part not in self.streams[stream]:
            self._changed.clear()
            await self._changed.wait()


async def start(
    what: Command,
    outlet: Collected,
    *,
    inputs: Mapping[int, bool] | None = None,
    outputs: Mapping[int, int] | None = None,
    terminal: TerminalSize | None = None,
    hold_slave: bool = False,
    spawner: SpawnQueue | None = None,
) -> PipedProcess:
    return await PipedProcess.start(
        spawner or SpawnQueue(100),
        what,
        outlet,
        BRIEF,
        inputs={0: False} if inputs is None else inputs,
        outputs=BOTH if outputs is None else outputs,
        terminal=terminal,
        hold_slave=hold_slave,
    )


async def test_each_stream_comes_apart_and_is_counted() -> None:
    async with timeout(DEADLINE):
        with no_leak():
            outlet = Collected()
            piped = await start(script("echo out; echo err >&2; exit 7"), outlet)
            assert piped.process.exit_status is None and not piped.is_over
            assert await piped.wait() == piped.process.exit_status == ExitStatus(code=7)
            assert outlet.streams == {1: b"out\n", 2: b"err\n"}
            assert piped.counts == {1: 4, 2: 4}
            assert piped.is_over and not piped.is_held_open and not piped.is_timed_out
            assert piped.duration > 0


async def test_numbers_lead_where_they_are_told_to() -> None:
    """Streams may share a pipe, and what is named nowhere is nothing to read and to write."""
    async with timeout(DEADLINE):
        with no_leak():
            shared = Collected()
            piped = await start(script("echo 1; echo 2 >&2"), shared, outputs={1: 5, 2: 5})
            await piped.wait()
            assert shared.streams == {5: b"1\n2\n"}
            text = "cat; echo gone; echo gone >&2; cat <&6 >&7"
            outlet = Collected()
            piped = await start(script(text), outlet, inputs={6: True}, outputs={7: 3})
            await piped.sinks[6].write(b"by 6 and 7")
            piped.sinks[6].close()
            await piped.wait()
            assert outlet.streams == {3: b"by 6 and 7"}


async def test_nothing_is_read_without_room() -> None:
    async with timeout(DEADLINE):
        with no_leak():
            outlet = Collected(room=3)
            piped = await start(script("echo abcdef"), outlet)
            await outlet.until(b"abc")
            await piped.process.wait()
            assert outlet.wants_room and not piped.is_over
            outlet.room = 100
            piped.resume()
            assert piped.is_over
            assert outlet.streams == {1: b"abcdef\n"}


async def test_what_nobody_wants_is_read_and_thrown_away() -> None:
    async with timeout(DEADLINE):
        with no_leak():
            outlet = Collected()
            outlet.is_over = True
            piped = await start(script("echo out"), outlet)
            await piped.wait()
            assert (piped.counts[1], dict(outlet.streams)) == (4, {})


async def test_a_terminal_is_written_read_and_resized() -> None:
    text = "trap 'stty size; exit 3' WINCH; tty; read x; echo $x; while :; do sleep 0.02; done"
    async with timeout(DEADLINE):
        with no_leak():
            outlet = Collected()
            piped = await start(script(text), outlet, inputs={}, outputs={}, terminal=SIZE)
            await outlet.until(b"/dev/")
            assert piped.slave < 0 <= piped.terminal
            await piped.sinks[0].write(b"typed\n")
            await outlet.until(b"typed\r\ntyped\r\n")
            piped.resize(TerminalSize(columns=132, rows=50))
            assert await piped.wait() == ExitStatus(code=3)
            assert outlet.streams[1].endswith(b"50 132\r\n")
            assert piped.terminal == -1
            piped.resize(SIZE)  # it has gone
            piped.close()


async def test_a_terminal_that_is_held_outlives_what_used_it() -> None:
    async with timeout(DEADLINE):
        with no_leak():
            outlet = Collected()
            what = script("exec </dev/null >/dev/null 2>&1; read x </dev/tty; exit 4")
            piped = await start(what, outlet, inputs={}, outputs={}, terminal=SIZE, hold_slave=True)
            assert os.isatty(piped.slave)
            await piped.sinks[0].write(b"typed\n")
            assert await piped.wait() == ExitStatus(code=4)
            assert piped.is_held_open
            piped.close()


async def test_a_background_child_does_not_hold_up_the_end() -> None:
    async with timeout(DEADLINE):
        with no_leak():
            outlet = Collected()
            piped = await start(script("sleep 100 & echo $!"), outlet)
            assert await piped.wait() == ExitStatus(code=0)
            assert piped.is_held_open
            await piped.end()
            sleeper = int(outlet.streams[1])
            assert is_alive(sleeper)
            os.kill(sleeper, signal.SIGKILL)
            await_gone(sleeper)


async def test_the_end_is_told_once_and_also_late() -> None:
    async with timeout(DEADLINE):
        outlet = Collected(room=1)
        piped = await start(script("echo x"), outlet)
        told: list[bytes] = []
        piped.on_end(lambda: told.append(outlet.streams[1]))
        await piped.process.wait()
        assert told == []  # there still is output
        outlet.room = 100
        piped.resume()
        await piped.wait()
        assert told == [b"x\n"]
        piped.on_end(lambda: told.append(b"late"))
        assert told == [b"x\n", b"late"]


async def test_a_timeout_is_over_when_the_whole_session_has_gone() -> None:
    """The leader goes at once; its child ignores that, and must not be left."""
    text = "(trap '' TERM HUP; echo $$; exec sleep 100) & wait"
    async with timeout(DEADLINE):
        with no_leak():
            outlet = Collected()
            piped = await start(script(text), outlet)
            await outlet.until(b"\n")
            piped.end_after(0)
            waiter = asyncio.create_task(piped.wait())
            await piped.process.wait()
            waiter.cancel()  # which changes nothing
            assert (await piped.wait()).signal == "SIGTERM"
            assert piped.is_timed_out
            assert piped.process.followers() == []
            await asyncio.wait([waiter])


async def test_a_process_that_was_in_time_is_not_late_because_its_reader_is() -> None:
    async with timeout(DEADLINE):
        with no_leak():
            outlet = Collected(room=0)
            piped = await start(script("echo x"), outlet)
            piped.end_after(1000)
            await piped.process.wait()
            assert piped._timer is None
            outlet.room = 100
            piped.resume()
            await piped.wait()
            assert not piped.is_timed_out


@pytest.mark.parametrize("when", ["running", "exited"])
async def test_closing_releases_all_but_the_process_whose_end_can_be_waited_for(when: str) -> None:
    async with timeout(DEADLINE):
        with no_leak():
            before = open_descriptors()
            outlet = Collected(room=1)
            text = "echo more than there is room for" + ("; sleep 100" if when == "running" else "")
            piped = await start(script(text), outlet, inputs={0: True})
            called: list[bool] = []
            piped.on_end(lambda: called.append(True))
            piped.end_after(1000)
            await outlet.until(b"m")
            if when == "exited":
                await piped.process.wait()
            piped.close()
            piped.close()
            if when == "exited":
                assert open_descriptors() == before
            await piped.end(0)
            status = await piped.wait()
            assert status == (ExitStatus(code=0) if when == "exited" else piped.process.exit_status)
            assert called == []
            assert outlet.streams == {1: b"m"}


async def test_a_start_that_fails_leaves_nothing() -> None:
    async def on_pipes(what: Command) -> PipedProcess:
        return await start(what, Collected(), inputs={0: True, 6: False})

    async def on_a_terminal(what: Command) -> PipedProcess:
        return await start(what, Collected(), inputs={}, outputs={6: 3}, terminal=SIZE)

    async with timeout(DEADLINE):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        lowest = os.dup(0)
        os.close(lowest)
        for begin in (on_pipes, on_a_terminal):
            with no_leak(), pytest.raises(SpawnError):
                await begin(command("/no/such"))
            # Each pipe, terminal and copy in turn is the one that is too many.
            failures = 0
            for more in range(20):
                with no_leak():
                    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + more, hard))
                    try:
                        piped = await begin(script("true"))
                    except (OSError, SpawnError):
                        failures += 1
                        continue
                    finally:
                        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                    await piped.wait()
                    piped.close()
            assert 3 < failures < 20


async def test_a_start_that_is_cancelled_in_the_queue_leaves_nothing() -> None:
    async with timeout(DEADLINE):
        with no_leak():
            spawner = SpawnQueue(100)
            for passes in range(4):
                starts = [
                    asyncio.create_task(start(script("true"), Collected(), spawner=spawner))
                    for _ in range(3)
                ]
                for _ in range(passes):
                    await asyncio.sleep(0)
                starts[1].cancel()
                await asyncio.wait(starts)
                for task in starts:
                    if not task.cancelled():
                        await task.result().wait()
            assert spawner.count == 0
