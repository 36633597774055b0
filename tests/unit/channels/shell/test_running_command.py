"""What is known of the command at work, and what time does to it."""

from __future__ import annotations

import asyncio

import pytest

from rshell.channels.shell.messages import RunCommand
from rshell.channels.shell.running_command import RunningCommand


@pytest.mark.parametrize(
    ("text", "may_set"),
    [("set -ue", True), ("set -o errexit", True), ("setopt errexit", True), ("set -u; e", False)],
)
def test_what_may_end_the_shell_at_the_first_failure_is_known(text: str, may_set: bool) -> None:
    assert RunningCommand(RunCommand(1, text)).may_set_errexit is may_set


async def test_a_command_that_is_cancelled_is_interrupted_twice_before_its_shell_is_ended() -> None:
    done: list[str] = []
    is_killed = asyncio.Event()

    def kill() -> None:
        done.append("kill")
        is_killed.set()

    running = RunningCommand(RunCommand(1, "sleep 9", timeout=0.001))
    running.begin(lambda: running.cancel(lambda: done.append("interrupt"), kill, 0.002))
    assert running.is_told and not running.timed_out
    await is_killed.wait()
    assert done == ["interrupt", "interrupt", "kill"] and running.timed_out


async def test_nothing_comes_of_time_once_a_command_has_ended() -> None:
    done: list[str] = []
    running = RunningCommand(RunCommand(1, "true", timeout=0.001))
    running.begin(lambda: done.append("cancel"))
    running.stop_waiting()
    second = RunningCommand(RunCommand(2, "true"))
    second.cancel(lambda: done.append("interrupt"), lambda: done.append("kill"), 0.002)
    second.stop_waiting()
    passed = asyncio.Event()
    asyncio.get_running_loop().call_later(0.005, passed.set)
    await passed.wait()
    assert done == ["interrupt"]
