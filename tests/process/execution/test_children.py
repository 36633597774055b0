"""Children that nobody here has started, as the first process of a container has them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from rshell.aio import timeout
from rshell.execution.children import reap_strangers, reaping_strangers
from rshell.execution.running_process import RunningProcess
from tests.support.commands import ROOT, run
from tests.support.commands import until as wait_until
from tests.support.execution import DEADLINE, begin, children_of, fields, no_leak, until


def await_zombie(pid: int) -> None:
    """Wait until a child has ended, and leave it."""
    assert os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT) is not None


def is_ours(pid: int) -> bool:
    return bool(fields(pid))


async def test_strangers_are_reaped_and_our_own_keep_their_statuses() -> None:
    with no_leak():
        before, between = begin("true"), begin("true")
        ours = RunningProcess(begin("sh", "-c", "exit 7"))
        living, after = begin("sleep", "100"), begin("false")
        for pid in (before.pid, between.pid, ours.pid, after.pid):
            await_zombie(pid)
        reap_strangers()
        assert not any(map(is_ours, (before.pid, between.pid, after.pid)))
        assert is_ours(ours.pid)
        async with timeout(DEADLINE):
            assert (await ours.wait()).code == 7
        assert living.poll() is None
        # Once ours is reaped, what gets its number is a stranger as any other.
        last = begin("true")
        await_zombie(last.pid)
        with reaping_strangers(0.001):
            await until(lambda: not is_ours(last.pid), "the end of the zombie")
        living.kill()
        for popen in (before, between, living, after, last):
            popen.wait()


def test_a_server_that_is_the_first_process_leaves_no_orphan_a_zombie() -> None:
    first = ["unshare", "--pid", "--fork", "--kill-child"]
    if os.geteuid() or subprocess.run([*first, "true"], check=False).returncode:
        pytest.skip("needs root and namespaces")
    path = f"{os.environ['XDG_RUNTIME_DIR']}/first"
    argv = [sys.executable, "-m", "tests.support.limited", "server"]
    argv += ['{"orphan_look": 0.01}', "--unix", path]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    with subprocess.Popen([*first, *argv], stdout=pipe, stderr=pipe, env=env) as outer:
        try:
            assert outer.stdout is not None
            assert outer.stdout.readline()
            (server,) = children_of(outer.pid)
            script = "(sh -c 'exec true' & ); (sleep 0 & ); exit 5"
            assert run("-c", script, f"unix:{path}").returncode == 5
            wait_until(lambda: len(children_of(server)) == 1, "the end of all but the reaper")
        finally:
            outer.kill()  # which kills all that is in there
