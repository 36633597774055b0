"""The terminal of a command: lines of our own, and which keys are escapes."""

from __future__ import annotations

import pytest

from rshell.cli.terminal import Escape, EscapeFilter, command_line, is_dumb, notice


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")


def test_a_line_ends_as_a_raw_terminal_needs_and_can_not_act() -> None:
    assert notice("a\nb\x1b[2J") == b"rshell: a\\x0ab\\x1b[2J\r\n"
    assert notice("seen", is_faint=True) == b"\x1b[2mrshell: seen\x1b[0m\r\n"
    assert command_line("ls\x07") == b"\x1b[2m$ ls\\x07\x1b[0m\r\n"


def test_a_dumb_terminal_gets_plain_text(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_dumb()
    for term in ("dumb", "", None):
        if term is None:
            monkeypatch.delenv("TERM")
        else:
            monkeypatch.setenv("TERM", term)
        assert is_dumb()
        assert command_line("ls") == b"$ ls\r\n"
        assert notice("seen", is_faint=True) == b"rshell: seen\r\n"


def test_a_tilde_at_line_start_is_held_until_the_next_key() -> None:
    keys = EscapeFilter()
    assert keys.feed(b"~") == (b"", None)
    assert keys.feed(b"x") == (b"~x", None)


def test_two_keys_in_one_read_or_in_two_are_the_same_escape() -> None:
    for key, escape in ((b".", Escape.LEAVE), (b"?", Escape.HELP)):
        assert EscapeFilter().feed(b"~" + key) == (b"", escape)
        keys = EscapeFilter()
        keys.feed(b"~")
        assert keys.feed(key) == (b"", escape)


def test_detaching_is_an_escape_only_where_something_goes_on() -> None:
    keys = EscapeFilter(detaches=True)
    assert keys.feed(b"~d") == (b"", Escape.DETACH)
    assert keys.feed(b"~.") == (b"", Escape.LEAVE)
    assert b"~d" in keys.help
    keys = EscapeFilter()
    assert keys.feed(b"~d") == (b"~d", None)
    assert b"~d" not in keys.help


def test_the_list_names_each_escape_on_a_line_of_a_raw_terminal() -> None:
    for detaches in (False, True):
        first, *lines, last = EscapeFilter(detaches=detaches).help.split(b"\r\n")
        assert first == last == b"" and lines[0].endswith(b"line:")
        assert [line[:4] for line in lines[1:] if line[3:4] != b"d"] == [b"  ~.", b"  ~?", b"  ~~"]


def test_a_double_tilde_sends_one_and_the_line_has_begun() -> None:
    keys = EscapeFilter()
    assert keys.feed(b"~~") == (b"~", None)
    assert keys.feed(b"~.") == (b"~.", None)


def test_a_paste_that_begins_like_an_escape_passes() -> None:
    assert EscapeFilter().feed(b"~.profile") == (b"~.profile", None)


def test_a_tilde_in_mid_line_is_no_escape_but_after_enter_it_is() -> None:
    keys = EscapeFilter()
    keys.feed(b"a")
    assert keys.feed(b"~.") == (b"~.", None)
    keys.feed(b"\r")
    assert keys.feed(b"~.") == (b"", Escape.LEAVE)


def test_a_held_tilde_is_released_once() -> None:
    keys = EscapeFilter()
    keys.feed(b"~")
    assert keys.release() == b"~"
    assert keys.release() == b""
