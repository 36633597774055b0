"""The pieces of a text: all of it, in its order, whatever is in it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rshell.channels.shell import scanner
from rshell.channels.shell.scanner import scan

TEXTS = st.lists(
    st.sampled_from(
        [
            *"'\"\\#<>$(){};&|` \t\nab=-",
            "<<",
            "<<-E",
            "\nE\n",
            "${",
            "$(",
            "((",
            "$'",
            "$[",
            "case ",
        ]
    )
    | st.characters(codec="utf-8"),
    max_size=60,
).map("".join)


def pieces(text: str, *, is_fish: bool = False) -> list[tuple[str, str]]:
    return [(kind, text[start:end]) for kind, start, end in scan(text, is_fish=is_fish)]


@given(TEXTS, st.booleans())
def test_the_pieces_are_the_text(text: str, is_fish: bool) -> None:
    at = 0
    for kind, start, end in scan(text, is_fish=is_fish):
        assert start == at and (end > start or kind == scanner.WAITING)
        at = end
    assert at == len(text)


def test_quotes_and_what_looks_like_them() -> None:
    for text, last in [
        ("'a \\'", ("quote", "'a \\'")),
        ('"a \\" b"', ("quote", '"a \\" b"')),
        ('"$(cat "a b" \')\')" x', ("plain", "x")),
        ('"${x:-"y"}it\'s" x', ("plain", "x")),
        ('"$(", not closed', ("open", '"$(", not closed')),
        ("'not closed\nx", ("open", "'not closed\nx")),
        ("$'it\\'s' x", ("plain", "x")),
        ("${x#'}'}", ("variable", "${x#'}'}")),
        ("${x", ("plain", "{x")),
        ("a#b", ("plain", "b")),
        ("a #b c", ("comment", "#b c")),
        ("((1 << (2)))", ("arithmetic", "((1 << (2)))")),
        ("cat <<<x", ("plain", "x")),
        ("cat <<-'E F' x\n\tE F\ny", ("plain", "y")),
        ("cat <<E\nbody", ("waiting", "")),
        ("\\", ("escape", "\\")),
    ]:
        assert pieces(text)[-1] == last, text


def test_fish_has_its_own_single_quotes_and_no_heredocs() -> None:
    assert pieces("'it\\'s' x", is_fish=True)[-1] == ("plain", "x")
    assert pieces("a <<b\nc", is_fish=True)[-1] == ("plain", "c")
