"""How a command begins and ends: what is printed of it, and what of a failure."""

from __future__ import annotations

import signal

import pytest

import rshell
from rshell.cli.command import print_about, take_signals, tell_failure
from rshell.cli.report import Report
from rshell.errors import ConfigurationError


def test_help_and_version_are_printed_and_nothing_else(capfd: pytest.CaptureFixture[str]) -> None:
    assert print_about("help", "rshell-x", "usage: rshell-x\n\n")
    assert print_about("version", "rshell-x", "")
    assert not print_about("run", "rshell-x", "usage")
    assert capfd.readouterr().out == f"usage: rshell-x\nrshell-x {rshell.__version__}\n"


def test_a_failure_is_one_line_and_a_status(capfd: pytest.CaptureFixture[str]) -> None:
    for error, status, said in (
        (ConfigurationError("so it is"), 255, "rshell: so it is\n"),
        (KeyboardInterrupt(), 130, ""),
        (BrokenPipeError(), 141, ""),
    ):
        assert tell_failure(error) == status
        assert capfd.readouterr().err == said
    done = Report()
    done.status = 7
    assert tell_failure(ConfigurationError("too late"), done) == 7


def test_signals_come_when_they_are_taken() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR1])
    try:
        take_signals()
        assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before | {signal.SIGUSR1}
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
