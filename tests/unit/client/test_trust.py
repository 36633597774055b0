"""Which token and which certificate a client believes in, and in which order."""

from __future__ import annotations

import pytest

from rshell.client.trust import Trust, find_trust
from rshell.errors import AuthenticationFailed, ConfigurationError
from rshell.security.credentials import Credentials, write_local_token
from rshell.security.files import (
    private_directory,
    server_directory,
    state_directory,
    write_private,
)
from rshell.security.tokens import TokenLine, new_token
from rshell.values import Address

HERE, THERE = Address("localhost", 7001), Address("web.lan", 7000)
FIRST, SECOND = "SHA256:" + "1" * 64, "SHA256:" + "2" * 64


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
