"""The program that carries a link: how it is started, and what it must not hear."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from typing import Any

import pytest

from rshell.errors import ConnectError
from rshell.reach.start import BegunWay, start_child, start_way
from rshell.reach.ways import Way

DEADLINE = 30.0


def test_a_program_that_is_missing_is_a_connect_error() -> None:
    with pytest.raises(ConnectError, match="can't start '/no/such/program'"):
        start_child(["/no/such/program"])


def test_ctrl_c_does_not_reach_the_child_that_carries_the_link() -> None:
    handler = signal.getsignal(signal.SIGINT)
    # It says whether SIGINT is ignored: `sh` can't be asked, and must not be able to undo it.
    child = start_child(["sh", "-c", "kill -INT $$; echo still here; cat"])
    assert signal.getsignal(signal.SIGINT) is handler
    with child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(b"and it echoes\n")
        child.stdin.close()
        assert child.stdout.read(11) == b"still here\n"
        assert child.stdout.read() == b"and it echoes\n"
    assert child.returncode == 0


def test_ctrl_c_while_the_child_is_being_started_is_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start: Any = subprocess.Popen

    def interrupted(*args: Any, **options: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        return start(*args, **options)

    monkeypatch.setattr(subprocess, "Popen", interrupted)
    with pytest.raises(KeyboardInterrupt):
        start_child(["true"])


def test_the_child_has_the_whole_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASH_FUNC_own%%", "() { :; }")
    with start_child(["env"]) as child:
        assert child.stdout is not None
        assert b"BASH_FUNC_own%%=() { :; }\n" in child.stdout.read()


async def test_a_child_may_be_started_in_any_thread() -> None:
    child = await asyncio.to_thread(start_child, ["true"])
    with child:
        assert child.wait(DEADLINE) == 0


def test_a_way_that_was_begun_is_taken_once_and_by_who_looks_at_it() -> None:
    way = BegunWay.begin(Way("here", ("env",), again=("A=b",)))
    (begun,) = way.running
    assert way == BegunWay("here", ("env",), ("A=b",))
    programs = [start_way(way, again=True), start_way(way), start_way(way)]
    assert begun is programs[1] and len({popen.pid for popen in programs}) == 3
    way.end()  # nobody's any more
    for popen, said in zip(programs, (b"b\n", b"\n", b"\n")):
        assert popen.communicate(b'echo "$A"\n', timeout=DEADLINE) == (said, b"")


def test_a_way_that_nobody_takes_is_ended() -> None:
    way = BegunWay.begin(Way("here", ("env",)))
    (begun,) = way.running
    way.end()
    assert begun.returncode == -signal.SIGKILL and begun.stdin is not None and begun.stdin.closed
