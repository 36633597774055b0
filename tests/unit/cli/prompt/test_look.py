"""Whose prompt is shown, with which marks, title and way of editing."""

from __future__ import annotations

from rshell.channels.shell.messages import ShellPrompt
from rshell.cli.prompt.look import Look
from rshell.cli.prompt.status import Status
from rshell.terminal.marks import Marks
from rshell.values import TerminalSize

WIDE = TerminalSize(columns=80, rows=24)


def look(
    *, on: bool = False, is_own: bool = True, mode: str = "emacs", size: TerminalSize = WIDE
) -> Look:
    status = Status(user="me", host="box", home="/home/me", cwd="/home/me/x")
    marks = Marks(on=on, vscode=False, host="box")
    return Look(status, marks, lambda: size, is_own=is_own, mode=mode)


def text(fragments: list[tuple[str, str]]) -> str:
    return "".join(part for _, part in fragments)


def test_whose_prompt_is_shown() -> None:
    small = TerminalSize(columns=20, rows=3)
    ours = "me@box:~/x $ "
    for prompt, shown, right, how in (
        (None, ours, "", look()),
        (ShellPrompt("mine> ", "12:00"), "mine> ", "12:00", look()),
        (ShellPrompt(""), "", "", look()),
        (ShellPrompt("mine> ", "12:00"), ours, "", look(is_own=False)),
        (ShellPrompt("\x1b[2Amine> ", "12:00"), ours, "", look()),
        (ShellPrompt("mine> ", "\x1b[2A"), "mine> ", "", look()),
        (ShellPrompt("mine> ", "a\nb"), "mine> ", "", look()),
        (ShellPrompt("one\n> "), "one\n> ", "", look()),
        (ShellPrompt("one\n> "), ours, "", look(size=small)),
    ):
        how.show(prompt)
        assert (text(how.prompt()), text(how.right())) == (shown, right), prompt


def test_a_prompt_that_can_not_be_shown_is_followed_by_one_that_can() -> None:
    shown = look()
    for prompt, expected in (("\x1b[H", "me@box:~/x $ "), ("> ", "> "), ("\b", "me@box:~/x $ ")):
        shown.show(ShellPrompt(prompt))
        assert text(shown.prompt()) == expected


def test_the_marks_are_around_the_prompt_and_have_no_width() -> None:
    shown = look(on=True)
    for prompt in (None, ShellPrompt("> ")):
        shown.show(prompt)
        first, *_, last = shown.prompt()
        assert first == ("[ZeroWidthEscape]", "\x1b]133;A\x07")
        assert last == ("[ZeroWidthEscape]", "\x1b]133;B\x07")
    assert all("Zero" not in style for style, _ in look().prompt())


def test_how_lines_are_edited() -> None:
    for usual, said, modes in (
        ("emacs", ("", "vi", "emacs", ""), ("emacs", "vi", "emacs", "emacs")),
        ("vi", ("", "emacs", "vi", "emacs"), ("vi", "vi", "vi", "emacs")),
        ("vi", ("vi", ""), ("vi", "vi")),
    ):
        for is_own in (True, False):
            shown = look(mode=usual, is_own=is_own)
            assert shown.mode() == usual
            for mode, expected in zip(said, modes):
                shown.show(ShellPrompt("> ", mode=mode))
                assert shown.mode() == expected, (usual, said)


def test_the_title() -> None:
    shown = look()
    assert shown.title() == "me@box: ~/x"
    shown.show(ShellPrompt("\x1b]0;mine\x07> "))
    assert shown.title() == "mine"
    shown.show(ShellPrompt("> "))
    assert shown.title() == "me@box: ~/x"


def test_a_dumb_terminal_is_told_to_return_at_each_line() -> None:
    status = Status(user="me", host="box")
    marks = Marks(on=False, vscode=False, host="box")
    shown = Look(status, marks, lambda: WIDE, is_own=True, mode="emacs", is_dumb=True)
    shown.show(ShellPrompt("one\n\x1b[31m> "))
    assert text(shown.prompt()) == "one\r\n> "
