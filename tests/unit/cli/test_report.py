"""One line, one object, one table: safe, whole, and the same keys for every outcome.

What is said of a server that does not answer, and when it is taken back. Output in an object: the
same as json itself writes, in pieces, and no more than fits.
"""

from __future__ import annotations

import base64
import json
import signal
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rshell.channels.process.messages import ProcessEnding
from rshell.cli import report as report_module
from rshell.cli.report import (
    AnswerWatch,
    Report,
    aligned,
    collect,
    command_cell,
    format_seconds,
    json_pieces,
    output_value,
    print_object,
    print_result,
    tell_link,
)
from rshell.cli.standard import StreamError
from rshell.cli.streams import Left
from rshell.client.client import Client
from rshell.errors import AuthenticationFailed, ChannelRefused, ChannelReset, ConnectError, LinkLost
from rshell.values import ExitStatus
from tests.support.links import Links
from tests.support.session import until


def test_what_a_server_chose_is_shown_on_one_line_and_can_not_act(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert Report().failed(ConnectError("a\nb\x1b[2J\u202e\x9b")) == 255
    assert capfd.readouterr() == ("", "rshell: a\\x0ab\\x1b[2J\\u202e\\x9b\n")


def unforeseen() -> Exception:
    try:
        raise RuntimeError("can't start new thread")
    except RuntimeError as error:
        return error


FAILURES: list[tuple[BaseException, int, str]] = [
    (LinkLost("cut"), 255, "cut"),
    (StreamError(1, OSError(28, "No space left")), 255, "can't write stdout: No sp"),
    (FileNotFoundError(2, "No such file", "/x"), 255, "No such file: /x"),
    (unforeseen(), 255, "not foreseen: RuntimeError: can't start new thread (test_report.py, l"),
    (MemoryError(), 255, "an error that was not foreseen: MemoryError"),
    (Left.by(signal.SIGTERM), 143, "ended by SIGTERM"),
]


def test_whatever_goes_wrong_is_one_line_or_one_object_and_its_status(
    capfd: pytest.CaptureFixture[str],
) -> None:
    for error, status, text in FAILURES:
        assert Report().failed(error) == status, error
        out, err = capfd.readouterr()
        if isinstance(error, Left):
            assert (out, err) == ("", "")  # who leaves knows it
        else:
            assert out == "" and err.startswith("rshell: ") and text in err, error
            assert err.count("\n") == 1
        report = Report(as_json=True)
        report.stdout += b"early"
        assert report.failed(error) == status, error
        out, err = capfd.readouterr()
        shown = json.loads(out)
        assert (shown["stdout"], shown["outcome"], err) == ("early", "refused", ""), error
        assert text in shown["error"]


def test_a_status_that_is_told_is_the_one_whatever_comes_later(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """SIGTERM during the goodbye: a second object, and the status of a success lost."""
    report = Report(as_json=True)
    report.ended(ProcessEnding(ExitStatus(code=3), 0, 0, duration=1.0))
    capfd.readouterr()
    assert report.failed(Left.by(signal.SIGTERM)) == report.failed(LinkLost("cut")) == 3
    assert capfd.readouterr() == ("", "")


def test_a_reader_that_has_left_is_141_without_a_word(capfd: pytest.CaptureFixture[str]) -> None:
    for as_json in (False, True):
        assert Report(as_json=as_json).failed(BrokenPipeError()) == 141
    assert capfd.readouterr() == ("", "")


async def test_a_cut_and_a_return_are_told_once_each_and_not_after_the_end() -> None:
    client, said = Links(), list[str]()
    tell_link(cast(Client, client), said.append, way_out=" (here)")
    for is_up in (True, False, False, True):
        client.change(is_up=is_up)
    assert said == ["the link was cut; trying to come back (here)", "the link is back"]
    client.is_closed = True
    client.change(is_up=False)
    assert len(said) == 2


def test_how_a_command_ended_in_the_keys_of_a_failure(capfd: pytest.CaptureFixture[str]) -> None:
    def told() -> dict[str, object]:
        shown: dict[str, object] = json.loads(capfd.readouterr().out)
        return shown

    Report(as_json=True).failed(LinkLost("x"))
    keys = told().keys()
    for code, by_signal, timed_out, outcome, expected in (
        (0, None, False, "exited", 0),
        (255, None, False, "exited", 255),
        (None, 15, False, "signaled", 143),
        (None, 15, True, "timeout", 124),
        (0, None, True, "timeout", 124),
    ):
        status = ExitStatus(code=code) if by_signal is None else ExitStatus.from_returncode(-15)
        ending = ProcessEnding(status, 1, 1, duration=1.23456789, timed_out=timed_out)
        report = Report(as_json=True)
        report.stdout += b"o"
        report.stderr += b"e"
        assert report.ended(ending) == Report().ended(ending) == expected
        shown = told()
        assert (shown["outcome"], shown["stdout"], shown["stderr"]) == (outcome, "o", "e")
        assert (shown["exit_status"], shown["duration"]) == (code, 1.234568)
        assert shown.keys() == keys


def test_a_failure_says_whether_anything_may_have_run(capfd: pytest.CaptureFixture[str]) -> None:
    for error in (AuthenticationFailed("no"), LinkLost("no"), Left.by(signal.SIGHUP)):
        for has_begun, outcome in ((False, "refused"), (True, "lost")):
            report = Report(as_json=True)
            report.stderr += b"\xff"
            report.has_begun = has_begun
            report.failed(error)
            shown = json.loads(capfd.readouterr().out)
            assert (shown["outcome"], shown["stderr_base64"]) == (outcome, "/w==")
            assert shown["error"] == str(error)
            assert shown["exit_status"] is shown["signal"] is shown["duration"] is None
    report = Report(as_json=True)
    report.has_begun = True
    report.failed(ChannelRefused("busy", "no room"))
    assert json.loads(capfd.readouterr().out)["outcome"] == "refused"


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


SILENCE = "no answer from the server; what was sent to it waits (here)"


async def test_silence_is_told_once_where_something_waits_and_taken_back() -> None:
    client, said = Links(answer_seconds=0.01), list[str]()
    watch = AnswerWatch(cast(Client, client), said.append, way_out=" (here)")
    client.is_answered = False
    await until(lambda: said == [SILENCE])
    client.heard_at = 1.0
    await until(lambda: said == [SILENCE, "the server answers again"])
    await until(lambda: said[2:] == [SILENCE])  # it said something else
    watch.begin_anew()
    await until(lambda: said[3:] == [SILENCE])
    client.is_answered = True
    await until(lambda: said[4:] == ["the server answers again"])
    watch.stop()


async def test_nothing_is_told_where_nothing_waits_or_nobody_wants_to_know() -> None:
    client, said = Links(answer_seconds=0.005), list[str]()
    watches = [
        AnswerWatch(cast(Client, client), said.append),
        AnswerWatch(cast(Client, client), said.append, is_wanted=lambda: False),
    ]
    for is_answered, is_up, is_closed in (
        (True, True, False),
        (False, False, False),  # which is told elsewhere
        (False, True, True),
    ):
        client.is_answered, client.is_up, client.is_closed = is_answered, is_up, is_closed
        await long_enough()
        assert said == []
    for watch in watches:
        watch.stop()


async def long_enough() -> None:
    """Wait until another watch, twice as patient, has seen silence."""
    client, said = Links(answer_seconds=0.01), list[str]()
    client.is_answered = False
    watch = AnswerWatch(cast(Client, client), said.append)
    await until(lambda: said != [])
    watch.stop()


def test_pieces_are_what_json_writes() -> None:
    many = 'ä€😀\x00\x1b"\\' * 30_000
    values = {"outcome": "exited", "exit_status": 0, "list": [{"a": None}], "error": None}
    for text in ("", "x", many):
        written = b"".join(json_pieces(values | output_value("stdout", text.encode())))
        assert written == json.dumps(values | {"stdout": text}).encode() + b"\n"
    assert max(map(len, json_pieces(output_value("stdout", many.encode())))) < 400_000


def test_what_is_no_text_is_base64() -> None:
    for data in (b"\xff", b"x" * 100_000 + b"\xc3", bytes(range(256)) * 1000):
        ((key, value),) = output_value("stderr", data).items()
        assert key == "stderr_base64"
        written = json.loads(b"".join(json_pieces({key: value})))
        assert base64.b64decode(written[key]) == data


@given(st.binary())
def test_output_is_text_where_it_can_be_and_base64_where_not(data: bytes) -> None:
    shown = json.loads(b"".join(json_pieces(output_value("stdout", data))))
    if "stdout" in shown:
        assert shown == {"stdout": data.decode()}
    else:
        assert base64.b64decode(shown["stdout_base64"]) == data
        with pytest.raises(UnicodeDecodeError):
            data.decode()


def test_no_more_is_kept_than_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_module, "_LARGEST", 2 * 2**20)
    data = bytearray()
    collect(data, bytes(2 * 2**20))
    with pytest.raises(ChannelReset, match="no more than 2 MiB of each stream"):
        collect(data, b"x")
    assert len(data) == 2 * 2**20
