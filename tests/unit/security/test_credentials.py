"""The stored tokens, and which token and certificate a client believes in, in which order."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rshell.errors import AuthenticationFailed, ConfigurationError, UntrustedServer
from rshell.security.certificates import fingerprint
from rshell.security.credentials import (
    Credentials,
    Trust,
    check_fingerprint,
    find_trust,
    local_token,
    write_local_token,
)
from rshell.security.files import (
    private_directory,
    server_directory,
    state_directory,
    write_private,
)
from rshell.security.tokens import TokenLine, new_token
from rshell.values import Address

ADDRESS = Address("example.org", 7000)
DER = b"a certificate"
PIN = fingerprint(DER)
OTHER = fingerprint(b"another certificate")
HERE, THERE = Address("localhost", 7001), Address("web.lan", 7000)
FIRST, SECOND = "SHA256:" + "1" * 64, "SHA256:" + "2" * 64


def make_line(address: Address = ADDRESS) -> TokenLine:
    return TokenLine(address, "SHA256:" + "0a" * 32, "ann", new_token())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config" / "credentials"


def test_nothing_is_found_before_anything_was_added(path: Path) -> None:
    assert Credentials(path).find(ADDRESS) is None
    assert not path.parent.exists()


def test_added_line_is_found_by_its_address_only(path: Path) -> None:
    line = make_line()
    Credentials(path).add(line)
    assert Credentials(path).find(ADDRESS) == line
    assert Credentials(path).find(replace(ADDRESS, port=7001)) is None
    assert Credentials(path).find(replace(ADDRESS, host="example.com")) is None


def test_a_name_is_the_same_however_it_is_spelled(path: Path, tmp_path: Path) -> None:
    for host, other in (
        ("example.org", "Example.ORG"),
        ("example.org", "example.org."),
        ("2001:db8::1", "2001:DB8:0:0::1"),
        ("fe80::1%eth0", "FE80::1%eth0"),
    ):
        old, new = make_line(Address(host, 7000)), make_line(Address(other, 7000))
        Credentials(path).add(old)
        assert Credentials(path).find(new.address) == old, other
        Credentials(path).add(new)
        assert Credentials(path).find(old.address) == new, other
    write_local_token(server_directory(), make_line(Address("localhost")))
    assert find_trust(Address("LOCALHOST.")).identity == "ann"


def test_line_of_the_same_address_is_replaced_and_others_stay(path: Path) -> None:
    credentials, other = Credentials(path), make_line(Address("::1", 7000))
    old, new = make_line(), make_line()
    for line in (old, other, new):
        credentials.add(line)
    assert credentials.find(ADDRESS) == new
    assert credentials.find(other.address) == other
    assert old.token not in path.read_text()


def test_tokens_are_kept_for_us_alone(path: Path, tmp_path: Path) -> None:
    Credentials(path).add(make_line())
    write_local_token(tmp_path / "server", make_line())
    for file in (path, tmp_path / "server" / "local-token"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_file_open_to_others_is_refused(path: Path) -> None:
    Credentials(path).add(make_line())
    path.chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        Credentials(path).find(ADDRESS)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        Credentials(path).add(make_line())


@pytest.mark.parametrize("damage", [b"x", b"\xff", b" trailing words"])
def test_damaged_line_is_named_by_number_and_its_token_is_not_repeated(
    path: Path, damage: bytes
) -> None:
    line = make_line()
    Credentials(path).add(make_line(Address("first.example.org")))
    Credentials(path).add(line)
    path.write_bytes(path.read_bytes().rstrip() + damage + b"\n")
    damaged = path.read_bytes()
    with pytest.raises(ConfigurationError, match="line 2 is damaged") as caught:
        Credentials(path).find(ADDRESS)
    assert line.token not in str(caught.value)
    with pytest.raises(ConfigurationError, match="line 2 is damaged"):
        Credentials(path).add(line)
    assert path.read_bytes() == damaged


def test_blank_lines_do_no_harm(path: Path) -> None:
    line = make_line()
    Credentials(path).add(line)
    path.write_bytes(b"\n" + path.read_bytes() + b"\n  \n")
    assert Credentials(path).find(ADDRESS) == line


def test_local_token_is_found_in_the_directory_of_the_server(tmp_path: Path) -> None:
    line = make_line(Address())
    assert local_token(tmp_path / "server") is None
    write_local_token(tmp_path / "server", line)
    assert local_token(tmp_path / "server") == line


def test_local_token_that_somebody_else_may_read_or_linked_is_refused(tmp_path: Path) -> None:
    directory = tmp_path / "server"
    write_local_token(directory, make_line())
    (directory / "local-token").chmod(0o640)
    with pytest.raises(ConfigurationError):
        local_token(directory)
    (directory / "local-token").rename(directory / "other")
    (directory / "other").chmod(0o600)
    (directory / "local-token").symlink_to(directory / "other")
    with pytest.raises(ConfigurationError):
        local_token(directory)


def test_damaged_local_token_is_refused_without_repeating_it(tmp_path: Path) -> None:
    line = make_line()
    write_local_token(tmp_path / "server", line)
    (tmp_path / "server" / "local-token").write_text(f"{line}{line}")
    with pytest.raises(ConfigurationError, match="damaged") as caught:
        local_token(tmp_path / "server")
    assert line.token not in str(caught.value)


# Whose certificate it is.


def test_expected_certificate_passes() -> None:
    check_fingerprint(PIN, DER, ADDRESS)
    check_fingerprint(PIN.upper(), DER, ADDRESS)


def test_without_a_pin_any_certificate_passes_but_none_at_all_does_not() -> None:
    check_fingerprint(None, DER, ADDRESS)
    for nothing in (b"", None):
        for expected in (None, PIN):
            with pytest.raises(UntrustedServer, match="no certificate"):
                check_fingerprint(expected, nothing, ADDRESS)


def test_another_certificate_is_refused_with_both_fingerprints() -> None:
    with pytest.raises(UntrustedServer) as caught:
        check_fingerprint(OTHER, DER, ADDRESS)
    assert (caught.value.expected, caught.value.received) == (OTHER, PIN)
    assert all(text in str(caught.value) for text in (OTHER, PIN, str(ADDRESS), "--login"))


def test_a_borrowed_token_says_whose_it_is() -> None:
    """One of the user's own servers, on another port, was called somebody in between alone."""
    write_local_token(server_directory(), line("local", address=HERE))
    own, given = find_trust(Address("localhost", 1)), find_trust(THERE, token=str(line("me")))
    assert "your own rshell-server" in own.borrowed and "for web.lan:7000" not in own.borrowed
    for trust in (own, find_trust(HERE, token=str(line("me")))):
        with pytest.raises(UntrustedServer, match="says at its start what to type"):
            check_fingerprint(trust.fingerprint, DER, HERE, trust.borrowed)
    assert given.borrowed == find_trust(THERE, token=str(line("me")), trust_ca=True).borrowed == ""


def test_expected_that_is_no_whole_fingerprint_fails_closed() -> None:
    for expected in ("", "SHA256:", PIN[:-1], PIN + "0", PIN[7:15]):
        with pytest.raises(ConfigurationError):
            check_fingerprint(expected, DER, ADDRESS)


@given(st.binary(min_size=1))
def test_only_the_very_same_certificate_passes(der: bytes) -> None:
    check_fingerprint(fingerprint(der), der, ADDRESS)
    with pytest.raises(UntrustedServer):
        check_fingerprint(fingerprint(der), der + b"\0", ADDRESS)


def line(name: str, address: Address = THERE, fingerprint: str = FIRST) -> TokenLine:
    return TokenLine(address, fingerprint, name, new_token())


def store_everything() -> None:
    private_directory(server_directory())
    write_local_token(server_directory(), line("from-server"))
    credentials = Credentials(state_directory() / "credentials")
    credentials.add(line("stored"))
    credentials.add(line("stored-here", HERE))


def test_an_explicit_token_comes_first_then_the_environment_then_the_store(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store_everything()
    assert find_trust(THERE).identity == "stored"
    assert find_trust(HERE).identity == "stored-here"
    monkeypatch.setenv("RSHELL_TOKEN", str(line("from-environment")))
    assert find_trust(THERE).identity == "from-environment"
    assert find_trust(THERE, token=str(line("given"))).identity == "given"
    monkeypatch.setenv("RSHELL_TOKEN", "")
    assert find_trust(THERE).identity == "stored"


def test_the_servers_own_token_is_for_this_machine_alone() -> None:
    private_directory(server_directory())
    write_local_token(server_directory(), line("from-server"))
    for host in ("localhost", "127.0.0.1", "::1"):
        assert find_trust(Address(host, 1)).identity == "from-server"
    with pytest.raises(AuthenticationFailed, match="Start rshell-server there"):
        find_trust(THERE)


def test_without_any_token_the_error_says_how_to_get_one() -> None:
    with pytest.raises(AuthenticationFailed, match=r"rshell-token add NAME.*rshell --login"):
        find_trust(THERE)
    with pytest.raises(AuthenticationFailed, match="Start rshell-server here"):
        find_trust(HERE)


def test_the_lines_fingerprint_is_expected_unless_another_is_given() -> None:
    text = str(line("me"))
    assert find_trust(THERE, token=text).fingerprint == FIRST
    colons = ":".join(["22"] * 32).upper()
    assert find_trust(THERE, token=text, fingerprint=colons).fingerprint == SECOND


def test_an_authority_replaces_the_pin_but_not_a_fingerprint_that_was_asked_for() -> None:
    text = str(line("me"))
    assert find_trust(THERE, token=text, trust_ca=True).fingerprint is None
    both = find_trust(THERE, token=text, trust_ca=True, fingerprint=SECOND)
    assert both.fingerprint == SECOND


@pytest.mark.parametrize("wrong", ["", "SHA256:", "1" * 63, "MD5:" + "1" * 64])
def test_half_a_fingerprint_is_an_error_and_not_no_fingerprint(wrong: str) -> None:
    with pytest.raises(ConfigurationError, match="not a fingerprint"):
        find_trust(THERE, token=str(line("me")), fingerprint=wrong)


def test_a_damaged_token_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = new_token()
    monkeypatch.setenv("RSHELL_TOKEN", f"rshell1 web {secret}")
    with pytest.raises(ConfigurationError) as caught:
        find_trust(THERE)
    assert secret not in str(caught.value)


def test_credentials_that_others_may_read_are_refused() -> None:
    path = state_directory() / "credentials"
    write_private(path, f"{line('me')}\n".encode())
    path.chmod(0o640)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        find_trust(THERE)


def test_trust_never_shows_its_token() -> None:
    trust = Trust("me", "a-secret", FIRST)
    assert "a-secret" not in repr(trust)
