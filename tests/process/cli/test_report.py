"""`--json`: the same keys for every outcome, and no byte lost to an encoding."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rshell.cli.report import _output, failure, print_object
from rshell.errors import AuthenticationFailed, LinkLost, SessionClosed
from tests.support.commands import run


@given(st.binary())
def test_output_is_text_where_it_can_be_and_base64_where_not(data: bytes) -> None:
    shown = _output("stdout", data)
    if "stdout" in shown:
        assert shown == {"stdout": data.decode()}
    else:
        assert base64.b64decode(shown["stdout_base64"]) == data
        with pytest.raises(UnicodeDecodeError):
            data.decode()


def test_a_failure_says_whether_anything_may_have_run() -> None:
    lost = failure(LinkLost("the link was cut"), b"early", b"\xff")
    assert (lost["outcome"], lost["stdout"], lost["stderr_base64"]) == ("lost", "early", "/w==")
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


def test_a_refused_command_is_an_object_too(tmp_path: Path) -> None:
    done = run("--json", "-c", "true", f"unix:{tmp_path / 'none'}")
    shown = json.loads(done.stdout)
    assert (shown["outcome"], done.returncode, done.stderr) == ("refused", 255, b"")
