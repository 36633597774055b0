"""What the user's own shell draws is told from what its commands print, however it comes cut."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rshell.channels.shell.native.output import OutputFilter, RecordReader
from rshell.channels.shell.native.startup import UNKNOWN, native_kind

# What each draws around a line, as it was recorded: until the echo is at its end, and behind it.
ECHOES = {
    "bash": b"$ echo hi\r\n\x1b[?2004l\r",
    "zsh": b"\x1b[1m\x1b[0mecho hi\x1b[?1l\x1b>\x1b[?2004l\r\r\n",
    "fish": b"echo hi\r\n\x1b[30m\x1b(B\x1b[m\x1b[?2004l\x1b]0;echo hi\x07\x1b[30m\x1b(B\x1b[m\r",
}


def every_split(data: bytes) -> Iterator[list[bytes]]:
    """Yield `data` in two pieces cut at each place, and byte by byte."""
    for at in range(len(data) + 1):
        yield [data[:at], data[at:]]
    yield [data[at : at + 1] for at in range(len(data))]


def new_filter(shell: str) -> OutputFilter:
    kind = native_kind("/bin/" + shell)
    assert kind is not None
    return OutputFilter(kind.between, kind.behind)


def passed(shell: str, pieces: list[bytes]) -> bytes:
    """Return what is output of a line whose echo begins with these pieces."""
    output = new_filter(shell)
    output.begin_echo()
    return b"".join(map(output.take, pieces)) + output.finish()


@pytest.mark.parametrize("shell", ECHOES)
@pytest.mark.parametrize("said", [b"", b"hi\r\n", b"\r50 %\r", b"\x1b[31mred\x1b[m\r\n", b"\x1b"])
def test_the_echo_is_dropped_and_the_output_whole_at_every_cut(shell: str, said: bytes) -> None:
    for pieces in every_split(ECHOES[shell] + said):
        assert passed(shell, pieces) == said, pieces


def test_an_editor_without_bracketed_paste_fills_the_first_line() -> None:
    for pieces in every_split(b"$ echo hi\r\nhi\r\n"):
        assert passed("bash", pieces) == b"hi\r\n"


def test_an_echo_of_any_length_is_not_kept() -> None:
    output = new_filter("bash")
    output.begin_echo()
    for _ in range(100):
        assert output.take(bytes(1 << 20)) == b""
    assert output.is_echoing
    assert output.take(b"\x1b[?2004l\rhi") == b"hi"


def test_what_a_job_prints_at_the_prompt_is_output_and_the_prompt_is_not() -> None:
    output = new_filter("bash")
    output.begin_idle(b"\1\x1b[32m\2me$ ")
    assert output.take(b"\x1b[?2004h\x1b[32mme$ ") == b""
    assert output.take(b"job done\r\n") == b"job done\r\n"
    assert output.take(b"\x07\x1b[K\r") == b""


def test_the_echo_of_an_interrupt_is_dropped_before_its_report_and_behind_it() -> None:
    output = new_filter("bash")
    output.begin_idle(b"")
    output.begin_interrupt()
    assert output.take(b"^C\r\n") == b""
    output.begin_idle(b"")
    assert output.take(b"^C\r\nsaid by a job\r\n") == b"said by a job\r\n"
    assert output.take(b"^C is said by another\r\n") == b"^C is said by another\r\n"
    output.begin_idle(b"")  # without an interrupt
    assert output.take(b"^C\r\n") == b"^C\r\n"


def test_a_line_editor_of_a_command_is_seen_at_every_cut() -> None:
    for pieces in every_split(b"name? \x1b[?2004h"):
        output = new_filter("bash")
        assert b"".join(map(output.take, pieces)) == b"name? \x1b[?2004h"
        assert output.sees_editor


@given(st.lists(st.binary(max_size=20)))
def test_a_program_that_is_no_shell_of_ours_is_passed_as_it_is(pieces: list[bytes]) -> None:
    output = OutputFilter(UNKNOWN.between, UNKNOWN.behind)
    assert b"".join(map(output.take, pieces)) + output.finish() == b"".join(pieces)


@given(st.lists(st.lists(st.text("ab\n é"), max_size=3), max_size=4))
def test_records_are_read_at_every_cut_with_anything_between(records: list[list[str]]) -> None:
    data = b"noise of a command\0" + b"".join(
        b"\0".join([b"S", b"%d" % len(fields), *(text.encode() for text in fields), b""])
        for fields in records
    )
    step = 1 + len(data) // 40
    for at in range(0, len(data) + 1, step):
        reader = RecordReader()
        found = reader.feed(data[:at]) + reader.feed(data[at:])
        assert found == [["S", *fields] for fields in records], at


def test_a_record_that_never_ends_is_not_kept_whole() -> None:
    reader = RecordReader()
    for _ in range(8):
        assert reader.feed(b"x" * (1 << 20)) == []
    assert len(reader._rest) <= 1 << 20
    assert reader.feed(b"\0S\0" + b"1\0yes\0") == [["S", "yes"]]
