"""The life of a process: waiting, signalling, ending, closing, on both ways of watching."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from rshell.aio import timeout
from rshell.execution.reaper import Spare
from rshell.execution.running_process import LOST_STATUS, ExitWatch, RunningProcess, process_gone
from rshell.values import ExitStatus
from tests.support.commands import ROOT
from tests.support.execution import (
    DEADLINE,
    Output,
    await_gone,
    begin,
    command,
    fields,
    finish,
    is_alive,
    no_descriptors,
    no_leak,
    on_terminal,
    our_children,
    piped,
    script,
)

STUBBORN = 'trap "" TERM HUP; echo $$; while :; do sleep 0.05; done'
SIGTERM = ExitStatus(signal="SIGTERM", signal_number=15)
SIGKILL = ExitStatus(signal="SIGKILL", signal_number=9)

Start = Callable[[str], RunningProcess]


@pytest.fixture(params=[True, False], ids=["pidfd", "thread"])
def start(request: pytest.FixtureRequest) -> Start:
    def begin(text: str) -> RunningProcess:
        popen = subprocess.Popen(
            ["/bin/sh", "-c", text], stdin=subprocess.DEVNULL, start_new_session=True
        )
        return RunningProcess(popen, pidfd=request.param)

    return begin


async def test_any_number_may_wait_and_a_cancelled_one_changes_nothing(start: Start) -> None:
    with no_leak():
        process = start("sleep 0.5; exit 7")
        waiters = [asyncio.ensure_future(process.wait()) for _ in range(5)]
        await asyncio.sleep(0)
        waiters[0].cancel()
        async with timeout(DEADLINE):
            statuses = await asyncio.gather(*waiters, return_exceptions=True)
        assert isinstance(statuses[0], asyncio.CancelledError)
        assert statuses[1:] == [ExitStatus(code=7)] * 4
        assert process.exit_status == ExitStatus(code=7)
        assert await process.wait() == ExitStatus(code=7)


async def test_a_signal_ends_it_and_names_itself(start: Start) -> None:
    with no_leak():
        process = start("sleep 100")
        assert process.exit_status is None
        assert process.signal_group(signal.SIGTERM)
        async with timeout(DEADLINE):
            assert await process.wait() == SIGTERM


async def test_after_the_end_nothing_is_signalled(start: Start) -> None:
    process = start("exit 0")
    await process.wait()
    assert not process.signal_group(signal.SIGKILL)
    await process.end(0)
    process.close()


async def test_the_exit_callback_comes_once_and_also_late(start: Start) -> None:
    process = start("exit 0")
    called: list[str] = []
    process.on_exit(lambda: called.append("early"))
    await process.wait()
    process.on_exit(lambda: called.append("late"))
    assert called == ["early", "late"]


async def test_end_is_polite_first(start: Start) -> None:
    with no_leak():
        process = start("sleep 100")
        async with timeout(DEADLINE):
            await process.end(1000)
        assert process.exit_status == SIGTERM


async def test_cancelling_end_kills_at_once(start: Start) -> None:
    with no_leak():
        process = start('trap "" TERM; while :; do sleep 0.05; done')
        ending = asyncio.ensure_future(process.end(1000))
        await asyncio.sleep(0)
        ending.cancel()
        async with timeout(DEADLINE):
            with pytest.raises(asyncio.CancelledError):
                await ending
            await process.wait()


async def test_close_kills_reaps_and_still_tells_those_who_wait(start: Start) -> None:
    process = start("sleep 100")
    waiter = asyncio.ensure_future(process.wait())
    process.close()
    process.close()
    async with timeout(DEADLINE):
        assert await waiter == SIGKILL
    assert process.pid not in our_children()


async def test_close_after_the_loop_is_closed_leaves_nothing(start: Start) -> None:
    def other_loop() -> RunningProcess:
        async def begin() -> RunningProcess:
            return start("sleep 100")

        return asyncio.run(begin())

    process = await asyncio.to_thread(other_loop)
    process.close()
    await_gone(process.pid)


async def test_a_child_that_ignores_sigterm_is_killed_after_the_grace() -> None:
    with no_leak():
        async with piped(script(STUBBORN)) as (process, _, output):
            await output.until(b"\n")
            async with timeout(DEADLINE):
                await process.end(0.05)
            assert process.exit_status == SIGKILL


async def test_end_waits_for_the_group_when_the_leader_ends_before_it() -> None:
    """The leader goes on SIGTERM; its child ignores it, and is killed although it is alone."""
    with no_leak():
        what = command("/bin/sh", "-c", 'sh -c "$0" & wait', STUBBORN)
        async with piped(what) as (process, _, output):
            await output.until(b"\n")
            child = int(output.text)
            async with timeout(DEADLINE):
                await process.end(0.1)
            assert process.exit_status == SIGTERM
            await_gone(child)


async def test_end_returns_as_soon_as_all_of_the_session_is_gone() -> None:
    text = '(trap "sleep 0.1; exit" TERM; echo go; while :; do sleep 0.02; done) & wait'
    async with piped(script(text)) as (process, _, output):
        await output.until(b"go")
        async with timeout(DEADLINE):
            await process.end(1000)


async def test_end_reaches_a_stopped_process() -> None:
    async with piped(script("echo go; exec sleep 100")) as (process, _, output):
        await output.until(b"go")
        process.signal_group(signal.SIGSTOP)
        async with timeout(DEADLINE):
            await process.end(1000)
        assert process.exit_status == SIGTERM


async def test_end_reaches_jobs_in_groups_of_their_own() -> None:
    """A job-control shell puts each job into another group, which the group's kill misses."""
    what = command("/bin/sh", "-c", 'set -m; sh -c "$0" & wait', STUBBORN)
    with no_leak():
        async with on_terminal(what) as (process, _, output, _):
            await output.until(b"\n")
            job = int(output.text.split()[0])
            assert os.getpgid(job) != process.pid
            assert os.getsid(job) == process.pid
            async with timeout(DEADLINE):
                await process.end(0.05)
            await_gone(job)


async def test_end_asks_jobs_that_their_shell_has_forgotten() -> None:
    """They were killed, once the time before SIGKILL was over."""
    spin = "while :; do sleep 0.02; done"
    job = f"trap 'echo gone; exit' HUP TERM; echo go; {spin}"
    what = command("bash", "-c", f"set -m; ({job}) & disown; trap exit HUP TERM; {spin}")

    async def see(process: RunningProcess, output: Output) -> None:
        await output.until(b"go")
        async with timeout(DEADLINE):
            await process.end(1000)
        await output.until(b"gone")

    async with piped(what) as (process, _, output):
        await see(process, output)
    async with on_terminal(what) as (process, _, output, _):
        await see(process, output)


async def test_followers_are_signalled_and_the_leader_is_not() -> None:
    follower_text = "echo up; exec sleep 100"  # or it might still have the leader's trap
    waits = "wait $!; wait $!; echo $?; exec sleep 100"
    text = f"trap 'echo leader' TERM; sh -c '{follower_text}' & {waits}"
    async with on_terminal(command("bash", "-c", text)) as (process, _, output, _):
        await output.until(b"up")
        [follower] = process.followers()
        process.signal_followers([follower, process.pid + 1_000_000], signal.SIGTERM)
        await output.until(b"143")
        await_gone(follower)
        assert b"leader" not in output.text
        await process.end(0)
        assert process.followers() == []
        process.signal_followers([follower], signal.SIGTERM)


async def test_end_hangs_up_an_interactive_shell_that_ignores_sigterm() -> None:
    text = "exec bash --norc -i || exec sh -i"
    async with on_terminal(script(text)) as (process, _, output, master):
        os.write(master, b"echo re''ady\n")
        await output.until(b"ready")
        async with timeout(DEADLINE):
            await process.end(1000)
        assert process.exit_status is not None


async def test_sleep_in_the_background_does_not_hold_the_answer() -> None:
    with no_leak():
        async with piped(script("sleep 100 & echo $!")) as (process, source, output):
            assert await finish(process, source, output) == ExitStatus(code=0)
            assert source.held_open
            sleeper = int(output.text)
            # As after ssh: what the leader left behind lives on.
            await process.end(0)
            assert is_alive(sleeper)
            os.kill(sleeper, signal.SIGKILL)
            await_gone(sleeper)


async def test_a_hundred_processes_leave_nothing_behind() -> None:
    with no_leak():
        for _ in range(100):
            async with piped(script("echo x")) as (process, source, output):
                await finish(process, source, output)


# Exits: lost statuses, and what a process inherits.


both = pytest.mark.parametrize("pidfd", [True, False], ids=["pidfd", "thread"])


def unexpected(status: ExitStatus) -> None:
    pytest.fail(f"a closed watch told {status}")


@both
@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("exit 0", ExitStatus(code=0)),
        ("exit 255", ExitStatus(code=255)),
        ("kill -TERM $$", ExitStatus(signal="SIGTERM", signal_number=15)),
        ("kill -SEGV $$", ExitStatus(signal="SIGSEGV", signal_number=11)),
    ],
)
async def test_the_status_is_told_and_the_zombie_is_left(
    pidfd: bool, text: str, status: ExitStatus
) -> None:
    with no_leak():
        popen = begin("/bin/sh", "-c", f"ulimit -c 0; {text}")
        told: asyncio.Future[ExitStatus] = asyncio.get_running_loop().create_future()
        watch = ExitWatch(asyncio.get_running_loop(), popen, told.set_result, pidfd=pidfd)
        async with timeout(DEADLINE):
            assert await told == status
        assert fields(popen.pid)[0] == "Z"
        watch.close()
        popen.wait()


@both
async def test_a_closed_watch_says_nothing(pidfd: bool) -> None:
    with no_leak():
        popen = begin("sleep", "100")
        watch = ExitWatch(asyncio.get_running_loop(), popen, unexpected, pidfd=pidfd)
        watch.close()
        watch.close()
        popen.kill()
        popen.wait()
        await asyncio.sleep(0)


@both
async def test_a_status_that_somebody_took_is_255(pidfd: bool) -> None:
    with no_leak():
        popen = begin("sleep", "100")
        told: asyncio.Future[ExitStatus] = asyncio.get_running_loop().create_future()
        ExitWatch(asyncio.get_running_loop(), popen, told.set_result, pidfd=pidfd)
        if pidfd:
            popen.kill()
            popen.wait()  # before the loop looks
        else:
            # The thread waits already; what takes the status from under it is an ignored SIGCHLD.
            before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
            popen.kill()
        try:
            async with timeout(DEADLINE):
                assert await told == LOST_STATUS
        finally:
            if not pidfd:
                signal.signal(signal.SIGCHLD, before)
                popen.wait()


@both
def test_a_watch_outlives_its_loop(pidfd: bool) -> None:
    """An exit after the loop was closed must neither raise in a thread nor leak."""
    with no_leak():
        loop = asyncio.new_event_loop()
        popen = begin("sleep", "100")
        watch = ExitWatch(loop, popen, unexpected, pidfd=pidfd)
        loop.close()
        popen.kill()
        popen.wait()
        watch.close()


async def test_the_end_of_a_process_that_is_no_child_is_seen() -> None:
    with no_leak():
        popen = begin("/bin/sh", "-c", "sleep 100 & echo $!; wait", stdout=subprocess.PIPE)
        assert popen.stdout is not None
        grandchild = int(popen.stdout.readline())
        waiting = asyncio.ensure_future(process_gone(grandchild, popen.pid))
        await asyncio.sleep(0)
        assert not waiting.done()
        os.kill(grandchild, 9)
        async with timeout(DEADLINE):
            await waiting
            await process_gone(os.getpid(), popen.pid)  # a stranger is not waited for
            await process_gone(grandchild, popen.pid)
        popen.wait()
        popen.stdout.close()


def test_an_ignored_sigchld_is_undone() -> None:
    """A parent that ignores SIGCHLD turns `exit 9` into 0."""
    program = """
import asyncio, subprocess
from rshell.execution.running_process import RunningProcess, use_default_sigchld
use_default_sigchld()
async def main():
    popen = subprocess.Popen(["/bin/sh", "-c", "exit 9"], start_new_session=True)
    print((await RunningProcess(popen).wait()).shell_status)
asyncio.run(main())
"""
    launcher = (
        "import os, signal, sys\n"
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        "os.execv(sys.executable, [sys.executable, '-c', sys.argv[1]])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", launcher, program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        timeout=DEADLINE,
        check=True,
    )
    assert done.stdout.split() == [b"9"]


async def test_what_ignores_the_polite_signals_is_found_without_a_descriptor_left() -> None:
    """It has a group of its own, which only /proc tells of."""
    text = "set -m; sh -c 'trap \"\" TERM HUP; echo $$; exec sleep 100' & wait"
    Spare.keep()
    try:
        async with on_terminal(script(text)) as (process, _, output, _):
            await output.until(b"\n")
            with no_descriptors():
                await process.end(0.1)
            await_gone(int(output.text))
    finally:
        Spare.drop()
