"""The word at the cursor, candidates for it, looks into directories, and what bash completed."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest

from rshell.channels.shell.completion import (
    _LOOKS,
    CANDIDATES,
    CUT,
    LookUps,
    find_word,
    from_completed_line,
    from_files,
    from_path,
    from_shell,
    quote_candidate,
)
from rshell.channels.shell.messages import Completions
from tests.support.session import DEADLINE


def test_the_word_at_the_cursor_is_found() -> None:
    for line, words, start, quote in (
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
    ):
        found = find_word(line)
        assert (found.words, found.start, found.quote) == (words, start, quote), line
        assert found.index == len(words) - 1, line


def test_what_follows_a_bare_colon_or_equals_sign_is_known() -> None:
    for line, rest, start in (
        ("git push origin HEAD:ma", "ma", 21),
        ("ls --color=al", "al", 11),
        ("scp a=b:c d", "d", 10),
        ("echo a=b:'c d", "c d", 9),
        ("echo 'a:b'c", "a:bc", 5),
        ("echo a\\:b", "a:b", 5),
        ("echo a:", "", 7),
        ("echo a: b", "b", 8),
    ):
        found = find_word(line)
        assert (found.rest, found.rest_start) == (rest, start), line


def test_a_name_that_is_a_tilde_is_told_from_the_home_directory() -> None:
    """`rm -rf ` and a Tab beside a directory called `~` made it the home directory."""
    for typed, has_home in (("~", True), ("\\~", False), ("'~", False)):
        found = find_word(f"rm -rf {typed}")
        assert (found.words[-1], found.has_home) == ("~", has_home), typed
    assert quote_candidate("~/x", "") == "\\~/x"
    assert quote_candidate("~/x", "", has_home=True) == "~/x"


def files(line: str, cwd: Path, *, home: str = "/") -> Completions:
    return from_files(7, find_word(line), str(cwd), home)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    directory = tmp_path / "place"
    directory.mkdir()
    return directory


@pytest.mark.parametrize(
    ("typed", "start", "written"),
    [
        ("cat a", 4, ("a\\ b ", "a\\$x ", "a\\'s ")),
        ("cat 'a", 4, ("'a b' ", "'a$x' ", "'a'\\''s' ")),
        ('cat "a', 4, ('"a b" ', '"a\\$x" ', '"a\'s" ')),
        ("cat a\\ ", 4, ("a\\ b ",)),
        ("cat >a\\'", 5, ("a\\'s ",)),
        ("cat none", 4, ()),
    ],
)
def test_odd_names_are_written_as_the_open_quote_needs(
    typed: str, start: int, written: tuple[str, ...], place: Path
) -> None:
    for name in ("a b", "a$x", "a's", "other"):
        (place / name).touch()
    found = files(typed, place)
    assert (found.number, found.start, found.texts) == (7, start, written)


def test_a_directory_stays_open_for_more_and_its_quote_too(place: Path) -> None:
    (place / "my things" / "in it").mkdir(parents=True)
    (place / "my things" / "in file").touch()
    assert files("cd m", place).texts == ("my\\ things/",)
    assert files("cd 'm", place).texts == ("'my things/",)
    found = files("cd 'my things/in", place)
    assert found.texts == ("'my things/in file' ", "'my things/in it/")
    assert found.labels == ("in file", "in it/")


def test_hidden_names_are_shown_only_to_who_asks(place: Path) -> None:
    for name in (".hidden", "seen"):
        (place / name).touch()
    assert files("cat ", place).labels == ("seen",)
    assert files("cat .", place).labels == (".hidden",)


def test_a_home_is_looked_into_and_stays_a_tilde(place: Path, tmp_path: Path) -> None:
    (place / "at home").touch()
    assert files("cat ~/at", tmp_path, home=str(place)).texts == ("~/at\\ home ",)
    # Nobody has this name: a directory that is called so.
    odd = tmp_path / "~no such user"
    odd.mkdir()
    (odd / "found").touch()
    assert files("cat ~no\\ such\\ user/", tmp_path).labels == ("found",)


def test_a_crowd_is_cut_and_what_cannot_be_read_is_empty(place: Path) -> None:
    for number in range(CANDIDATES + 20):
        (place / f"n{number:04}").touch()
    found = files("cat n", place)
    assert found.labels == tuple(f"n{number:04}" for number in range(CANDIDATES))
    assert len(found.texts) == CANDIDATES
    assert files("cat nowhere/x", place) == Completions(7, 4, (), ())
    assert files("cat n0000/x", place) == Completions(7, 4, (), ())
    fields = ["3", *["text", "label", "what it is"] * (CANDIDATES + 1)]
    shell = from_shell(7, fields)
    assert len(shell.texts) == len(shell.labels) == len(shell.descriptions) == CANDIDATES
    assert from_shell(7, [*fields, "odd"]) == Completions(7, 0, (), ())


def test_only_what_can_be_executed_is_a_program(place: Path) -> None:
    for name, mode in (("run me", 0o755), ("read me", 0o644)):
        (place / name).touch()
        (place / name).chmod(mode)
    search = os.pathsep.join(["/no/such/directory", str(place), str(place)])
    assert from_path(7, find_word("ru"), search).texts == ("run\\ me ",)


def test_what_stands_before_a_colon_or_equals_sign_is_kept(place: Path) -> None:
    (place / "file").touch()
    (place / "is=odd").touch()
    line = "dd if=fi"
    assert (line[: files(line, place).start], files(line, place).texts) == ("dd if=", ("file ",))
    assert files("dd is=", place).texts == ("is=odd ",)


def test_a_link_that_can_not_be_followed_hides_nothing(place: Path) -> None:
    (place / "loop").symlink_to("loop")
    (place / "directory").mkdir()
    assert files("ls ", place).texts == ("directory/", "loop ")


def refuse() -> str:
    raise PermissionError("not yours")


async def test_what_is_found_or_raised_comes_back() -> None:
    looks = LookUps()
    for _ in range(_LOOKS + 1):
        assert await looks.run(lambda: "found", "nothing") == "found"
        with pytest.raises(PermissionError):
            await looks.run(refuse, "nothing")


async def test_looks_that_hang_are_few_and_keep_neither_loop_nor_process() -> None:
    looks = LookUps()
    go = threading.Event()

    def hang() -> str:
        go.wait(DEADLINE)
        return "late"

    hanging = [asyncio.create_task(looks.run(hang, "nothing")) for _ in range(_LOOKS)]
    await asyncio.sleep(0)
    assert await looks.run(lambda: "found", "nothing") == "nothing"
    threads = [thread for thread in threading.enumerate() if "looking" in thread.name]
    assert len(threads) == _LOOKS and all(thread.daemon for thread in threads)
    hanging[0].cancel()
    await asyncio.gather(hanging[0], return_exceptions=True)
    go.set()
    assert await asyncio.gather(*hanging[1:]) == ["late"] * (_LOOKS - 1)
    assert await looks.run(lambda: "found", "nothing") == "found"


BREAKS = " \t\n\"'@><=;|&(:"


def completed(
    text: str,
    written: str,
    registered: str = "complete -F f cmd\n",
    *,
    noted: str = "",
    breaks: str = BREAKS,
    cwd: Path = Path("/no/such/place"),
) -> Completions:
    """What `written` in the place of the last word of `text` says."""
    start = len(text)
    while start and text[start - 1] not in breaks.replace('"', "").replace("'", ""):
        start -= 1
    fields = (text, text[:start] + written, breaks, noted, registered)
    return from_completed_line(7, fields, str(cwd))


def test_what_bash_has_put_into_the_line_is_taken_apart(tmp_path: Path) -> None:
    (tmp_path / "my dir").mkdir()
    (tmp_path / "my file").touch()
    nospace = "complete -o bashdefault -o nospace -F f git\n"
    files = "my\\ dir my\\ file "
    for text, written, registered, noted, texts, labels in (
        ("cmd b", "beta bison ", "complete -F f cmd", "", "beta |bison ", "beta|bison"),
        (
            "git c",
            "checkout  commit  --x= ",
            nospace,
            "",
            "checkout |commit |--x=",
            "checkout|commit|--x=",
        ),
        ("cmd a", "a one a two ", "complete -W f cmd", "", "a one |a two ", "a one|a two"),
        ("cmd x", "x=1 ", "complete -F f cmd", "- -o nospace", "x=1", "x=1"),
        ("cmd x", "x=1 ", nospace, "- +o nospace", "x=1 ", "x=1"),
        ("ls m", files, "", "", "my\\ dir/|my\\ file ", "my dir/|my file"),
        ("cd m", files, "complete -d cd", "", "my\\ dir/|my\\ file ", "my dir/|my file"),
        (
            "cd m",
            files,
            "complete -F f cd",
            "- -o filenames",
            "my\\ dir/|my\\ file ",
            "my dir/|my file",
        ),
        ("ls 'm", "'my dir' 'my file' ", "", "", "'my dir/|'my file' ", "my dir/|my file"),
        ("cmd 'b", "beta ", "complete -F f cmd", "", "'beta' ", "beta"),
        ("ls ./m", "./my\\ dir ", "", "", "./my\\ dir/", "my dir/"),
        ("ec", "echo ", "complete -F f -D", "", "echo ", "echo"),
        ("echo $HO", "$HOME ", "", "", "$HOME", "$HOME"),
        ("ls ~ro", "~root ", "", "", "~root/", "~root/"),
        ("ls zz", "zz", "", "", "", ""),
    ):
        found = completed(text, written, registered, noted=noted, cwd=tmp_path)
        assert "|".join(found.texts) == texts, text
        if not text.endswith("~ro"):
            assert "|".join(found.labels) == labels, text


def test_a_line_that_was_cut_loses_what_may_be_half_a_name() -> None:
    found = completed("cmd ", ("name " * CUT)[: CUT - 4])
    assert set(found.texts) == {"name "}
    assert from_completed_line(7, ("cmd x", "other", BREAKS, "", ""), "/").texts == ()


def test_what_stands_before_a_colon_is_kept() -> None:
    """`git push origin HEAD:ma` became a push of another branch."""
    found = completed("git push origin HEAD:ma", "main master ")
    assert (found.start, found.texts) == (21, ("main ", "master "))
    found = completed("scp host:pa", "host:path ", breaks=" ")
    assert (found.start, found.texts) == (4, ("host:path ",))
