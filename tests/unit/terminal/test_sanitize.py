"""Text that is safe to show: nothing in it acts, all of it can be read."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rshell.terminal.sanitize import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
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
    ],
)
def test_what_acts_is_shown_as_an_escape(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text(st.characters(min_codepoint=0, max_codepoint=0x10FFFF), max_size=200))
def test_nothing_that_acts_is_left(text: str) -> None:
    shown = printable(text)
    assert not [c for c in shown if unicodedata.category(c)[0] == "C"]
    assert not set(shown) & set("\n\r\t\x1b\u2028\u2029")
    assert shown.encode().decode() == shown
    assert printable(shown, limit=10_000) == shown


@pytest.mark.parametrize("character", ["x", "é", "\x1b", "\U000e0041"])
def test_long_text_is_cut_and_says_so(character: str) -> None:
    one = printable(character)
    assert printable(character * 1000) == one * 1000
    assert printable(character * 1001) == one * 1000 + "..."
    assert printable(character * 5, limit=3) == one * 3 + "..."


def test_a_megabyte_is_not_looked_at_beyond_the_limit() -> None:
    assert printable("\x1b" * 1_000_000, limit=1) == "\\x1b..."
