"""The text that drives a shell: quoting through real shells, and reports cut anywhere."""

from __future__ import annotations

import os
import random
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rshell.channels.shell.recipe import (
    Report,
    ReportReader,
    ShellRecipe,
    is_exit,
    quote,
    shows_lines,
)

WORDS = st.binary(max_size=60).map(lambda raw: os.fsdecode(raw.replace(b"\0", b"")))


def sh(script: str, *, shell: str = "/bin/sh") -> bytes:
    done = subprocess.run(
        [shell], input=os.fsencode(script), stdout=subprocess.PIPE, check=True, timeout=30
    )
    return done.stdout


@given(st.lists(WORDS, min_size=1, max_size=20))
@settings(max_examples=60)
def test_a_quoted_word_is_one_word_of_the_same_bytes(words: list[str]) -> None:
    arguments = " ".join(quote(word) for word in words)
    expected = b"".join(os.fsencode(word) + b"\0" for word in words)
    assert sh(f"printf '%s\\0' {arguments}\n") == expected


@given(WORDS)
@settings(max_examples=40)
def test_a_word_quoted_twice_survives_eval(word: str) -> None:
    command = f"printf %s {quote(word)}"
    assert sh(f"eval {quote(command)}\n") == os.fsencode(word)


@pytest.mark.parametrize(
    ("path", "flag"),
    [
        ("/bin/bash", "--noprofile"),
        ("/opt/odd/bash", "--noprofile"),
        ("/usr/bin/zsh", "-f"),
        ("/bin/sh", "-i"),
        ("/bin/dash", "-i"),
        ("/usr/bin/fancy-new-shell", "-i"),
        ("/home/bash/sh", "-i"),
    ],
)
def test_the_recipe_is_chosen_by_the_programs_name_alone(path: str, flag: str) -> None:
    recipe = ShellRecipe.choose(path, terminal=False)
    assert recipe.argv[0] == path
    assert recipe.argv[1] == flag
    assert "-i" in recipe.argv


def test_a_shell_reads_nobodys_own_files() -> None:
    assert "--norc" in ShellRecipe.choose("/bin/bash", terminal=False).argv
    assert "-f" in ShellRecipe.choose("/bin/zsh", terminal=False).argv


def test_a_command_of_many_lines_stays_between_its_quotes() -> None:
    recipe = ShellRecipe.choose("/bin/sh", terminal=False)
    text = recipe.run(7, "echo 'a\nb'\nexit 5\n", 0)
    # What is outside of quotes must not hold the command, whatever it is.
    outside = b"".join(text.replace(b"'\\''", b"").split(b"'")[::2])
    assert b"exit" not in outside
    assert b"echo" not in outside
    assert text.endswith(recipe.report(7))


def test_what_the_command_before_left_is_put_back() -> None:
    for name, words in (
        ("sh", b""),
        ("bash", b"PIPESTATUS[0]=1,PIPESTATUS[1]=42:0"),
        ("zsh", b"pipestatus=(1 42) "),
    ):
        recipe = ShellRecipe.choose(name, terminal=False)
        assert b'__rshell_return 42 "${__rshell_last-}" ||' in recipe.run(1, "x", 42)
        assert b'__rshell_return 0 "${__rshell_last-}" &&' in recipe.run(1, "x", 0)
        assert recipe.run(1, "x", 0).startswith(b"__rshell_return()")
        assert words in recipe.run(1, "x", 42, (1, 42))


def test_a_line_of_ours_never_becomes_a_part_of_the_text() -> None:
    recipe = ShellRecipe.choose("bash", terminal=False)
    for text in ("x", "x &", "x; ", "f() { :; }", "echo $#", "echo ${x}", "if x; then y; fi\n"):
        assert recipe.keep.encode() in recipe.run(1, text, 0), text
        assert recipe.keep.encode() not in recipe.run(1, text, 0, keeps=False), text
    for text in ("cat <<E", "x |", "x &&\n\n", "x \\", "f()", "function f", "x # y", "echo ${x"):
        assert recipe.keep.encode() not in recipe.run(1, text, 0), text
    for text in ("set -v", "set -ev", "set -o verbose", "shopt -o verbose", "trap x DEBUG"):
        assert shows_lines(text), text
    for text in ("set -e", "ls --verbose", "echo verbose", "LOG=DEBUG x"):
        assert not shows_lines(text), text


def test_a_bash_that_would_edit_its_lines_is_found_by_what_its_text_says_itself() -> None:
    recipe = ShellRecipe.choose("bash", terminal=False)
    for text in (
        "set -o vi",
        "x; set -o emacs",
        "if x; then set -e -o vi; fi",
        "f() { set -o vi; }",
        "x\n  builtin set -o vi",
        "\\set -eo vi",
    ):
        assert b"edits no lines" in recipe.run(1, text, 0), text
    for text in (
        "set +o vi",
        "echo set -o vi",
        "echo 'a\nset -o vi'",
        'echo "a\nset -o vi"',
        "cat <<E\nset -o vi\nE",
        "set -o vivid",
        "set -o errexit",
    ):
        assert b"edits no lines" not in recipe.run(1, text, 0), text


def test_a_text_of_any_shape_is_judged_in_no_time() -> None:
    """Each is as long as a message may be; a pattern that looks twice would take minutes."""
    recipe = ShellRecipe.choose("bash", terminal=False)
    for piece in ("\n", " ", "${x", "# ", "set -o ", "(", "function ", "|", "set\n", "trap "):
        assert recipe.run(1, piece * (200_000 // len(piece)), 0)
        shows_lines(piece * (200_000 // len(piece)))


REPORTS = [
    (b"0 1 hB /\0", Report(1, 0, "hB", "/")),
    (b"255 12345  /no/flags\0", Report(12345, 255, "", "/no/flags")),
    (b"1 2 i /a b\nc \xff\0", Report(2, 1, "i", "/a b\nc \udcff")),
    (b"0 3 i \0", Report(3, 0, "i", "")),
    (b"1,0,3,3 4 i /a\0", Report(4, 3, "i", "/a", (1, 0, 3))),
    (b"noise 0,0 5 i /a\0", Report(5, 0, "i", "/a", (0,))),
]


@pytest.mark.parametrize(("raw", "report"), REPORTS)
def test_a_report_is_read(raw: bytes, report: Report) -> None:
    assert ReportReader().feed(raw) == [report]


@given(st.lists(st.integers(1, 30)))
def test_reports_may_be_cut_anywhere(sizes: list[int]) -> None:
    whole = b"".join(raw for raw, _ in REPORTS)
    reader = ReportReader()
    found: list[Report] = []
    at = 0
    for size in [*sizes, len(whole)]:
        found += reader.feed(whole[at : at + size])
        at += size
    assert found == [report for _, report in REPORTS]


@pytest.mark.parametrize(
    "noise", [b"\0", b"hello\0", b"x 1 i /\0", b"0 x i /\0", b"\0\0\0", b"-1 -1 i /\0", b"\xff\0"]
)
def test_what_is_no_report_is_skipped(noise: bytes) -> None:
    assert ReportReader().feed(noise + b"3 9 i /\0") == [Report(9, 3, "i", "/")]


def test_endless_noise_takes_no_memory() -> None:
    reader = ReportReader()
    noise = random.Random(1).randbytes(1 << 16).replace(b"\0", b"x")
    for _ in range(64):
        assert reader.feed(noise) == []
    assert len(reader._rest) <= 1 << 20
    assert reader.feed(b"\0" + b"0 1 i /\0")[-1] == Report(1, 0, "i", "/")


@pytest.mark.parametrize(
    ("text", "leaves"),
    [("exit", True), (" \\logout 3\n", True), ("exit 1; ls", False), ("exitfoo", False)],
)
def test_what_only_asks_the_shell_to_leave_is_known(text: str, leaves: bool) -> None:
    assert is_exit(text) is leaves
