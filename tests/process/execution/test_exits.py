"""Seeing exits: both ways of watching, lost statuses, and what a process inherits."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from rshell.execution.exits import LOST_STATUS, ExitWatch, process_gone
from rshell.values import ExitStatus
from tests.support.commands import ROOT
from tests.support.execution import DEADLINE, begin, fields, no_leak

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
        async with asyncio.timeout(DEADLINE):
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
            async with asyncio.timeout(DEADLINE):
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
        async with asyncio.timeout(DEADLINE):
            await waiting
            await process_gone(os.getpid(), popen.pid)  # a stranger is not waited for
            await process_gone(grandchild, popen.pid)
        popen.wait()
        popen.stdout.close()


def test_an_ignored_sigchld_is_undone() -> None:
    """A parent that ignores SIGCHLD turns `exit 9` into 0."""
    program = """
import asyncio, subprocess
from rshell.execution.exits import use_default_sigchld
from rshell.execution.running_process import RunningProcess
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
