"""Addresses, endings, sizes and limits: what they refuse matters as much as what they hold."""

from __future__ import annotations

import dataclasses
import re
import signal
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rshell.errors import AddressError
from rshell.values import (
    Address,
    Bounds,
    ExitStatus,
    Limits,
    TerminalSize,
    frozen,
    is_name,
    shorten_command,
)
from tests.support.commands import ROOT

ADDRESSES = [
    ("web", "web", 7000),
    ("web.lan:22", "web.lan", 22),
    ("127.0.0.1:1", "127.0.0.1", 1),
    ("::1", "::1", 7000),
    ("[::1]", "::1", 7000),
    ("[::1]:65535", "::1", 65535),
    ("fe80::1%eth0", "fe80::1%eth0", 7000),
    ("my_host", "my_host", 7000),
    ("host.", "host.", 7000),
]
NO_ADDRESSES = [
    "",
    "-oProxyCommand=id",
    "-",
    "a b",
    "a\nb",
    "host\n",
    "host:",
    "host:0",
    "host:65536",
    "host:007000",
    "host:+1",
    "host:1\n",
    "host:\u0661",
    ":7000",
    "[::1",
    "[::1]7000",
    "[]:1",
    "[web]:1",
    "user@host",
    "../etc",
    "host/path",
    "unix:",
    "unix:relative",
    "unix:/nul\0",
    "h" * 300,
    "h" * 64,
    "a..b",
    ".a",
    "a.-b",
    "\u2028",
]


def test_addresses_as_people_write_them() -> None:
    for text, host, port in ADDRESSES:
        assert Address.parse(text) == Address(host, port), text


def test_what_is_no_address_is_refused_with_advice() -> None:
    for text in NO_ADDRESSES:
        try:
            taken = Address.parse(text)
        except AddressError as error:
            assert "Write" in str(error) and error.text == text, text
        else:
            pytest.fail(f"{text!r} was read as {taken}")


def test_unix_paths() -> None:
    address = Address.parse("unix:/run/a b:c")
    assert address.path == "/run/a b:c" and str(address) == "unix:/run/a b:c"


@given(st.text(max_size=40))
def test_every_address_reads_back_as_itself(text: str) -> None:
    try:
        address = Address.parse(text)
    except AddressError:
        return
    assert Address.parse(str(address)) == address
    assert not str(address).startswith("-")


@given(
    st.ip_addresses(v=6) | st.ip_addresses(v=4),
    st.integers(min_value=1, max_value=65535),
)
def test_every_ip_address_and_port_survives(host: object, port: int) -> None:
    assert Address.parse(str(Address(str(host), port))) == Address(str(host), port)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("LOCALHOST.", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("10.0.0.1", False),
        ("", False),
    ],
)
def test_loopback(host: str, expected: bool) -> None:
    assert Address(host).is_loopback is expected


def test_default_port_can_be_another() -> None:
    assert Address.parse("web", default_port=22).port == 22
    assert Address.parse("web:1", default_port=22).port == 1


def test_exit_status_is_a_code_or_a_signal_never_both_or_none() -> None:
    for wrong in ({}, {"code": 0, "signal": "SIGTERM"}):
        with pytest.raises(ValueError, match="exactly one"):
            ExitStatus(**wrong)  # type: ignore[arg-type]
    assert ExitStatus(code=0).shell_status == 0
    assert str(ExitStatus(code=3)) == "exited with status 3"


@pytest.mark.parametrize(
    ("returncode", "signal_name", "shell_status"),
    [(0, None, 0), (255, None, 255), (-signal.SIGTERM, "SIGTERM", 143), (-9, "SIGKILL", 137)],
)
def test_exit_status_from_a_returncode(
    returncode: int, signal_name: str | None, shell_status: int
) -> None:
    status = ExitStatus.from_returncode(returncode)
    assert (status.signal, status.shell_status) == (signal_name, shell_status)


def test_a_signal_without_a_name_still_has_a_number() -> None:
    number = next(n for n in range(1, 64) if n not in set(signal.Signals))
    status = ExitStatus.from_returncode(-number)
    assert status.signal == f"SIG{number}" and status.shell_status == 128 + number
    assert str(status) == f"was ended by SIG{number}"


@pytest.mark.parametrize("size", [(0, 24), (80, 0), (65536, 24), (80, -1)])
def test_a_terminal_without_cells_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="cells"):
        TerminalSize(*size)


def test_bounds_fit_together() -> None:
    bounds = Bounds()
    for field in dataclasses.fields(bounds):
        assert getattr(bounds, field.name) > 0, field.name
    assert bounds.read_block < bounds.frame
    assert bounds.window_smallest <= bounds.window <= bounds.window_largest <= bounds.session_memory
    assert bounds.replay <= bounds.replay_largest
    assert bounds.ping_idle * 2 < bounds.ping_dead
    assert bounds.frame_before_login < bounds.frame
    with pytest.raises(dataclasses.FrozenInstanceError):
        bounds.frame = 1  # type: ignore[misc]


def test_what_users_set_keeps_the_other_bounds_and_a_ping_before_the_end() -> None:
    assert Bounds.of(None) == Bounds.of(Limits()) == Bounds()
    bounds = Bounds.of(Limits(channels=3, ping_dead=9.0))
    assert (bounds.channels, bounds.ping_dead, bounds.ping_idle) == (3, 9.0, 3.0)
    assert dataclasses.replace(bounds, channels=1_024, ping_dead=45.0, ping_idle=15.0) == Bounds()
    narrow = Bounds(frame=20_000)
    assert Bounds.of(narrow) is narrow


UNITS = {"": 1, "s": 1, "MiB": 1024 * 1024, "days": 86400}


def test_the_page_of_limits_says_what_the_code_does() -> None:
    page = (ROOT / "docs" / "limits.md").read_text(encoding="utf-8")
    row = r"^\| `(\w+)` \| ([\d,]+) ?(\w*) \| (?:both|client|server) \| .+ \|$"
    rows = re.findall(row, page, re.MULTILINE)
    assert [name for name, _, _ in rows] == [field.name for field in dataclasses.fields(Limits)]
    for name, number, unit in rows:
        assert int(number.replace(",", "")) * UNITS[unit] == getattr(Limits(), name), name


def test_a_frozen_value_is_equal_by_its_fields_has_no_others_and_never_changes() -> None:
    @frozen
    class Point:
        x: int
        y: int = dataclasses.field(default=0, repr=False)

    point = Point(1)
    assert point == Point(1, 0) and hash(point) == hash(Point(1)) and "y=" not in repr(point)
    assert dataclasses.replace(point, y=2) == Point(1, 2)
    with pytest.raises(dataclasses.FrozenInstanceError):
        point.x = 2  # type: ignore[misc]
    with pytest.raises(TypeError):
        dataclasses.replace(point, z=2)  # type: ignore[call-arg]
    assert not hasattr(point, "__dict__") or sys.version_info < (3, 10)


def test_names_of_jobs_and_sessions() -> None:
    for name in ("a", "7", "A.b_c-d", "a..b", "x" * 64):
        assert is_name(name), name


def test_what_is_no_name() -> None:
    for name in ("", ".", "..", "../x", "a/b", "-x", ".x", "a b", "a\n", "é", "a\0"):
        assert not is_name(name), name


def test_of_a_long_command_the_beginning_is_shown() -> None:
    assert shorten_command("x" * 1024) == "x" * 1024
    assert shorten_command("x" * 1025) == "x" * 1021 + "..."
