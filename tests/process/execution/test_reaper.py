"""The reaper: what a killed server leaves, and what the reaper must never touch."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rshell.aio import timeout
from rshell.execution import reaper as reaper_script
from rshell.execution.reaper_client import Reaper
from rshell.execution.running_process import RunningProcess
from tests.support.commands import ROOT
from tests.support.execution import DEADLINE, await_gone, begin, fields, is_alive, no_leak


@contextmanager
def sleeper(*, session: bool = True) -> Iterator[subprocess.Popen[bytes]]:
    popen = subprocess.Popen(["sleep", "100"], start_new_session=session)
    try:
        yield popen
    finally:
        popen.kill()
        popen.wait()


@contextmanager
def reaper_process(grace: float) -> Iterator[subprocess.Popen[bytes]]:
    popen = subprocess.Popen(
        [sys.executable, "-I", "-S", reaper_script.__file__, str(grace)],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield popen
    finally:
        popen.kill()
        popen.communicate()


@pytest.mark.parametrize("grace", ["0.2", "0"])
def test_a_server_killed_by_sigkill_leaves_nothing_running(grace: str) -> None:
    server = subprocess.Popen(
        [sys.executable, str(ROOT / "tests" / "support" / "doomed_server.py"), grace],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    assert server.stdout is not None
    found = json.loads(server.stdout.readline())
    left_behind = found.pop("left behind")[0]
    everyone = [pid for pids in found.values() for pid in pids]
    assert all(is_alive(pid) for pid in everyone)
    server.kill()
    server.wait()
    server.stdout.close()
    for pid in everyone:
        await_gone(pid)
    # Its leader had ended before, by itself: not on the list any more, as after ssh.
    assert is_alive(left_behind)
    os.kill(left_behind, signal.SIGKILL)


def test_nonsense_and_strangers_are_left_alone() -> None:
    """Only a session's leader is accepted; a member, a bad number and noise are dropped."""
    with sleeper() as other, sleeper(session=False) as member, reaper_process(0) as popen:
        lines = b"\n".join(
            [
                b"+%d" % member.pid,
                b"+1",
                b"+0",
                b"+-1",
                b"-1",
                b"+",
                b"",
                b"+%d" % other.pid,
                b"+%d" % other.pid,
                b"-%d" % other.pid,
                b"+99999999999999999999999",
                b"+%dx" % other.pid,
                b"%d" % other.pid,
                b"\xff\xfe" * 100_000,
                b"+%d" % other.pid,  # no end of line: not told
            ]
        )
        popen.communicate(lines, timeout=DEADLINE)
        assert popen.returncode == 0
        assert other.poll() is None
        assert member.poll() is None


def test_a_number_that_was_reaped_is_nobodys() -> None:
    with sleeper() as first:
        leader = reaper_script._Leader(first.pid)
        assert leader.has_session()
        first.kill()
        os.waitid(os.P_PID, first.pid, os.WEXITED | os.WNOWAIT)
        assert leader.has_session()  # a zombie keeps its number
        first.wait()
        assert leader.has_session()  # free: only our members could still bear it
        # Somebody else has the number now.
        leader.pid = os.getpid()
        assert not leader.has_session()
        leader.close()


def test_members_are_found_in_other_groups_and_zombies_are_not() -> None:
    program = (
        "import os, subprocess\n"
        "job = subprocess.Popen(['sleep', '100'], preexec_fn=os.setpgrp)\n"
        "print(job.pid, flush=True)\n"
        "job.wait()\n"
    )
    popen = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, start_new_session=True
    )
    assert popen.stdout is not None
    job = int(popen.stdout.readline())
    assert os.getpgid(job) != popen.pid
    assert set(reaper_script.members({popen.pid})) == {popen.pid, job}
    reaper_script.kill_sessions([popen.pid])
    await_gone(job)
    os.waitid(os.P_PID, popen.pid, os.WEXITED | os.WNOWAIT)
    assert popen.pid not in reaper_script.members({popen.pid})
    popen.wait()
    popen.stdout.close()


def test_the_reaper_ignores_what_is_meant_for_the_server() -> None:
    with sleeper() as child, reaper_process(0) as popen:
        assert popen.stdin is not None
        popen.stdin.write(b"+%d\n" % child.pid)
        popen.stdin.flush()
        # SigIgn shows that it has come so far; this is the last one.
        while not _ignores(popen.pid, signal.SIGHUP):
            assert popen.poll() is None
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            popen.send_signal(signum)
        popen.communicate(timeout=DEADLINE)
        assert popen.returncode == 0
        assert child.wait(DEADLINE) < 0


async def test_close_with_nothing_registered_ends_at_once() -> None:
    with no_leak():
        reaper = Reaper(1000)
        with sleeper() as child:
            reaper.add(child.pid)
            pid = reaper.pid
            assert pid is not None
            reaper.remove(child.pid)
            async with timeout(DEADLINE):
                await reaper.close()
            await_gone(pid)
            assert child.poll() is None
        await reaper.close()


async def test_close_ends_what_is_still_registered() -> None:
    with no_leak(), sleeper() as child:
        reaper = Reaper(30)
        reaper.add(child.pid)
        async with timeout(DEADLINE):
            await reaper.close()
        assert child.wait(DEADLINE) == -signal.SIGHUP


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_lost_reaper_is_replaced_and_told_of_all_that_live(signum: int) -> None:
    with no_leak(), sleeper() as first, sleeper() as second:
        reaper = Reaper(30)
        reaper.add(first.pid)
        lost = reaper.pid
        assert lost is not None
        os.kill(lost, signum)
        if signum == signal.SIGKILL:
            await_gone(lost)
            reaper.add(second.pid)
        else:
            # A stopped reader is noticed when its pipe is full.
            for _ in range(20_000):
                reaper.remove(first.pid)
                reaper.add(first.pid)
                if reaper.pid != lost:
                    break
            reaper.add(second.pid)
        assert reaper.pid != lost
        assert not fields(lost)
        async with timeout(DEADLINE):
            await reaper.close()
        assert first.wait(DEADLINE) == second.wait(DEADLINE) == -signal.SIGHUP


def test_a_process_that_had_just_begun_is_known_by_its_pipe_and_nobody_else_is() -> None:
    """Its server was killed before it could tell the number."""
    with contextlib.ExitStack() as stack:
        holders = []
        pipes = [os.pipe() for _ in range(3)]
        for _, writing in pipes:
            popen = subprocess.Popen(["sleep", "100"], stdout=writing, start_new_session=True)
            holders.append(stack.enter_context(popen))
            stack.callback(popen.kill)
        names = [b"?pipe:[%d]\n" % os.fstat(reading).st_ino for reading, _ in pipes]
        for fd in (fd for pair in pipes for fd in pair):
            os.close(fd)
        with reaper_process(20) as reaper:
            # The first was told at last, and then taken off; of the third there was no start.
            told = b"+%d\n" % holders[0].pid
            lines = [names[0], told, b"-%d\n" % holders[0].pid, names[2], b"?\n", names[1]]
            reaper.communicate(b"".join(lines), timeout=DEADLINE)
        assert holders[1].wait(DEADLINE) == -signal.SIGHUP
        assert [holder.poll() for holder in holders] == [None, -signal.SIGHUP, None]


async def test_without_an_interpreter_commands_still_run(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with no_leak():
        reaper = Reaper()
        popen = begin("true")
        reaper.add(popen.pid)
        process = RunningProcess(popen, forget=reaper.remove)
        await process.wait()
        assert reaper.pid is None
        assert "kill -9" in caplog.text
        await reaper.close()


async def test_an_ended_process_is_taken_off_the_list() -> None:
    with no_leak():
        reaper = Reaper(1000)
        for _ in range(20):
            popen = begin("true")
            reaper.add(popen.pid)
            process = RunningProcess(popen, forget=reaper.remove)
            await process.wait()
        async with timeout(DEADLINE):
            await reaper.close()


def _ignores(pid: int, signum: int) -> bool:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("SigIgn:"):
            return bool(int(line.split()[1], 16) >> (signum - 1) & 1)
    return False
