"""Lines of our own: whole, safe, and without escapes where there must be none."""

from __future__ import annotations

import pytest

from rshell.cli.notices import command_line, is_dumb, notice


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")


def test_a_line_ends_as_a_raw_terminal_needs_and_can_not_act() -> None:
    assert notice("a\nb\x1b[2J") == b"rshell: a\\x0ab\\x1b[2J\r\n"
    assert notice("seen", is_faint=True) == b"\x1b[2mrshell: seen\x1b[0m\r\n"
    assert command_line("ls\x07") == b"\x1b[2m$ ls\\x07\x1b[0m\r\n"


@pytest.mark.parametrize("term", ["dumb", "", None])
def test_a_dumb_terminal_gets_plain_text(term: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_dumb()
    if term is None:
        monkeypatch.delenv("TERM")
    else:
        monkeypatch.setenv("TERM", term)
    assert is_dumb()
    assert command_line("ls") == b"$ ls\r\n"
    assert notice("seen", is_faint=True) == b"rshell: seen\r\n"
