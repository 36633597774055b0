"""What a server keeps in its state directory: its certificate and tokens.

The first start makes what it needs: a key, a certificate and a token for this user. There is
nothing to configure, and no way to serve without a login.

The file of tokens is looked at once a second, whatever edited it.

Hazard: a file of tokens that can't be read stops logins until it is mended. That is said once for
each trouble, not once a second, and ends nobody's session.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Optional

from rshell.errors import ConfigurationError
from rshell.protocol.scram import Verifier
from rshell.security.certificates import (
    CertificateFiles,
    certificate_der,
    ensure_certificate,
    fingerprint,
    server_context,
)
from rshell.security.credentials import local_token, write_local_token
from rshell.security.tokens import TokenLine, TokenStore
from rshell.values import DEFAULT_PORT, Address

LOCAL_IDENTITY = "local"

_log = logging.getLogger("rshell.server")

Lookup = Callable[[str], Optional[Verifier]]


class TlsIdentity(NamedTuple):
    """Who a server is over TLS, and who may log in; `own` is the token line of its user."""

    context: ssl.SSLContext
    certificate: bytes  # DER
    tokens: TokenStore
    own: TokenLine | None

    @classmethod
    def load(cls, directory: Path, files: CertificateFiles | None) -> TlsIdentity:
        """Read it, and make what is missing. Raises ConfigurationError."""
        files = files or ensure_certificate(directory)
        context = server_context(files.certificate, files.key)
        der = certificate_der(files.certificate)
        is_first_start = not token_path(directory).exists()
        tokens = token_store(directory)
        own = _ensure_local_token(directory, tokens, fingerprint(der), is_first_start)
        return cls(context, der, tokens, own)


def token_store(directory: Path) -> TokenStore:
    """Return the store of a server's tokens."""
    return TokenStore(token_path(directory))


def token_path(directory: Path) -> Path:
    """Return the file of a server's tokens."""
    return directory / "tokens.json"


def _ensure_local_token(
    directory: Path, tokens: TokenStore, certificate: str, is_first_start: bool
) -> TokenLine | None:
    """Leave a token for this user beside the key, at the first start only, and return it.

    One that was revoked stays so. A changed certificate is noted in the line that is there.
    """
    line = local_token(directory)
    if line is None or is_first_start:
        if LOCAL_IDENTITY in {record.name for record in tokens.list()}:
            return None
        address = Address(host="localhost", port=DEFAULT_PORT)
        line = TokenLine(address, certificate, LOCAL_IDENTITY, tokens.add(LOCAL_IDENTITY))
    elif line.fingerprint == certificate:
        return line
    line = replace(line, fingerprint=certificate)
    write_local_token(directory, line)
    return line


class TokenWatch:
    """Calls `on_change(lookup)` whenever `tokens` have changed, until it is closed.

    It looks every `seconds`.
    """

    def __init__(
        self, tokens: TokenStore, on_change: Callable[[Lookup], None], seconds: float
    ) -> None:
        self._tokens = tokens
        self._on_change = on_change
        self._seconds = seconds
        self._trouble = ""
        self._timer = asyncio.get_running_loop().call_later(seconds, self._look)

    def close(self) -> None:
        """Look no more."""
        self._timer.cancel()

    def _look(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._look)
        try:
            if self._tokens.refresh():
                self._on_change(self._tokens.lookup)
                self._trouble = ""
        except ConfigurationError as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                _log.error("no logins until this is mended: %s", error)
