"""`rshell`'s own words: help, version, and one line for whatever went wrong."""

from __future__ import annotations

import sys

import pytest

from rshell import __version__
from rshell.cli.options import NamedShellOptions, Options
from rshell.cli.rshell import _limits, complain, main
from rshell.errors import ConnectError
from rshell.values import Bounds
from tests.support.commands import only_line, run


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == main(["--version"]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("usage: rshell") and shown.out.endswith(f"rshell {__version__}\n")
    assert shown.err == ""


def test_what_a_server_chose_is_shown_on_one_line_and_can_not_act(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert complain(ConnectError("a\nb\x1b[2J\u202e\x9b")) == 255
    assert capsys.readouterr().err == "rshell: a\\x0ab\\x1b[2J\\u202e\\x9b\n"


def test_a_closed_stderr_is_not_replaced_by_stdout(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    assert complain(ConnectError("lost")) == 255
    assert capsys.readouterr().out == ""


def test_nonsense_is_one_line_and_255() -> None:
    for arguments in (["--no-such-option"], ["-c", "a", "h", "b"], ["-p", "x", "h"]):
        done = run(*arguments)
        assert done.returncode == 255
        assert only_line(done.stderr)


class AtPrompt(Options):
    @property
    def wants_prompt(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("window", "at_prompt", "expected"),
    [
        (None, False, (300.0, 3.0)),
        (None, True, (300.0, 300.0)),
        (1.5, False, (1.5, 1.5)),
        (10.0, True, (10.0, 10.0)),
        (0.0, True, (0.0, 0.0)),
    ],
)
def test_somebody_at_a_prompt_is_waited_for_and_a_script_only_for_a_moment(
    window: float | None, at_prompt: bool, expected: tuple[float, float]
) -> None:
    limits = _limits((AtPrompt if at_prompt else Options)(resume_window=window), Bounds())
    assert (limits.resume_window, limits.linger) == expected


def test_a_named_shell_goes_on_by_itself_so_little_needs_to_be_kept() -> None:
    limits = _limits(AtPrompt(named=NamedShellOptions("attach", "work")), Bounds())
    assert (limits.resume_window, limits.linger) == (300.0, 3.0)


def test_a_named_shell_without_a_terminal_is_one_line_that_says_what_to_do() -> None:
    done = run("-S", "work", "localhost:1")
    assert done.returncode == 255 and "--detach" in only_line(done.stderr)
