"""Whose prompt is shown, with which marks, title and way of editing.

And what our own prompt and the toolbar show.
"""

from __future__ import annotations

from rshell.channels.shell.messages import ShellEnding, ShellPrompt
from rshell.cli.prompt.look import Look, Status, fitted
from rshell.terminal.marks import Marks
from rshell.values import ExitStatus, TerminalSize

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


def ended(status: ExitStatus, duration: float = 0.0) -> ShellEnding:
    return ShellEnding(1, status, "/", 0, 0, duration)


def test_only_the_home_directory_itself_is_a_tilde() -> None:
    for home, cwd, shown in (
        ("/home/me", "/home/me", "~"),
        ("/home/me", "/home/me/x", "~/x"),
        ("/home/me", "/home/meow", "/home/meow"),
        ("/home/me", "/", "/"),
        ("/", "/etc", "/etc"),
        ("", "/etc", "/etc"),
    ):
        status = Status(user="me", host="box", home=home, cwd=cwd)
        assert text(status.prompt()) == f"me@box:{shown} $ "


def test_a_long_path_leaves_half_of_the_window_to_the_line() -> None:
    for path, room, shown in (
        ("/usr/share/doc", 14, "/usr/share/doc"),
        ("/usr/share/documents", 14, ".../documents"),
        ("~/one/two/three/four", 18, ".../two/three/four"),
        ("~/one/two/three/four", 17, ".../three/four"),
        ("/" + "x" * 30, 14, "..." + "x" * 11),
        ("/usr/share/documents", 2, "...documents"),
        ("", 2, ""),
    ):
        assert fitted(path, room) == shown, (path, room)
    status = Status(user="me", host="box", home="/h", cwd="/h" + "/directory" * 9)
    assert text(status.prompt(40)) == "me@box:.../directory $ "


def test_root_is_told_by_its_sign() -> None:
    assert text(Status(user="root", host="box", cwd="/").prompt()) == "root@box:/ # "


def test_the_sign_is_red_after_a_failure_only() -> None:
    for status, style in (
        (ExitStatus(code=0), "class:sign"),
        (ExitStatus(code=1), "class:failed"),
        (ExitStatus.from_returncode(-9), "class:failed"),
    ):
        assert (style, "$") in Status(last=ended(status)).prompt()
        assert ("class:sign", "$") in Status().prompt()


def test_text_from_the_other_side_does_not_act() -> None:
    evil = "\x1b]0;x\x07\n\u202e"
    status = Status(user=evil, host=evil, home="/h", cwd="/h/" + evil, where=evil)
    status.last = ended(ExitStatus(signal=evil, signal_number=9))
    for shown in (text(status.prompt()), text(status.toolbar())):
        assert shown.isprintable()
        assert "\\x1b]0;x" in shown


def test_the_toolbar_says_only_what_is_known() -> None:
    status = Status(where="a:1")
    assert text(status.toolbar()) == " a:1 "
    status.last = ended(ExitStatus.from_returncode(-15), 2.5)
    status.round_trip = 0.0123
    assert text(status.toolbar()) == " a:1  status SIGTERM  2.5 s  round trip 12.3 ms "
    assert ("class:failed", " status SIGTERM ") in status.toolbar()
    status.last = ended(ExitStatus(code=0))
    assert ("", " status 0 ") in status.toolbar()


def test_the_toolbar_names_the_shell() -> None:
    assert text(Status(where="a:1", named="work").toolbar()) == " a:1  shell work "


def test_the_toolbar_says_nothing_of_a_link_that_is_there() -> None:
    assert text(Status(where="host:7000", round_trip=0.0015).toolbar()) == (
        " host:7000  round trip 1.5 ms "
    )


def test_the_toolbar_counts_while_the_link_is_down() -> None:
    for seconds, shown in ((0.0, "1.0 s"), (0.9, "1.0 s"), (7.9, "7.0 s"), (61.5, "1 min 01 s")):
        status = Status(where="h", cut_for=seconds)
        assert f" link cut {shown} ago, trying to come back " in text(status.toolbar())
        assert ("class:failed", f" link cut {shown} ago, trying to come back ") in status.toolbar()


def test_the_toolbar_keeps_the_last_status_beside_a_cut() -> None:
    done = ShellEnding(1, ExitStatus(code=3), "/", 0, 0, 1.25)
    shown = text(Status(where="h", last=done, cut_for=2.0).toolbar())
    assert "link cut" in shown and " status 3 " in shown and " 1.2 s " in shown


def test_a_name_in_the_toolbar_can_not_act() -> None:
    assert "\x1b" not in text(Status(where="h\x1b[2J", cut_for=1.0).toolbar())
