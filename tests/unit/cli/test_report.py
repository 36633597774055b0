"""One line, one object, one table: safe, whole, and the same keys for every outcome."""

from __future__ import annotations

import json
import sys
from typing import Any, cast

import pytest

from rshell.channels.process.messages import ProcessEnding
from rshell.cli.report import (
    aligned,
    command_cell,
    complain,
    ended,
    fail,
    failure,
    format_seconds,
    print_object,
    print_result,
    tell_link,
)
from rshell.client.client import Client
from rshell.errors import AuthenticationFailed, ConnectError, LinkLost, SessionClosed
from rshell.values import ExitStatus


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


def test_what_fails_is_a_line_or_an_object_with_the_output(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert fail(LinkLost("cut"), False) == fail(OSError("full"), True) == 255
    assert capfd.readouterr() == ("", "rshell: cut\nrshell: full\n")
    assert fail(LinkLost("cut"), True, b"early") == 255
    shown = json.loads(capfd.readouterr().out)
    assert (shown["stdout"], shown["error"]) == ("early", "cut")


class Links:
    is_up = True
    is_closed = False

    def __init__(self) -> None:
        self.links: Any = self

    def on_change(self) -> None:
        raise AssertionError("nobody listens")


def test_a_cut_and_a_return_are_told_once_each_and_not_after_the_end() -> None:
    client, said = Links(), list[str]()
    tell_link(cast(Client, client), said.append, way_out=" (here)")
    for is_up in (True, False, False, True):
        client.is_up = is_up
        client.on_change()
    assert said == ["the link was cut; trying to come back (here)", "the link is back"]
    client.is_up, client.is_closed = False, True
    client.on_change()
    assert len(said) == 2


def test_how_a_command_ended_in_the_keys_of_a_failure() -> None:
    for ending, outcome in (
        (ProcessEnding(ExitStatus(code=3), 1, 0, duration=1.0), "exited"),
        (ProcessEnding(ExitStatus.from_returncode(-15), 1, 0, duration=1.0), "signaled"),
        (ProcessEnding(ExitStatus(code=0), 1, 0, duration=1.0, timed_out=True), "timeout"),
    ):
        shown = ended(ending, b"o", b"e")
        assert (shown["outcome"], shown["stdout"], shown["stderr"]) == (outcome, b"o", b"e")
        assert shown.keys() == failure(LinkLost("x")).keys()


def test_a_failure_says_whether_anything_may_have_run() -> None:
    lost = failure(LinkLost("the link was cut"), b"early", b"\xff")
    assert (lost["outcome"], lost["stdout"], lost["stderr_base64"]) == ("lost", b"early", b"\xff")
    assert failure(SessionClosed("shutdown", "bye", by="remote"))["outcome"] == "lost"
    refused = failure(AuthenticationFailed("no"))
    assert (refused["outcome"], refused["error"]) == ("refused", "no")
    assert refused.keys() == failure(LinkLost("x")).keys()
    assert refused["exit_status"] is refused["signal"] is refused["duration"] is None


def test_one_line_of_ascii_whatever_is_in_it(capfd: pytest.CaptureFixture[str]) -> None:
    print_object({"stdout": "\u00e9\n\x1b[2J\u2028"})
    written = capfd.readouterr().out
    assert written.count("\n") == 1 and written.isascii() and "\x1b" not in written
    assert json.loads(written)["stdout"] == "\u00e9\n\x1b[2J\u2028"


def test_columns_begin_below_each_other_and_the_last_is_not_padded() -> None:
    assert aligned([("A", "B", "C"), ("long", "x", "a longer one")]) == (
        "A     B  C\nlong  x  a longer one"
    )
    assert aligned([("A", "B")]) == "A  B"


def test_a_command_is_short_and_on_one_line() -> None:
    assert command_cell("a\nb\x1b[2J") == "a\\x0ab\\x1b[2J"
    assert command_cell("y" * 60) == "y" * 60
    assert command_cell("y" * 61) == "y" * 57 + "..."


def test_a_text_or_an_object(capfd: pytest.CaptureFixture[str]) -> None:
    print_result({"a": 1}, "text", False)
    print_result({"a": 1}, "", False)
    assert capfd.readouterr().out == "text\n"
    print_result({"a": 1}, "text", True)
    assert json.loads(capfd.readouterr().out) == {"a": 1}


def test_durations_are_for_people() -> None:
    for seconds, shown in (
        (0, "0.0 ms"),
        (0.5, "500.0 ms"),
        (1, "1.0 s"),
        (59.9, "59.9 s"),
        (60, "1 min 00 s"),
        (3599.9, "59 min 59 s"),
        (3600, "1 h 00 min"),
        (90061, "25 h 01 min"),
    ):
        assert format_seconds(seconds) == shown
