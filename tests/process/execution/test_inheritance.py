"""What commands find when the program that starts them was started in an odd world."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from typing import Any

import pytest

from rshell.execution.inheritance import given_environment
from tests.support.commands import ROOT
from tests.support.execution import DEADLINE
from tests.support.odd_start import BLOCKED, FEW

# Signals 32 and 33: glibc's posix_spawn, which starts us here from Python 3.13 on, has its own
# two ignored, and lets nobody change them.
OF_GLIBC = 0b11 << 31
HARD = resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def look(kind: str) -> Any:
    script = str(ROOT / "tests" / "support" / "odd_start.py")
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    argv = [sys.executable, script, kind]
    done = subprocess.run(argv, capture_output=True, env=env, timeout=DEADLINE, check=False)
    assert done.returncode == 0, done.stderr.decode()
    told = json.loads(done.stdout)
    for lines in told["found"].values():
        name, _, mask = lines[1].partition("\t")
        lines[1] = f"{name}\t{int(mask, 16) & ~OF_GLIBC:016x}"
    return told


def test_no_command_inherits_what_was_ignored_blocked_or_set_for_its_server() -> None:
    told = look("program")
    for way, lines in told["found"].items():
        nothing = "0" * 16
        signals = [f"SigBlk:\t{nothing}", f"SigIgn:\t{nothing}"]
        assert lines == [*signals, str(FEW), "0027", ""], way
    assert told["ignored"] == [True, True]  # here they still are
    assert told["blocked"] == []
    assert told["limit"] == min(HARD, 1 << 20)


def test_a_program_that_embeds_a_server_keeps_its_mask_and_its_commands_have_none() -> None:
    told = look("embedded")
    for way, lines in told["found"].items():
        nothing = "0" * 16
        assert lines[:3] == [f"SigBlk:\t{nothing}", f"SigIgn:\t{nothing}", str(FEW)], way
    assert told["blocked"] == sorted(map(int, BLOCKED))
    assert told["limit"] == FEW


def test_a_locale_that_was_asked_for_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    for environment in (
        {"LC_CTYPE": "de_DE.UTF-8"},
        {"LC_CTYPE": "C.UTF-8", "LC_ALL": "C"},  # Python sets nothing beside LC_ALL
        {"LANG": "C"},
    ):
        assert given_environment(environment) == environment
