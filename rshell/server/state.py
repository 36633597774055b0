"""What a server keeps in its state directory: its certificate and tokens.

The first start makes what it needs: a key, a certificate and a token for this user. There is
nothing to configure, and no way to serve without a login.

`listening.json` says how the server that last listened here is reached, and which certificate it
shows: `rshell-token` writes that into its lines, and knows by it that there have been tokens. The
file of tokens is looked at once a second, whatever edited it.

Hazard: the number of a process is soon another's; in a container each server in turn has the same.
Who has it is known by when it began, too.

Hazard: a file of tokens that can't be read stops logins until it is mended. That is said once for
each trouble, not once a second, and ends nobody's session.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Optional

from rshell.errors import ConfigurationError
from rshell.execution.reaper import start_time
from rshell.protocol.scram import Verifier
from rshell.security.certificates import (
    CertificateFiles,
    certificate_der,
    ensure_certificate,
    fingerprint,
    server_context,
)
from rshell.security.credentials import forget_local_token, local_token, write_local_token
from rshell.security.files import check_secret, locked, read_private, write_private
from rshell.security.tokens import TokenLine, TokenStore, new_token
from rshell.values import DEFAULT_PORT, Address

LOCAL_IDENTITY = "local"
_LISTENING = "listening.json"

_log = logging.getLogger("rshell.server")

Lookup = Callable[[str], Optional[Verifier]]


class Listening(NamedTuple):
    """How a server is reached over TLS, and the `fingerprint` that it shows.

    `here` is an address for this machine, `elsewhere` one for others: None where it listens to
    this machine alone.
    """

    fingerprint: str
    here: str
    elsewhere: str | None

    @classmethod
    def of(cls, host: str, addresses: Sequence[Address], fingerprint: str) -> Listening:
        """Tell it from what a server was asked to listen at and the `addresses` that came of it."""
        bound = {address.host: address for address in addresses if address.path is None}
        first = next(iter(bound.values()))
        anywhere = {"0.0.0.0", "::"} & bound.keys()
        if {"127.0.0.1", "::1"} <= bound.keys():
            here = replace(first, host="localhost")
        elif anywhere:
            here = replace(first, host="127.0.0.1" if "0.0.0.0" in anywhere else "::1")
        else:
            here = first
        outside = [address for address in bound.values() if not address.is_loopback]
        elsewhere = None
        if outside:
            # A name that was given is the one that others know; an address is one already.
            name = socket.gethostname() if anywhere else host
            elsewhere = str(outside[0] if name in bound else replace(outside[0], host=name))
        return cls(fingerprint, str(here), elsewhere)

    @classmethod
    def load(cls, directory: Path) -> Listening | None:
        """Return what the server of a state directory left, None if there never was one.

        Of several, such as one that a program embeds, it is one that runs, and that others reach.
        """
        entries = _read_listening(directory)
        running = [entry for entry in entries if _is_running(entry[0])] or entries[-1:]
        outside = [entry for entry in running if entry[1].elsewhere is not None]
        return next((listening for _, listening in reversed(outside or running)), None)

    def save(self, directory: Path) -> None:
        """Leave it for `rshell-token`. A server that can't goes on, with a line in its log."""
        path = directory / _LISTENING
        try:
            with locked(path):
                entries = [entry for entry in _read_listening(directory) if _is_running(entry[0])]
                values = [[who, *it] for who, it in [*entries, (_mark(os.getpid()), self)]]
                write_private(path, json.dumps(values).encode() + b"\n", durable=False)
        except ConfigurationError as error:
            _log.warning("rshell-token will not know where this server listens: %s", error)


def _read_listening(directory: Path) -> list[tuple[str, Listening]]:
    """Return the process and the place of each server that was noted, the latest last."""
    path = directory / _LISTENING
    try:
        return [
            (str(who), Listening(str(shown), str(here), elsewhere and str(elsewhere)))
            for who, shown, here, elsewhere in json.loads(read_private(path))
        ]
    except FileNotFoundError:
        return []
    except (ValueError, TypeError, RecursionError) as error:
        raise ConfigurationError(
            f"{path} is damaged. Remove it; a new start of the server writes it."
        ) from error


def _mark(pid: int) -> str:
    """Return what tells a process from an earlier one of the same number."""
    return f"{pid}@{start_time(pid).decode()}"


def _is_running(process: str) -> bool:
    pid = process.partition("@")[0]
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return process == _mark(int(pid))


class TlsIdentity(NamedTuple):
    """Who a server is over TLS, and who may log in; `own` is the token line of its user."""

    directory: Path
    context: ssl.SSLContext
    certificate: bytes  # DER
    tokens: TokenStore
    own: TokenLine | None

    @classmethod
    def load(cls, directory: Path, files: CertificateFiles | None) -> TlsIdentity:
        """Read it, and make what is missing. Raises ConfigurationError."""
        if files is not None:
            check_secret(files.key)
        files = files or ensure_certificate(directory)
        context = server_context(files.certificate, files.key)
        der = certificate_der(files.certificate)
        path = token_path(directory)
        is_first_start = not path.exists()
        if is_first_start and Listening.load(directory) is not None:
            _log.warning(
                "%s is gone, and begun anew: every token but this user's own has to be added again",
                path,
            )
        tokens = TokenStore(path)
        own = _ensure_local_token(directory, tokens, fingerprint(der), is_first_start)
        return cls(directory, context, der, tokens, own)


def token_store(directory: Path) -> TokenStore:
    """Return the tokens of the server that uses a state directory, which may be running.

    Raises ConfigurationError also where their file is gone: to begin another one would revoke all.
    """
    return TokenStore(token_path(directory), has_been=Listening.load(directory) is not None)


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
        line = TokenLine(address, certificate, LOCAL_IDENTITY, new_token())
        # In this order: a disk that is full leaves no token that is valid and that nobody has.
        write_local_token(directory, line)
        try:
            tokens.add(LOCAL_IDENTITY, line.token)
        except BaseException:
            forget_local_token(directory)
            raise
        return line
    if line.fingerprint != certificate:
        line = replace(line, fingerprint=certificate)
        write_local_token(directory, line)
    return line


class TokenWatch:
    """Calls `on_change(lookup)` whenever `tokens` have changed, until it is closed.

    After it `on_kill(identity)` for each whose jobs are to be ended. It looks every `seconds`.
    """

    def __init__(
        self,
        tokens: TokenStore,
        on_change: Callable[[Lookup], None],
        on_kill: Callable[[str], None],
        seconds: float,
    ) -> None:
        self._tokens = tokens
        self._on_change = on_change
        self._on_kill = on_kill
        self._killed = set(tokens.kills)  # those were another server's to do
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
                for number, identity in self._tokens.kills.items():
                    if number not in self._killed:
                        self._on_kill(identity)
                self._killed = set(self._tokens.kills)
        except ConfigurationError as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                _log.error("no logins until this is mended: %s", error)
