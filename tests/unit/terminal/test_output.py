"""Modes that a program left on, wherever the blocks are cut; text in which nothing acts."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from rshell.terminal.output import ModeTracker, printable

COLOURS = b"\x1b[0m"


def undone(*blocks: bytes) -> bytes:
    tracker = ModeTracker()
    for block in blocks:
        tracker.feed(block)
    return tracker.reset()


LEFT_ON = [
    (b"", b""),
    (b"plain\r\n", b""),
    (b"\x1b[31mred", COLOURS),
    (b"\x1b[?1000h", b"\x1b[?1000l" + COLOURS),
    (b"\x1b[?1000h\x1b[?1000l", COLOURS),
    (b"\x1b[?25l", b"\x1b[?25h" + COLOURS),
    (b"\x1b[?25l\x1b[?25h", COLOURS),
    (b"\x1b[?7l\x1b[?2004h", b"\x1b[?2004l\x1b[?7h" + COLOURS),
    (b"\x1b[?1002;1006h", b"\x1b[?1002l\x1b[?1006l" + COLOURS),
    (b"\x1b[?;1000;;h", b"\x1b[?1000l" + COLOURS),
    (b"\x1b=", b"\x1b>" + COLOURS),
    (b"\x1b=\x1b>", COLOURS),
    (b"\x1b[?1000h\x1b=\x1bc", COLOURS),
    (b"\x1b[?1000h\x1b=\x1b[!p", COLOURS),
    (b"\x1b[?12h\x1b[?99999h", COLOURS),
    (b"\x1b[?1000\x1b[?1003h", b"\x1b[?1003l" + COLOURS),
    (b"\x1b[1;10r", b"\x1b7\x1b[r\x1b8" + COLOURS),
    (b"\x1b[1;10r\x1b[r", COLOURS),
    (b"\x1b[4h", b"\x1b[4l" + COLOURS),
    (b"\x1b[4h\x1b[4l", COLOURS),
    (b"\x1b(0lqqk", b"\x1b(B" + COLOURS),
    (b"\x1b(0lqqk\x1b(B", COLOURS),
    (b"\x1b[>4;2m", b"\x1b[>4m" + COLOURS),
    (b"\x1b[>4;2m\x1b[>4;m", COLOURS),
    (b"\x1b[>1u\x1b[>3u", b"\x1b[<2u" + COLOURS),
    (b"\x1b[>1u\x1b[>3u\x1b[<2u\x1b[<u", COLOURS),
    (b"\x1b[>1u\x1b[>3u\x1b[<0u\x1b[<1u", b"\x1b[<1u" + COLOURS),
    (b"\x1b[>1u\x1b[<9u", COLOURS),
    (b"\x1b[5 q", b"\x1b[0 q" + COLOURS),
    (b"\x1b[5 q\x1b[ q", COLOURS),
    (b"\x1b[>1u\x1b[4h\x1b[1;5r\x1bc", COLOURS),
]


def test_what_is_left_on_is_undone_wherever_the_output_is_cut() -> None:
    for output, undo in LEFT_ON:
        assert undone(output) == undo, output
        for cut in range(len(output) + 1):
            assert undone(output[:cut], output[cut:]) == undo, output
        assert undone(*(output[at : at + 1] for at in range(len(output)))) == undo, output


MODES = [b"\x1b[?1049h", b"\x1b[?1000h", b"\x1b[?1000l", b"\x1b[?25l", b"\x1b[?7l", b"\x1b[?7h"]
MODES += [b"\x1b=", b"\x1b>", b"\x1b[?2004;1006h", b"\x1bc", b"text\r\n"]
MODES += [b"\x1b[>4;2m", b"\x1b[>4m", b"\x1b[>1u", b"\x1b[<u"]


@given(st.lists(st.sampled_from(MODES)))
def test_what_restores_modes_elsewhere_is_undone_as_they_are(output: list[bytes]) -> None:
    here, there = ModeTracker(), ModeTracker()
    for block in output:
        here.feed(block)
    restored = here.restore()
    there.feed(restored)
    assert there.restore() == restored
    assert there.reset().removesuffix(COLOURS) == here.reset().removesuffix(COLOURS)


def test_modes_that_nobody_undoes_are_not_remembered() -> None:
    tracker = ModeTracker()
    for number in range(10_000, 20_000):
        tracker.feed(b"\x1b[?%dh" % number)
    assert tracker.restore() == b"" and not tracker._modes


def test_the_alternate_screen_is_restored_before_anything_else() -> None:
    tracker = ModeTracker()
    tracker.feed(b"\x1b[?2004h\x1b[?25l\x1b=\x1b[?1049h\x1b[?1h")
    assert tracker.restore() == b"\x1b[?1049h\x1b[?2004h\x1b[?1h\x1b[?25l\x1b="


def test_the_alternate_screen_is_left_before_anything_else() -> None:
    undo = undone(b"\x1b[?2004h\x1b[?25l\x1b=\x1b[?1049h\x1b[?1h")
    assert undo == b"\x1b[?1049l\x1b[?2004l\x1b[?1l\x1b[?25h\x1b>" + COLOURS
    assert undone(b"\x1b[?47;1047;1049h").startswith(b"\x1b[?1049l\x1b[?1047l\x1b[?47l")


def test_a_reset_forgets_also_a_sequence_that_was_begun() -> None:
    tracker = ModeTracker()
    tracker.feed(b"\x1b[?1049h\x1b=\x1b[31m\x1b[?100")
    assert tracker.reset()
    assert tracker.reset() == b""
    tracker.feed(b"0h")  # the next program prints it as text
    assert tracker.reset() == b""


def test_an_escape_without_an_end_keeps_no_output() -> None:
    tracker = ModeTracker()
    tracker.feed(b"\x1b[?")
    for _ in range(100):
        tracker.feed(b"1" * 1000)
        assert len(tracker._tail) < 100
    tracker.feed(b"h")
    assert tracker.reset() == COLOURS


def test_the_middle_of_a_line_is_that_of_the_last_block() -> None:
    tracker = ModeTracker()
    assert not tracker.mid_line
    for block, expected in (
        (b"prompt", True),
        (b"", True),
        (b"\r\n", False),
        (b"", False),
        (b"a\nb", True),
        (b"\x1b[?25l\n", False),
    ):
        tracker.feed(block)
        assert tracker.mid_line is expected


PIECES = st.sampled_from(
    [
        b"\x1b",
        b"[",
        b"?",
        b"1049",
        b"25",
        b";",
        b"h",
        b"l",
        b"=",
        b">",
        b"c",
        b"!p",
        b"text",
        b"\n",
        b"u",
        b"r",
        b"<",
        b"4",
        b"m",
        b" q",
        b"(",
    ]
)


@given(st.lists(PIECES, max_size=30))
def test_noise_means_the_same_cut_anywhere(pieces: list[bytes]) -> None:
    assert undone(*pieces) == undone(b"".join(pieces))


SHOWN = [
    ("", ""),
    ("plain text, 100%", "plain text, 100%"),
    ("naïve 漢字 🐚 e\u0301", "naïve 漢字 🐚 e\u0301"),
    ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
    ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
    ("two\r\nlines\ttab", "two\\x0d\\x0alines\\x09tab"),
    ("\x00\x7f", "\\x00\\x7f"),
    ("\x9b31mC1", "\\x9b31mC1"),
    ("\x85\x90", "\\x85\\x90"),
    ("user\u202egnp.exe", "user\\u202egnp.exe"),
    ("\u2066\u2069\u200f\ufeff\u200b", "\\u2066\\u2069\\u200f\\ufeff\\u200b"),
    ("line\u2028para\u2029", "line\\u2028para\\u2029"),
    ("\udcff\ud800", "\\udcff\\ud800"),
    ("\ue000\U000f0000", "\\ue000\\U000f0000"),
    ("\u0378", "\\u0378"),
    ("\U000e0041", "\\U000e0041"),
    ("\\x1b", "\\x1b"),
]


def test_what_acts_is_shown_as_an_escape() -> None:
    for text, shown in SHOWN:
        assert printable(text) == shown, ascii(text)


@given(st.text(st.characters(min_codepoint=0, max_codepoint=0x10FFFF), max_size=200))
def test_nothing_that_acts_is_left(text: str) -> None:
    shown = printable(text)
    assert not [c for c in shown if unicodedata.category(c)[0] == "C"]
    assert not set(shown) & set("\n\r\t\x1b\u2028\u2029")
    assert shown.encode().decode() == shown
    assert printable(shown, limit=10_000) == shown


def test_long_text_is_cut_and_says_so() -> None:
    for character in ("x", "é", "\x1b", "\U000e0041"):
        one = printable(character)
        assert printable(character * 1000) == one * 1000
        assert printable(character * 1001) == one * 1000 + "..."
        assert printable(character * 5, limit=3) == one * 3 + "..."


def test_a_megabyte_is_not_looked_at_beyond_the_limit() -> None:
    assert printable("\x1b" * 1_000_000, limit=1) == "\\x1b..."


def test_what_leaves_the_cursor_in_place_begins_and_ends_no_line() -> None:
    tracker = ModeTracker()
    for block, expected in (
        (b"\x1b[0m\x1b]0;title\x07", False),
        (b"red", True),
        (b"\x1b[0m\x1b[?25h\r", True),
        (b"a line\r\n\x1b[m\x1b[K", False),
        (b"\x1b[5C", True),
        (b"\n" + b"\x1b[m" * 100, True),  # more than is looked at
    ):
        tracker.feed(block)
        assert tracker.mid_line is expected, block
