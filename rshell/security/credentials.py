"""What a client knows of a server before it dials: whom to expect, and who to be.

The client keeps one private text file with a token line for each server (see `TokenLine`) and
rewrites it as a whole. A server leaves the token for its own user in its own directory instead,
and `rshell` on the same machine, run by the same user, needs no login step. A token line names the
server's fingerprint too: the server is known before a byte is written, the first time as well, and
nobody can relay the login.

Hazard: a damaged line must not be repeated in an error, for it may hold a token; errors name
the file and the line's number.

Hazard: an exception in the check must end the link. Silence is the only consent.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from dataclasses import field
from pathlib import Path

from rshell.errors import AuthenticationFailed, ConfigurationError, UntrustedServer
from rshell.security.certificates import fingerprint, parse_fingerprint
from rshell.security.files import (
    locked,
    read_private,
    server_directory,
    state_directory,
    write_private,
)
from rshell.security.tokens import TokenLine
from rshell.values import Address, frozen

_LOCAL_TOKEN = "local-token"


class Credentials:
    """The token lines of one user, by server address.

    Raises ConfigurationError if the file is damaged, open to others, or somebody else's.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, line: TokenLine) -> None:
        """Keep `line` instead of what was kept for its address."""
        with locked(self._path):
            place = _place(line.address)
            lines = [kept for kept in self._read() if _place(kept.address) != place]
            text = "".join(f"{kept}\n" for kept in [*lines, line])
            write_private(self._path, text.encode())

    def find(self, address: Address) -> TokenLine | None:
        """Return the token line for a server, None if there is none.

        However its name is spelled: case and a dot at the end make no other host.
        """
        place = _place(address)
        return next((line for line in self._read() if _place(line.address) == place), None)

    def _read(self) -> list[TokenLine]:
        try:
            data = read_private(self._path)
        except FileNotFoundError:
            return []
        return [
            _parse(line, f"{self._path}, line {number}")
            for number, line in enumerate(data.splitlines(), start=1)
            if line.strip()
        ]


def local_token(directory: Path) -> TokenLine | None:
    """Return the token that a server left here for its own user, None if there is none.

    Raises ConfigurationError if the file is damaged, open to others, or somebody else's.
    """
    path = directory / _LOCAL_TOKEN
    try:
        return _parse(read_private(path), str(path))
    except FileNotFoundError:
        return None


def write_local_token(directory: Path, line: TokenLine) -> None:
    """Leave a token for the server's own user. Raises ConfigurationError."""
    write_private(directory / _LOCAL_TOKEN, f"{line}\n".encode())


def forget_local_token(directory: Path) -> None:
    """Remove what `write_local_token` left, if it is there."""
    (directory / _LOCAL_TOKEN).unlink(missing_ok=True)


@frozen
class Trust:
    """Who we are to a server (`identity`, `token`), and its expected `fingerprint`.

    `fingerprint` is None where an authority vouches for the certificate instead. `borrowed` names
    the token line that both are from where that is not one for the very address, else "".
    """

    identity: str
    token: str = field(repr=False)
    fingerprint: str | None = None
    borrowed: str = ""


def find_trust(
    address: Address,
    *,
    token: str | None = None,
    fingerprint: str | None = None,
    trust_ca: bool = False,
) -> Trust:
    """Return what to log in with at `address`.

    `token` is a token line and comes first, then $RSHELL_TOKEN, then what `rshell --login` stored
    for the address; on this machine the token that the server left for its own user. Raises
    AuthenticationFailed when there is none anywhere, and ConfigurationError for a file or line
    that can't be used.
    """
    expected = None if fingerprint is None else parse_fingerprint(fingerprint)
    line, borrowed = _find_line(address, token)
    if expected is not None or trust_ca:
        return Trust(line.identity, line.token, expected)
    return Trust(line.identity, line.token, line.fingerprint, borrowed)


def _find_line(address: Address, token: str | None) -> tuple[TokenLine, str]:
    text = token or os.environ.get("RSHELL_TOKEN")
    if text:
        line = TokenLine.parse(text)
        is_for_it = _place(line.address) == _place(address)
        return line, "" if is_for_it else f"the token line for {line.address} that was given"
    borrowed = ""
    stored = Credentials(state_directory() / "credentials").find(address)
    if stored is None and address.is_loopback:
        stored = local_token(server_directory())
        borrowed = "your own rshell-server here, since no other is known"
    if stored is None:
        where = "here" if address.is_loopback else "there"
        raise AuthenticationFailed(
            f"no token for {address}. Start rshell-server {where}, or run 'rshell-token add NAME' "
            "on that machine and paste the line it prints into 'rshell --login' here."
        )
    return stored, borrowed


def check_fingerprint(
    expected: str | None, der: bytes | None, address: Address, borrowed: str = ""
) -> bytes:
    """Return a server's certificate (`der`), or refuse one that is not the expected one.

    `expected` None means that nothing is pinned: any certificate passes, and the login's
    channel binding decides. `borrowed` says where it is from; see Trust. Raises UntrustedServer
    for another certificate or none at all, ConfigurationError for an `expected` that is no
    fingerprint. Silence is the only consent.
    """
    if not der:
        raise UntrustedServer(
            f"{address} showed no certificate. Nothing was sent to it. Is it an rshell-server?",
            expected=expected or "",
        )
    if expected is None:
        return der
    wanted, received = parse_fingerprint(expected), fingerprint(der)
    if wanted != received and borrowed:
        raise UntrustedServer(
            f"{address} is not the server of {borrowed}. Nothing was sent to it. "
            f"Expected {wanted}, received {received}. A server with a --state of its own says at "
            "its start what to type; for any other that you know of, run `rshell-token add NAME` "
            "there and paste the line into `rshell --login` here; otherwise somebody stands in "
            "between.",
            expected=wanted,
            received=received,
        )
    if wanted != received:
        raise UntrustedServer(
            f"{address} is not the server that is known here. Nothing was sent to it. "
            f"Expected {wanted}, received {received}. If its certificate was replaced on purpose, "
            "run `rshell-token add NAME` there and paste the line into `rshell --login` here; "
            "otherwise somebody stands in between.",
            expected=wanted,
            received=received,
        )
    return der


def _place(address: Address) -> tuple[str, int]:
    host = address.host.lower().rstrip(".")
    if ":" in host:
        with suppress(OSError):  # one with a zone; the address before it is written in many ways
            host = socket.inet_ntop(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, host))
    return host, address.port


def _parse(data: bytes, where: str) -> TokenLine:
    try:
        return TokenLine.parse(data.decode("utf-8", "replace"))
    except ConfigurationError as error:
        raise ConfigurationError(f"{where} is damaged: {error}") from None
