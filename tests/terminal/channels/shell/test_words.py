"""The word at the cursor, and candidates as a real shell reads them."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rshell.channels.shell.words import find_word, quote_candidate

# A newline is written as only some shells read it.
NAMES = st.text(
    st.characters(exclude_characters="\0\n", exclude_categories=["Cs"]), min_size=1, max_size=30
)
QUOTES = st.sampled_from(["", "'", '"'])


@pytest.mark.parametrize(
    ("line", "words", "start", "quote"),
    [
        ("", ("",), 0, ""),
        ("ls", ("ls",), 0, ""),
        ("ls ", ("ls", ""), 3, ""),
        ("ls a\\ b", ("ls", "a b"), 3, ""),
        ("ls 'a b", ("ls", "a b"), 3, "'"),
        ('ls "a \\"b', ("ls", 'a "b'), 3, '"'),
        ("ls pre'a b", ("ls", "prea b"), 3, "'"),
        ("ls ''", ("ls", ""), 3, ""),
        ("ls '' x", ("ls", "", "x"), 6, ""),
        ("ls 'a|b' c", ("ls", "a|b", "c"), 9, ""),
        ("one; two | thr", ("thr",), 11, ""),
        ("(cd x && ma", ("ma",), 9, ""),
        ("cat <in", ("cat", ">", "in"), 5, ""),
        ("make >log", ("make", ">", "log"), 6, ""),
        ("sudo apt ins", ("apt", "ins"), 9, ""),
        ("A=1 B='2 3' make te", ("make", "te"), 17, ""),
        ("if sudo A=1 ls x", ("ls", "x"), 15, ""),
        ("sudo", ("sudo",), 0, ""),
        ("A=1", ("A=1",), 0, ""),
    ],
)
def test_the_word_at_the_cursor_is_found(
    line: str, words: tuple[str, ...], start: int, quote: str
) -> None:
    found = find_word(line)
    assert (found.words, found.start, found.quote) == (words, start, quote)
    assert found.index == len(words) - 1


@pytest.mark.parametrize(
    ("line", "rest", "start"),
    [
        ("git push origin HEAD:ma", "ma", 21),
        ("ls --color=al", "al", 11),
        ("scp a=b:c d", "d", 10),
        ("echo a=b:'c d", "c d", 9),
        ("echo 'a:b'c", "a:bc", 5),
        ("echo a\\:b", "a:b", 5),
        ("echo a:", "", 7),
        ("echo a: b", "b", 8),
    ],
)
def test_what_follows_a_bare_colon_or_equals_sign_is_known(
    line: str, rest: str, start: int
) -> None:
    found = find_word(line)
    assert (found.rest, found.rest_start) == (rest, start)


@given(st.lists(st.tuples(NAMES, QUOTES), min_size=1, max_size=20))
@settings(max_examples=60)
def test_a_candidate_is_read_back_by_a_shell_as_the_same_name(names: list[tuple[str, str]]) -> None:
    arguments = " ".join(quote_candidate(name, quote) + quote for name, quote in names)
    script = f"printf '%s\\0' {arguments}\n".encode()
    done = subprocess.run(["/bin/sh"], input=script, stdout=subprocess.PIPE, check=True, timeout=30)
    assert done.stdout == b"".join(name.encode() + b"\0" for name, _ in names)


@given(NAMES.filter(lambda name: "`" not in name), QUOTES)
def test_a_candidate_is_one_word_when_it_is_completed_further(name: str, quote: str) -> None:
    found = find_word("cat " + quote_candidate(name, quote))
    assert found.words == ("cat", name)
    assert (found.start, found.quote) == (4, quote)


@pytest.mark.parametrize(("typed", "has_home"), [("~", True), ("\\~", False), ("'~", False)])
def test_a_name_that_is_a_tilde_is_told_from_the_home_directory(typed: str, has_home: bool) -> None:
    """`rm -rf ` and a Tab beside a directory called `~` made it the home directory."""
    found = find_word(f"rm -rf {typed}")
    assert (found.words[-1], found.has_home) == ("~", has_home)
    assert quote_candidate("~/x", "") == "\\~/x"
    assert quote_candidate("~/x", "", has_home=True) == "~/x"
