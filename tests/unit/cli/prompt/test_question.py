"""What a person is asked, and which of their keys are an answer."""

from __future__ import annotations

import re

from rshell.channels.shell.errands.client import ErrandItem, ErrandPlan
from rshell.cli.prompt.question import AnswerKeys, NameKeys, question, shown
from rshell.values import TerminalSize
from tests.support.rows import row

SIZE = TerminalSize(80, 24)
EVIL = "a\x1b[2J\r\n\u202e. Write it? y"


def plan(
    verb: str, *items: ErrandItem, count: int = 1, size: int = 2048, more: bool = False
) -> ErrandPlan:
    return ErrandPlan(verb, items, "/home/me/dl", count, size, more, {})


def file(path: str, name: str = "", *, replaces: bool = False) -> ErrandItem:
    return ErrandItem(path, name or path.rpartition("/")[2], False, replaces)


def directory(path: str, *, replaces: bool = False) -> ErrandItem:
    return ErrandItem(path, path.rpartition("/")[2], True, replaces)


def test_a_question_says_what_goes_where_and_what_it_replaces() -> None:
    many = [file(f"/x/{number}") for number in range(10_000)]
    for asked, text in (
        (
            plan("get", file("/x/report.pdf")),
            "box sends report.pdf (2.0 KiB) to /home/me/dl. Write it? [y/N] ",
        ),
        (
            plan("get", file("/x/a"), file("/x/b", replaces=True), count=2),
            "box sends 2 files (2.0 KiB) to /home/me/dl: b, a. It replaces b. Write them? [y/N] ",
        ),
        (
            plan("get", directory("/x/d", replaces=True), count=700, more=True),
            "box sends more than 700 files (2.0 KiB) to /home/me/dl: d/. It replaces d/. "
            "Write it? [y/N] ",
        ),
        (
            plan("get", *many, file("/x/.bashrc"), count=10_001),
            "box sends 10001 files (2.0 KiB) to /home/me/dl: .bashrc, 0, 1, 2, 3, 4, 5, 6, 7, 8, "
            "and 9991 more. Write them? [y/N] ",
        ),
        (
            plan("put", file("/home/me/notes.txt")),
            "box asks for /home/me/notes.txt (2.0 KiB). Send it? [y/N] ",
        ),
        (
            plan("put", file("/h/p/a"), file("/h/p/b", "link"), file("/h/q/c"), count=3),
            "box asks for 3 files (2.0 KiB): in /h/p/: a, b (as link); /h/q/c. Send them? [y/N] ",
        ),
        (
            plan("put", directory("/root"), count=2),
            "box asks for 2 files (2.0 KiB): /root/. Send it? [y/N] ",
        ),
    ):
        with row(text):
            assert question(asked, "box", SIZE, again=False) == text
    text = question(plan("put", file("/a")), "box", SIZE, again=True) or ""
    assert text.endswith("[y/N, or never in this session] ")


def test_names_do_not_act_and_can_not_be_taken_for_the_question() -> None:
    for asked in (plan("get", file(f"/x/{EVIL}", replaces=True)), plan("put", file(f"/x/{EVIL}"))):
        text = question(asked, f"box{EVIL}", SIZE, again=False) or ""
        assert text.isprintable() and text.isascii()
        assert re.search(r"['/]a\\x1b\[2J\\x0d\\x0a\\u202e\. Write it\? y'", text)
    for name, safe in (
        ("a.txt", "a.txt"), ("a b", "'a b'"), ("a, b", "'a, b'"), ("it's", "'it'\\''s'"),
        ("", "''"), ("\udcff", "'\\udcff'"), ("ä", "ä"),
    ):  # fmt: skip
        assert shown(name) == safe


def test_files_of_ours_that_do_not_fit_on_the_screen_are_not_asked_for() -> None:
    many = [file(f"/home/me/photos/{number:09}.jpg") for number in range(200)]
    assert question(plan("put", *many), "box", SIZE, again=False) is None
    assert question(plan("put", *many[:50]), "box", SIZE, again=False) is not None


def test_keys_are_an_answer_once_it_has_been_quiet() -> None:
    rows: tuple[tuple[list[tuple[bytes, float]], str, bytes], ...] = (
        ([(b"y", 1), (b"\r", 1.1)], "yes", b""),
        ([(b"yes\r", 1)], "yes", b""),
        ([(b"Y\r", 1)], "yes", b""),
        ([(b"\r", 1)], "no", b""),
        ([(b"\x04", 1)], "no", b""),
        ([(b"n\r", 1)], "no", b""),
        ([(b"yy\r", 1)], "no", b""),
        ([(b"never\r", 1)], "never", b""),
        ([(b"ny\x7f\x7fy\r", 1)], "yes", b""),
        ([(b"no\x15y\r", 1)], "yes", b""),
        ([(b"y\rls\r", 1)], "yes", b"ls\r"),
        # What was typed before, and what goes on after it, is the command's.
        ([(b"y\r", 0.1), (b"y\r", 0.4), (b"y\r", 0.8)], "", b"y\ry\ry\r"),
        ([(b"y\r", 0.1), (b"n\r", 1)], "no", b"y\r"),
        # So is what a terminal answers, or what is pasted.
        ([(b"\x1b[?62;c", 1), (b"\x1b[200~y\r\x1b[201~", 1.1), (b"\r", 2)], "no",
         b"\x1b[?62;c\x1b[200~y\r\x1b[201~"),
        ([(b"y\recho y\recho\r", 1)], "", b"y\recho y\recho\r"),
        # Ctrl-C is for both.
        ([(b"\x03", 0.1)], "interrupted", b"\x03"),
        ([(b"y", 1), (b"\x03", 1.1)], "interrupted", b"\x03"),
        ([(b"\xff\xfe\r", 1)], "no", b""),
    )  # fmt: skip
    for typed, wanted, kept in rows:
        with row(typed):
            keys = AnswerKeys(0.5, now=0.0)
            found = ""
            for piece, now in typed:
                assert not found
                found, echo = keys.feed(piece, now)
                assert echo.replace("\b", "").isprintable() and echo.isascii()
            assert (found, bytes(keys.kept)) == (wanted, kept)


def test_names_are_typed_as_for_a_shell() -> None:
    for typed, wanted, names in (
        (b"a.txt\r", "yes", ("a.txt",)),
        (b"'a b' ~/*.txt never\r", "yes", ("a b", "~/*.txt", "never")),
        ("it's \u00e4\r".encode(), "yes", ("it's", "\u00e4")),
        (b"  \r", "no", ()),
        (b"''\r", "no", ()),
        (b"\x03", "interrupted", ()),
    ):
        with row(typed):
            keys = NameKeys(0.5, now=0.0)
            assert (keys.feed(typed, 1.0)[0], keys.names) == (wanted, names)
