"""Lines that bash's line editor has completed."""

from __future__ import annotations

from pathlib import Path

from rshell.channels.shell.messages import Completions
from rshell.channels.shell.native.completed_line import CUT, from_completed_line

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
