"""Addresses, endings, sizes and limits: what they refuse matters as much as what they hold."""

from __future__ import annotations

import dataclasses
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rshell.errors import AddressError
from rshell.values import Address, ExitStatus, Limits, TerminalSize, is_name, shorten_command


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("web", "web", 7000),
        ("web.lan:22", "web.lan", 22),
        ("127.0.0.1:1", "127.0.0.1", 1),
        ("::1", "::1", 7000),
        ("[::1]", "::1", 7000),
        ("[::1]:65535", "::1", 65535),
        ("fe80::1%eth0", "fe80::1%eth0", 7000),
        ("my_host", "my_host", 7000),
        ("host.", "host.", 7000),
    ],
)
def test_addresses_as_people_write_them(text: str, host: str, port: int) -> None:
    assert Address.parse(text) == Address(host, port)


@pytest.mark.parametrize(
    "text",
    [
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
    ],
)
def test_what_is_no_address_is_refused_with_advice(text: str) -> None:
    with pytest.raises(AddressError, match="Write") as caught:
        Address.parse(text)
    assert caught.value.text == text


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
    [("localhost", True), ("127.9.9.9", True), ("::1", True), ("10.0.0.1", False), ("", False)],
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


def test_limits_fit_together() -> None:
    limits = Limits()
    for field in dataclasses.fields(limits):
        assert getattr(limits, field.name) > 0, field.name
    assert limits.read_block < limits.frame
    assert limits.window_smallest <= limits.window <= limits.window_largest <= limits.session_memory
    assert limits.replay <= limits.replay_largest
    assert limits.ping_idle * 2 < limits.ping_dead
    assert limits.frame_before_login < limits.frame
    with pytest.raises(dataclasses.FrozenInstanceError):
        limits.frame = 1  # type: ignore[misc]


@pytest.mark.parametrize("name", ["a", "7", "A.b_c-d", "a..b", "x" * 64])
def test_names_of_jobs_and_sessions(name: str) -> None:
    assert is_name(name)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "-x", ".x", "a b", "a\n", "é", "a\0"]
)
def test_what_is_no_name(name: str) -> None:
    assert not is_name(name)


def test_of_a_long_command_the_beginning_is_shown() -> None:
    assert shorten_command("x" * 1024) == "x" * 1024
    assert shorten_command("x" * 1025) == "x" * 1021 + "..."
