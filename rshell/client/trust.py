"""What the client knows of a server before it dials: whom to expect, and who to be.

Strategy: an explicit token comes first, then $RSHELL_TOKEN, then what `rshell --login` stored
for that address; on this machine the token that the server left for its own user. A token line
names the server's fingerprint too, so the server is known before a byte is written, the first
time as well; and the login itself can't be relayed.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from rshell.errors import AuthenticationFailed
from rshell.security.certificates import parse_fingerprint
from rshell.security.credentials import Credentials, local_token
from rshell.security.files import server_directory, state_directory
from rshell.security.tokens import TokenLine
from rshell.values import Address


@dataclass(frozen=True, slots=True)
class Trust:
    """Who we are to a server (`identity`, `token`), and its expected `fingerprint`.

    `fingerprint` is None where an authority vouches for the certificate instead.
    """

    identity: str
    token: str = field(repr=False)
    fingerprint: str | None = None


def find_trust(
    address: Address,
    *,
    token: str | None = None,
    fingerprint: str | None = None,
    trust_ca: bool = False,
) -> Trust:
    """Return what to log in with at `address`.

    `token` is a token line. Raises AuthenticationFailed when there is none anywhere, and
    ConfigurationError for a file or line that can't be used.
    """
    expected = None if fingerprint is None else parse_fingerprint(fingerprint)
    line = _find_line(address, token)
    if expected is not None or trust_ca:
        return Trust(line.identity, line.token, expected)
    return Trust(line.identity, line.token, line.fingerprint)


def _find_line(address: Address, token: str | None) -> TokenLine:
    text = token or os.environ.get("RSHELL_TOKEN")
    if text:
        return TokenLine.parse(text)
    stored = Credentials(state_directory() / "credentials").find(address)
    if stored is None and address.is_loopback:
        stored = local_token(server_directory())
    if stored is None:
        where = "here" if address.is_loopback else "there"
        raise AuthenticationFailed(
            f"no token for {address}. Start rshell-server {where}, or run 'rshell-token add NAME' "
            "on that machine and paste the line it prints into 'rshell --login' here."
        )
    return stored
