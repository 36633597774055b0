"""What each kind of field takes, at its edges."""

from __future__ import annotations

from typing import Any

import pytest

from rshell.errors import LocalProtocolError, RemoteProtocolError
from rshell.protocol import fields
from rshell.values import ExitStatus, TerminalSize

_GOOD: list[tuple[fields.Field, Any, Any]] = [
    (fields.integer(1, 9), 1, 1),
    (fields.integer(1, 9), 9, 9),
    (fields.text(3), "", ""),
    (fields.text(3), "\0\udc80x", "\0\udc80x"),  # bytes that are no UTF-8
    (fields.text(3, without="\0"), "abc", "abc"),
    (fields.ascii_text(3), "\x1b[m", "\x1b[m"),
    (fields.sentence(), "x" * 2000, "x" * 1000),
    (fields.shown_command(), "x" * 1024, "x" * 1024),
    (fields.name(), "A.b_c-7", "A.b_c-7"),
    (fields.choice("a", "b"), "b", "b"),
    (fields.boolean(), False, False),
    (fields.timeout(), 1, 1.0),
    (fields.timeout(), 0.001, 0.001),
    (fields.duration(), 0, 0.0),
    (fields.moment(), 5, 5.0),
    (fields.json_object(), {"x": [None]}, {"x": [None]}),
    (fields.texts(), ["a", ""], ("a", "")),
    (fields.text_map(), {"a": ""}, {"a": ""}),
    (fields.versions(), [1, 65535], (1, 65535)),
]

_BAD: list[tuple[fields.Field, tuple[object, ...]]] = [
    (fields.integer(1, 9), (0, 10, True, 1.0, "1", None)),
    (fields.text(3), ("abcd", b"a", 1, None, "\ud800", "\udd00")),
    (fields.texts(), (["a", "\ud800"],)),
    (fields.text_map(), ({"a": "\ud800"}, {"\ud800": "a"})),
    (fields.text(3, without="\0"), ("a\0b",)),
    (fields.ascii_text(3), ("é", "\ud800", "abcd")),
    (fields.sentence(), (1, None)),
    (fields.shown_command(), ("x" * 1025,)),
    (fields.name(), ("", "-x", "a/b", "a" * 65, "a\n", 5, None)),
    (fields.choice("a", "b"), ("c", "", None, 1, [], {})),
    (fields.boolean(), (0, 1, "true", None)),
    (fields.timeout(), (0, -1, 1e9, "5", True, [], 10**400, float("nan"))),
    (fields.duration(), (-1, 1e12, True, float("inf"))),
    (fields.moment(), (-1, 1e11, True, "5", float("inf"), float("nan"))),
    (fields.json_object(), ([], None, "x")),
    (fields.texts(), ("a", [1], [None], {}, None)),
    (fields.texts(2), (["a", "b", "c"],)),
    (fields.text_map(), ({"a": 1}, [], None)),
    (fields.versions(), ([1], [0, 1], [2, 1], [1, 2**16], [True, 1], [1, 1.0], "11", None)),
]


def test_a_field_takes_what_fits_and_nothing_else() -> None:
    for field, raw, value in _GOOD:
        field.key = "it"
        assert field.decode({"it": raw}, "x") == value, field.wanted
        assert type(field.decode({"it": raw}, "x")) is type(value)
    for field, wrong in _BAD:
        field.key = "it"
        for item in (*wrong, {}, ...) if "object" not in field.says else wrong:
            with pytest.raises(RemoteProtocolError, match=r"^x needs 'it': "):
                field.decode({} if item is ... else {"it": item}, "x")
                pytest.fail(f"{field.wanted} took {item!r}")


def test_long_texts_for_people_are_cut_by_their_sender() -> None:
    written: dict[str, Any] = {}
    for field, long in (
        (fields.sentence(key="a"), "x" * 1001),
        (fields.shown_command(key="b"), "y" * 1025),
    ):
        field.encode(long, written)
    assert written == {"a": "x" * 1000, "b": "y" * 1021 + "..."}


def test_text_that_no_bytes_can_be_made_of_is_not_written() -> None:
    """Whoever has to make bytes of it would fail, in the midst of what it does."""
    for field, value in (
        (fields.text(), "\ud800"),
        (fields.texts(), ("a", "\udd00")),
        (fields.text_map(), {"\udfff": "a"}),
        (fields.text_map(), {"a": "\udfff"}),
    ):
        with pytest.raises(LocalProtocolError, match="lone surrogate"):
            field.encode(value, {})
            pytest.fail(f"wrote {value!r}")


def test_a_status_is_a_code_or_a_signal_with_its_number() -> None:
    field = fields.status()
    signal = {"signal": "SIGTERM", "signal_number": 15}
    assert field.decode({"exit_status": 0}, "x") == ExitStatus(0)
    assert field.decode(signal, "x") == ExitStatus(None, "SIGTERM", 15)
    assert field.decode(signal | {"exit_status": 1}, "x").signal == "SIGTERM"
    for wrong in (
        {},
        {"exit_status": None},
        {"exit_status": 256},
        {"exit_status": -1},
        {"exit_status": 0.0},
        {"signal": "SIGTERM"},
        {"signal": 15, "signal_number": 15},
        signal | {"signal_number": 0},
        signal | {"signal_number": 128},
        signal | {"signal": "S" * 33},
    ):
        with pytest.raises((RemoteProtocolError, LocalProtocolError)):
            field.decode(wrong, "x")
            pytest.fail(f"took {wrong}")
    for status in (ExitStatus(255), ExitStatus(None, "SIGKILL", 9)):
        written: dict[str, Any] = {}
        field.encode(status, written)
        assert field.decode(written, "x") == status


def test_a_size_takes_two_keys() -> None:
    field = fields.size(default=None)
    written: dict[str, Any] = {}
    field.encode(None, written)
    assert written == {} and field.decode({}, "x") is None
    field.encode(TerminalSize(80, 24), written)
    assert written == {"columns": 80, "rows": 24}
    assert field.decode(written, "x") == TerminalSize(80, 24)
    with pytest.raises(RemoteProtocolError, match="rows"):
        field.decode({"columns": 80}, "x")
