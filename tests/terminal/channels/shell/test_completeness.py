"""Texts that end too early, as the text itself and as every shell tells it.

A shell that is asked never runs the text, and leaves nothing behind.
"""

from __future__ import annotations

import os
from collections.abc import Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from rshell.channels.base import Context, Work
from rshell.channels.shell import completeness
from rshell.channels.shell.completeness import (
    may_be_incomplete,
    wants_more,
    wants_more_text,
)
from rshell.execution.spawn import SpawnQueue
from rshell.protocol.codec import Json
from rshell.values import Bounds
from tests.support.execution import no_leak


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hear the judge on a busy machine too."""
    monkeypatch.setattr(completeness, "_DEADLINE", 20.0)


def test_a_text_that_goes_on_is_told_from_one_that_only_looks_so() -> None:
    for text, wants in [
        ("echo a\\", True),
        ("echo a\\\\", False),
        ("echo a\\\nb", False),
        ("cat <<EOF", True),
        ("cat <<EOF\nEOF2", True),
        ("cat <<EOF\ntext\nEOF", False),
        ("cat <<-EOF\n\tEOF", False),
        ("cat <<'EOF'\n$x", True),
        ('cat <<"EOF"\n$x\nEOF', False),
        ("cat <<A <<B\nA", True),
        ("cat <<A <<B\nA\nB", False),
        ("cat <<<word", False),
        ("echo '<<EOF'", False),
        ("echo $((1 <<x))", False),
        ("true # <<EOF", False),
        ("for x", True),
        ("for x in a b", True),
        ("echo for x", False),
        ("for x in a; do echo; done", False),
        ("cat <<EOF\n\tEOF", True),
        ("cat <<EOF\nx\\", True),
        ("cat <<EOF\na'b\nEOF\necho x", False),
        ("cat <<\\EOF\nx\nEOF", False),
        ("cat <<EOF-1\nhello", True),
        ("cat <<EOF-1\nhello\nEOF-1", False),
        ('cat <<"A B"\nzz\nA B', False),
        ("cat <<EOF; echo 'a\nEOF\n'", True),
        ("python3 -c '\nn = 3\nprint(1 << n)\n'", False),
        ('git commit -m "fix\nuse a << b here\ndone"', False),
        ("echo $'it\\'s <<EOF'", False),
        ("x=1; echo $[1<<x]", False),
        ("echo $(( (1+(2)) << x ))", False),
        ("echo $(( 1 <<", False),
        ("# foo \\", False),
        ("true;# foo \\", False),
        ("true;#\\", False),
        ("echo a# \\", True),
        ("echo a\\#b \\", True),
        ("echo a &&", True),
        ("echo a || # why", True),
        ("ls |\n", True),
        ("[[ a &&", True),
        ("sleep 1 &", False),
        ("echo a >|", False),
        ("echo '&&'", False),
    ]:
        assert wants_more_text(text) is wants, text
        assert may_be_incomplete(text) or not wants, text


def test_a_plain_command_is_not_worth_a_question() -> None:
    for text in ["ls -l", "cd /tmp; pwd", "iffy format dodo", "a=1 b", "", "a # b"]:
        assert not may_be_incomplete(text), text


def a_context(processes: int = 10) -> Context:
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


async def test_a_shell_that_complains_without_end_or_reads_nothing_is_heard(
    tmp_path: Path,
) -> None:
    """More text than a pipe holds, to one that has made up its mind."""
    shell = tmp_path / "shell"
    shell.write_text("#!/bin/sh\necho unexpected EOF >&2\n", encoding="ascii")
    shell.chmod(0o700)
    with no_leak():
        assert await wants_more(a_context(), str(shell), "echo '" + "x" * 2_000_000)


async def test_a_judge_that_takes_too_long_is_not_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completeness, "_DEADLINE", 0.2)
    shell = tmp_path / "shell"
    shell.write_text("#!/bin/sh\necho unexpected EOF >&2\nexec sleep 100\n", encoding="ascii")
    shell.chmod(0o700)
    assert not await wants_more(a_context(), str(shell), "echo '")


async def test_without_a_judge_the_text_is_run_as_it_is() -> None:
    with no_leak():
        assert not await wants_more(a_context(), "/no/such/shell", "echo '")
        assert not await wants_more(a_context(processes=0), "/bin/sh", "echo '")
        # What the text says by itself needs none.
        assert await wants_more(a_context(processes=0), "/bin/sh", "echo \\")
