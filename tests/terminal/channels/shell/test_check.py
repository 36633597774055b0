"""Asking real shells whether a text is whole: it never runs, and nothing is left behind."""

from __future__ import annotations

import os
from collections.abc import Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from rshell.channels.base import Context, Work
from rshell.channels.shell import check
from rshell.channels.shell.check import wants_more
from rshell.execution.spawn_queue import SpawnQueue
from rshell.protocol.codec import Json
from rshell.values import Bounds
from tests.support.execution import no_leak


def a_host(processes: int = 10) -> Context:
    def audit(event: str, facts: Json) -> None:
        raise AssertionError(f"{event} was audited: {facts}")

    def clean_up(coroutine: Coroutine[Any, Any, None]) -> None:
        coroutine.close()
        raise AssertionError("something was left to clean up")

    turns = SpawnQueue(processes)
    working = partial(Work().begin, "")
    environment = dict(os.environ)
    return Context(
        "someone", "session", Bounds(), "/", environment, turns, audit, clean_up, working
    )


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hear the judge on a busy machine too."""
    monkeypatch.setattr(check, "_DEADLINE", 20.0)


async def test_a_shell_that_complains_without_end_or_reads_nothing_is_heard(
    tmp_path: Path, patient: None
) -> None:
    """More text than a pipe holds, to one that has made up its mind."""
    shell = tmp_path / "shell"
    shell.write_text("#!/bin/sh\necho unexpected EOF >&2\n", encoding="ascii")
    shell.chmod(0o700)
    with no_leak():
        assert await wants_more(a_host(), str(shell), "echo '" + "x" * 2_000_000)


async def test_a_judge_that_takes_too_long_is_not_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rshell.channels.shell.check._DEADLINE", 0.5)
    shell = tmp_path / "shell"
    shell.write_text("#!/bin/sh\necho unexpected EOF >&2\nexec sleep 100\n", encoding="ascii")
    shell.chmod(0o700)
    host = a_host()
    assert not await wants_more(host, str(shell), "echo '")


async def test_without_a_judge_the_text_is_run_as_it_is() -> None:
    with no_leak():
        assert not await wants_more(a_host(), "/no/such/shell", "echo '")
        assert not await wants_more(a_host(processes=0), "/bin/sh", "echo '")
        # What the text says by itself needs none.
        assert await wants_more(a_host(processes=0), "/bin/sh", "echo \\")
