"""Escapes: what is held, what passes."""

from __future__ import annotations

import pytest

from rshell.cli.prompt.escapes import Escape, EscapeFilter


def test_a_tilde_at_line_start_is_held_until_the_next_key() -> None:
    keys = EscapeFilter()
    assert keys.feed(b"~") == (b"", None)
    assert keys.feed(b"x") == (b"~x", None)


@pytest.mark.parametrize(("key", "escape"), [(b".", Escape.LEAVE), (b"?", Escape.HELP)])
def test_two_keys_in_one_read_or_in_two_are_the_same_escape(key: bytes, escape: Escape) -> None:
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


@pytest.mark.parametrize("detaches", [False, True])
def test_the_list_names_each_escape_on_a_line_of_a_raw_terminal(detaches: bool) -> None:
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
