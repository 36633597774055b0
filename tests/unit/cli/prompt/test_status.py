"""The prompt and its toolbar: safe text, the home directory as `~`, failures and durations."""

from __future__ import annotations

import pytest

from rshell.channels.shell.messages import ShellEnding
from rshell.cli.prompt.status import Status, format_seconds
from rshell.values import ExitStatus


def ended(status: ExitStatus, duration: float = 0.0) -> ShellEnding:
    return ShellEnding(1, status, "/", 0, 0, duration)


def text(fragments: list[tuple[str, str]]) -> str:
    return "".join(part for _, part in fragments)


@pytest.mark.parametrize(
    ("home", "cwd", "shown"),
    [
        ("/home/me", "/home/me", "~"),
        ("/home/me", "/home/me/x", "~/x"),
        ("/home/me", "/home/meow", "/home/meow"),
        ("/home/me", "/", "/"),
        ("/", "/etc", "/etc"),
        ("", "/etc", "/etc"),
    ],
)
def test_only_the_home_directory_itself_is_a_tilde(home: str, cwd: str, shown: str) -> None:
    status = Status(user="me", host="box", home=home, cwd=cwd)
    assert text(status.prompt()) == f"me@box:{shown} $ "


def test_root_is_told_by_its_sign() -> None:
    assert text(Status(user="root", host="box", cwd="/").prompt()) == "root@box:/ # "


@pytest.mark.parametrize(
    ("status", "style"),
    [
        (ExitStatus(code=0), "class:sign"),
        (ExitStatus(code=1), "class:failed"),
        (ExitStatus.from_returncode(-9), "class:failed"),
    ],
)
def test_the_sign_is_red_after_a_failure_only(status: ExitStatus, style: str) -> None:
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


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0.0 ms"),
        (0.5, "500.0 ms"),
        (1, "1.0 s"),
        (59.9, "59.9 s"),
        (60, "1 min 00 s"),
        (3599.9, "59 min 59 s"),
        (3600, "1 h 00 min"),
        (90061, "25 h 01 min"),
    ],
)
def test_durations_are_for_people(seconds: float, shown: str) -> None:
    assert format_seconds(seconds) == shown


def test_the_toolbar_names_the_shell() -> None:
    assert text(Status(where="a:1", named="work").toolbar()) == " a:1  shell work "


def toolbar(status: Status) -> str:
    return "".join(text for _, text in status.toolbar())


def test_the_toolbar_says_nothing_of_a_link_that_is_there() -> None:
    assert toolbar(Status(where="host:7000", round_trip=0.0015)) == (
        " host:7000  round trip 1.5 ms "
    )


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.0, "1.0 s"), (0.9, "1.0 s"), (7.9, "7.0 s"), (61.5, "1 min 01 s")]
)
def test_the_toolbar_counts_while_the_link_is_down(seconds: float, shown: str) -> None:
    status = Status(where="h", cut_for=seconds)
    assert f" link cut {shown} ago, trying to come back " in toolbar(status)
    assert ("class:failed", f" link cut {shown} ago, trying to come back ") in status.toolbar()


def test_the_toolbar_keeps_the_last_status_beside_a_cut() -> None:
    done = ShellEnding(1, ExitStatus(code=3), "/", 0, 0, 1.25)
    shown = toolbar(Status(where="h", last=done, cut_for=2.0))
    assert "link cut" in shown and " status 3 " in shown and " 1.2 s " in shown


def test_a_name_in_the_toolbar_can_not_act() -> None:
    assert "\x1b" not in toolbar(Status(where="h\x1b[2J", cut_for=1.0))
