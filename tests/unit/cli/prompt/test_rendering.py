"""Prompts of shells as the editor shows them: what is kept, what is taken out, what can't be."""

from __future__ import annotations

import unicodedata

from hypothesis import given, settings
from hypothesis import strategies as st
from prompt_toolkit.styles import Style

from rshell.cli.prompt.rendering import Rendered, render

EDITORS = Style([])


def plain(text: str) -> str | None:
    shown = render(text)
    return None if shown is None else "".join(part for _, part in shown.fragments)


def test_what_can_be_shown_and_what_can_not() -> None:
    for text, shown in (
        ("", ""),
        ("me@box:~$ ", "me@box:~$ "),
        ("\x01\x1b[1;32m\x02me\x01\x1b[0m\x02$ ", "me$ "),
        ("\x1b[32m\x1b(B\x1b[m$ ", "$ "),  # tput sgr0
        ("\x1b[m\x0f$ ", "$ "),
        ("\x1b]133;A\x07$ \x1b]133;B\x1b\\", "$ "),
        ("\x1b]633;A\x07\x1b]7;file://box/x\x07$ ", "$ "),
        ("\x1b]8;;http://x\x07link\x1b]8;;\x07 ", "link "),
        ("\x1bPtmux;\x1b\x1b]133;A\x07\x1b\\$ ", None),  # a BEL in there is no end of it
        ("\x1bPtmux;\x1b\x1b]133;A\x1b\x1b\\\x1b\\$ ", "$ "),
        ("\x1bkscreen\x1b\\$ ", "$ "),
        ("\x1b[5 q\x1b[?25h\x1b[K$ ", "$ "),
        ("one\r\ntwo\n$ ", "one\ntwo\n$ "),
        ("\r\x07$ ", "$ "),
        ("\ue0b0 漢 e\u0301 👍\u200d🏽 ", "\ue0b0 漢 e\u0301 👍\u200d🏽 "),
        ("a\u202eb\u2028c\ud800\u200f", "abc\ufffd"),
        ("a\rb", None),
        ("\x1b7\x1b[80Cright\x1b8$ ", None),
        ("\x1b[2A$ ", None),
        ("\x1b[2J$ ", None),
        ("\x1b[2K$ ", None),
        ("\x1b(0qqq\x1b(B", None),
        ("\x0eqq\x0f", None),
        ("a\bb", None),
        ("a\tb", None),
        ("\x9b31m", None),
        ("\x1bc", None),
        ("\x1b[6n", None),
        ("\x1b[", None),
        ("\x1b]0;no end", None),
        ("\n" * 9 + "$ ", "\n" * 9 + "$ "),
        ("\n" * 10 + "$ ", None),
        ("x" * 2001, None),
    ):
        assert plain(text) == shown, text


def test_colours_and_attributes_are_styles() -> None:
    for numbers, style in (
        ("", ""),
        ("0", ""),
        ("1", "bold"),
        ("01;32", "fg:ansigreen bold"),
        ("31;0", ""),
        ("1;3;4;5;7;8;9", "bold italic underline blink reverse hidden strike"),
        ("1;2;22", ""),
        ("4;24", ""),
        ("4:3", "underline"),
        ("4;4:0", ""),
        ("97;100", "fg:ansiwhite bg:ansibrightblack"),
        ("37;40", "fg:ansigray bg:ansiblack"),
        ("31;39;41;49", ""),
        ("38;5;1", "fg:ansired"),
        ("38;5;9", "fg:ansibrightred"),
        ("38;5;208;48;5;236", "fg:#ff8700 bg:#303030"),
        ("38;2;1;2;3;1", "fg:#010203 bold"),
        ("38:2::1:2:3;1", "fg:#010203 bold"),
        ("48:2:1:2:3", "bg:#010203"),
        ("38:5:196", "fg:#ff0000"),
        ("58;5;1;31", "fg:ansired"),
        ("38;5;999;1", "bold"),
        ("38", ""),
        ("38;5", "fg:ansiblack"),
        ("12345;1", "bold"),
    ):
        shown = render(f"\x1b[{numbers}mx")
        assert shown is not None and shown.fragments == ((style, "x"),), numbers
        EDITORS.get_attrs_for_style_str(style)  # which knows each word


def test_the_title_is_kept_apart_and_can_not_act() -> None:
    assert render("$ ") == Rendered((("", "$ "),), None)
    for text, title in (
        ("\x1b]0;me@box: ~\x07$ ", "me@box: ~"),
        ("\x1b]2;one\x07\x1b]2;two\x1b\\$ ", "two"),
        ("\x1b]1;icon\x07$ ", None),
        ("\x1b]0;\u202ex\x07$ ", "\\u202ex"),
        ("\x1b]0;\x07$ ", ""),
    ):
        shown = render(text)
        assert shown is not None and shown.title == title


def test_how_many_rows_a_prompt_takes() -> None:
    for text, columns, rows in (
        ("", 80, 1),
        ("x" * 79, 80, 1),
        ("x" * 80, 80, 2),
        ("漢" * 40, 80, 2),
        ("one\n$ ", 80, 2),
        ("x" * 100 + "\n$ ", 20, 7),
    ):
        shown = render(text)
        assert shown is not None and shown.rows(columns) == rows


SEQUENCES = st.sampled_from(
    [
        *("\x1b[31m", "\x1b[38;5;", "\x1b[2J", "\x1b[6n", "\x1b[?1049h", "\x1b[", "\x1b]", "\x1bP"),
        *("\x1b]0;", "\x1b]8;;", "\x07", "\x1b\\", "\x01", "\x02", "\n", "\r", "m", ";", "\x18"),
        *("\x9b", "\u202e", "\ud800", "[ZeroWidthEscape]", "class:x"),
    ]
)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.one_of(SEQUENCES, st.text(max_size=5)), max_size=20))
def test_nothing_in_a_prompt_acts(pieces: list[str]) -> None:
    shown = render("".join(pieces))
    if shown is None:
        return
    for style, text in shown.fragments:
        assert "ZeroWidth" not in style and "class:" not in style
        EDITORS.get_attrs_for_style_str(style)
        text.encode()
        for character in text.replace("\n", ""):
            assert unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp")
            assert unicodedata.category(character) != "Cf" or character == "\u200d"
    assert shown.title is None or shown.title.isprintable()
