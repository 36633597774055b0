"""Types of terminals that a machine knows, and what it gets instead of others."""

from __future__ import annotations

from pathlib import Path

import pytest

from rshell.terminal import terminfo
from rshell.terminal.terminfo import usable_type


def describe(place: Path, *terms: str, first: str = "") -> None:
    for term in terms:
        entry = place / (first or term[0]) / term
        entry.parent.mkdir(parents=True, exist_ok=True)
        entry.touch()


def test_a_type_that_is_not_known_is_replaced_by_one_that_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = tmp_path / "system"
    monkeypatch.setattr(terminfo, "_DIRECTORIES", (str(system),))
    assert usable_type("new", {}) == "new"  # nothing is known at all
    describe(system, "xterm", "screen")
    for term, found in (
        ("screen", "screen"),
        ("new", "xterm"),
        ("../s/screen", "xterm"),
        ("a\0b", "xterm"),
        ("", ""),
        ("dumb", "dumb"),
        ("unknown", "unknown"),
    ):
        assert usable_type(term, {}) == found
    describe(system, "xterm-256color", first="78")
    assert usable_type("new", {}) == "xterm-256color"
    (system / "x" / "xterm").unlink()
    (system / "78" / "xterm-256color").unlink()
    assert usable_type("new", {}) == "new"  # there is nothing better


def test_a_user_may_bring_a_type_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminfo, "_DIRECTORIES", (str(tmp_path / "system"),))
    describe(tmp_path / "system", "xterm")
    describe(tmp_path / "own" / ".terminfo", "new")
    for environment in (
        {"HOME": str(tmp_path / "own")},
        {"TERMINFO": str(tmp_path / "own" / ".terminfo")},
        {"TERMINFO_DIRS": f"/none::{tmp_path / 'own' / '.terminfo'}"},
    ):
        assert usable_type("new", environment) == "new"
    assert usable_type("new", {"HOME": str(tmp_path)}) == "xterm"
