"""Tables line up and can't act; objects are printed where they are asked for."""

from __future__ import annotations

import json

import pytest

from rshell.cli.tables import aligned, command_cell, print_result


def test_columns_begin_below_each_other_and_the_last_is_not_padded() -> None:
    assert aligned([("A", "B", "C"), ("long", "x", "a longer one")]) == (
        "A     B  C\nlong  x  a longer one"
    )
    assert aligned([("A", "B")]) == "A  B"


def test_a_command_is_short_and_on_one_line() -> None:
    assert command_cell("a\nb\x1b[2J") == "a\\x0ab\\x1b[2J"
    assert command_cell("y" * 60) == "y" * 60
    assert command_cell("y" * 61) == "y" * 57 + "..."


def test_a_text_or_an_object(capfd: pytest.CaptureFixture[str]) -> None:
    print_result({"a": 1}, "text", False)
    print_result({"a": 1}, "", False)
    assert capfd.readouterr().out == "text\n"
    print_result({"a": 1}, "text", True)
    assert json.loads(capfd.readouterr().out) == {"a": 1}
