"""The word at the cursor, candidates as a real shell reads them, and texts that end too early."""

from __future__ import annotations

import os
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rshell.channels.shell.words import (
    find_word,
    may_be_incomplete,
    quote_candidate,
    says_incomplete,
    wants_more_text,
)

# A `~` at the start stays bare on purpose; a newline is written as only some shells read it.
NAMES = st.text(
    st.characters(exclude_characters="\0\n", exclude_categories=["Cs"]), min_size=1, max_size=30
).filter(lambda name: not name.startswith("~"))
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


@pytest.mark.parametrize(
    ("text", "wants"),
    [
        ("echo a\\", True),
        ("echo a\\\\", False),
        ("echo a\\\nb", False),
        ("cat <<EOF", True),
        ("cat <<EOF\nEOF2", True),
        ("cat <<EOF\ntext\nEOF", False),
        ("cat <<-EOF\n\tEOF", False),
        ("cat <<'EOF'\n$x", True),
        ('cat <<"EOF"\n$x\nEOF', False),
        ("cat <<A <<B\nA", True),
        ("cat <<A <<B\nA\nB", False),
        ("cat <<<word", False),
        ("echo '<<EOF'", False),
        ("echo $((1 <<x))", False),
        ("true # <<EOF", False),
        ("for x", True),
        ("for x in a b", True),
        ("echo for x", False),
        ("for x in a; do echo; done", False),
    ],
)
def test_a_text_that_goes_on_is_told_from_one_that_only_looks_so(text: str, wants: bool) -> None:
    assert wants_more_text(text) is wants
    if wants:
        assert may_be_incomplete(text)


@pytest.mark.parametrize(
    "text", ["ls -l", "cd /tmp; pwd", "iffy format dodo", "a=1 b", "", "a # b"]
)
def test_a_plain_command_is_not_worth_a_question(text: str) -> None:
    assert not may_be_incomplete(text)


@pytest.mark.parametrize(
    "text",
    ["echo 'a", 'echo "a', "echo `a", "if true", "while true; do", "(echo", "{ echo", "case x in"],
)
def test_the_complaint_of_every_shell_about_an_early_end_is_known(text: str, program: str) -> None:
    assert may_be_incomplete(text)
    assert says_incomplete(complaint(program, text))


@pytest.mark.parametrize("text", ["echo )", "if true; fi", "fi", "echo | | cat", "echo 'whole'"])
def test_the_complaint_about_another_error_asks_for_no_more(text: str, program: str) -> None:
    assert not says_incomplete(complaint(program, text))


def complaint(shell: str, text: str) -> str:
    done = subprocess.run(
        [shell, "-n"],
        input=f"{text}\n",
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "LC_ALL": "C"},
        timeout=30,
        check=False,
    )
    return done.stderr
