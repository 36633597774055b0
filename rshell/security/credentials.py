"""The client's store of tokens, and whether a server is the one whose token we hold.

One private text file has a token line for each server (see `TokenLine`) and is rewritten as a
whole. The token that a server makes for its own user on its first start lies in the server's
directory instead: `rshell` on the same machine, run by the same user, needs no login step.

Every token line names the fingerprint of its server. The pin comes with the token, and there is
no first contact without one. The check runs after the TLS handshake and before a byte is written.

Hazard: a damaged line must not be repeated in an error, for it may hold a token; errors name
the file and the line's number.

Hazard: an exception in the check must end the link. Silence is the only consent.
"""

from __future__ import annotations

from pathlib import Path

from rshell.errors import ConfigurationError, UntrustedServer
from rshell.security.certificates import fingerprint, parse_fingerprint
from rshell.security.files import locked, read_private, write_private
from rshell.security.tokens import TokenLine
from rshell.values import Address

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
            lines = [kept for kept in self._read() if kept.address != line.address]
            text = "".join(f"{kept}\n" for kept in [*lines, line])
            write_private(self._path, text.encode())

    def find(self, address: Address) -> TokenLine | None:
        """Return the token line for a server, None if there is none."""
        return next((line for line in self._read() if line.address == address), None)

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


def local_token(server_directory: Path) -> TokenLine | None:
    """Return the token that a server left here for its own user, None if there is none.

    Raises ConfigurationError if the file is damaged, open to others, or somebody else's.
    """
    path = server_directory / _LOCAL_TOKEN
    try:
        return _parse(read_private(path), str(path))
    except FileNotFoundError:
        return None


def write_local_token(server_directory: Path, line: TokenLine) -> None:
    """Leave a token for the server's own user. Raises ConfigurationError."""
    write_private(server_directory / _LOCAL_TOKEN, f"{line}\n".encode())


def check_fingerprint(expected: str | None, der: bytes | None, address: Address) -> None:
    """Refuse a server whose certificate (`der`) is not the expected one.

    `expected` None means that nothing is pinned: any certificate passes, and the login's
    channel binding decides. Raises UntrustedServer for another certificate or none at all,
    ConfigurationError for an `expected` that is no fingerprint. Silence is the only consent.
    """
    if not der:
        raise UntrustedServer(
            f"{address} showed no certificate. Nothing was sent to it. Is it an rshell-server?",
            expected=expected or "",
        )
    if expected is None:
        return
    wanted, received = parse_fingerprint(expected), fingerprint(der)
    if wanted != received:
        raise UntrustedServer(
            f"{address} is not the server that is known here. Nothing was sent to it. "
            f"Expected {wanted}, received {received}. If its certificate was replaced on purpose, "
            "run `rshell-token add NAME` there and paste the line into `rshell --login` here; "
            "otherwise somebody stands in between.",
            expected=wanted,
            received=received,
        )


def _parse(data: bytes, where: str) -> TokenLine:
    try:
        return TokenLine.parse(data.decode("utf-8", "replace"))
    except ConfigurationError as error:
        raise ConfigurationError(f"{where} is damaged: {error}") from None
