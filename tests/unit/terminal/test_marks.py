"""Marks for the terminal: their order, what turns them off, and those of others."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rshell.terminal.marks import MarkFilter, Marks, wants_marks


def marks(*, on: bool = True, vscode: bool = False, host: str = "box") -> Marks:
    return Marks(on=on, vscode=vscode, host=host)


def test_who_gets_marks() -> None:
    for environment, is_dumb, wanted in (
        ({}, False, True),
        ({"RSHELL_MARKS": "1"}, False, True),
        ({"RSHELL_MARKS": ""}, False, True),
        ({"RSHELL_MARKS": "0"}, False, False),
        ({}, True, False),
    ):
        assert wants_marks(environment, is_dumb=is_dumb) is wanted


def test_a_session_in_order() -> None:
    for vscode, number in ((False, 133), (True, 633)):
        made = marks(vscode=vscode)
        assert made.begin() == b"\x1b[22;2t"
        assert made.at_prompt("/home/me", "me@box: ~") == (
            b"\x1b]7;file://box/home/me\x07\x1b]2;me@box: ~\x07"
        )
        assert made.before == f"\x1b]{number};A\x07" and made.behind == f"\x1b]{number};B\x07"
        assert made.done(0) == b""  # no command has begun
        assert made.command() == f"\x1b]{number};C\x07".encode()
        assert made.done(3) == f"\x1b]{number};D;3\x07".encode()
        assert made.done(3) == b""
        assert made.at_prompt("/home/me", "me@box: ~") == b""
        made.command()
        assert made.end() == f"\x1b]{number};D\x07\x1b[23;2t".encode()


def test_a_title_that_somebody_else_has_set_stays_until_there_is_another() -> None:
    made = marks()
    made.at_prompt("/", "one")
    assert made.at_prompt("/", None) == b""
    assert made.at_prompt("/", "one") == b"\x1b]2;one\x07"


def test_nothing_at_all_where_they_are_off() -> None:
    made = marks(on=False)
    said = [made.begin(), made.at_prompt("/", "x"), made.command(), made.done(0), made.end()]
    assert b"".join(said) == b"" and made.before == made.behind == ""


def test_names_and_directories_can_not_act() -> None:
    said = marks(host="b\x07\x1b]0;x").at_prompt("/a b/\udcff\x07ä", "t\x07\x1b[2J")
    assert said == (
        b"\x1b]7;file://b%07%1B%5D0%3Bx/a%20b/%FF%07%C3%A4\x07\x1b]2;t\\x07\\x1b[2J\x07"
    )


THEIRS = (
    b"\x1b]133;A\x07",
    b"\x1b]133;D;0;aid=1\x1b\\",
    b"\x1b]633;E;ls;nonce\x07",
    b"\x1b]7;file://other/x\x1b\\",
)
OURS = (
    b"text",
    b"\x1b]0;title\x07",
    b"\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\",
    b"\x1b]52;c;AAAA\x07",
    b"\x1b]1337;x\x07",
    b"\x1b]7",
    b"\x1b[31m",
    b"\x1b",
    b"\x1b]777;notify\x07",
)


def test_marks_of_others_are_taken_out_however_they_are_cut() -> None:
    for first in OURS:
        for theirs in THEIRS:
            whole = first + b"x" + theirs + b"\r\n"
            for cut in range(len(whole)):
                output = MarkFilter()
                shown = output.take(whole[:cut]) + output.take(whole[cut:]) + output.rest()
                assert shown == first + b"x\r\n", (whole, cut)
                assert output.saw_title is (first == OURS[1])


def test_a_mark_without_an_end_is_shown_in_the_end() -> None:
    output = MarkFilter()
    assert output.take(b"\x1b]133;A") == b"" and output.rest() == b"\x1b]133;A"
    flood = b"\x1b]133;" + b"x" * 5000
    assert output.take(flood) == flood
    assert output.rest() == b""


@given(
    st.lists(st.sampled_from((*OURS, *THEIRS, b"133;", b"\x07", b"\\", b"]"))), st.integers(1, 9)
)
def test_nothing_else_is_lost(pieces: list[bytes], size: int) -> None:
    whole = b"".join(pieces)
    cut, uncut = MarkFilter(), MarkFilter()
    blocks = [whole[at : at + size] for at in range(0, len(whole), size)]
    shown = b"".join(map(cut.take, blocks)) + cut.rest()
    assert shown == uncut.take(whole) + uncut.rest()
    if not any(mark in whole for mark in (b"133;", b"633;", b"]7;")):
        assert shown == whole
