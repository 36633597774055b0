"""`rshell.serve`: the front door of the server.

Strategy: the first start makes what it needs, a key, a certificate and a token for this user,
so that there is nothing to configure and no way to serve without a login.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from rshell.channels.base import Handler
from rshell.errors import ConfigurationError
from rshell.security.certificates import (
    CertificateFiles,
    certificate_der,
    ensure_certificate,
    fingerprint,
    server_context,
)
from rshell.security.credentials import local_token, write_local_token
from rshell.security.files import private_directory, server_directory
from rshell.security.tokens import TokenLine, TokenStore
from rshell.server.audit import AuditLog
from rshell.server.listener import bind_tcp
from rshell.server.server import Server, home_directory
from rshell.transport.opening import Opening
from rshell.values import DEFAULT_PORT, Address, Limits

LOCAL_IDENTITY = "local"


def serve(
    host: str | None = "localhost",
    port: int = DEFAULT_PORT,
    *,
    unix: Path | str | None = None,
    handlers: Mapping[str, Handler] | None = None,
    commands: bool | None = None,
    state: Path | str | None = None,
    certificate: CertificateFiles | None = None,
    cwd: str | None = None,
    limits: Limits | None = None,
) -> Opening[Server]:
    """Serve: `async with rshell.serve("localhost", 7000) as server`, or await it.

    Listens over TLS on every address of `host` ("localhost" is both loopbacks), on `port` or,
    with 0, on one that is free; and, or instead with `host=None`, on the Unix socket `unix`.
    `handlers` are channel kinds of your own, by name. A server that has some offers no others,
    unless `commands` asks for the kinds that run commands as well; without them, those are what
    it offers.
    `state` keeps key, certificate, tokens, the audit log and detached jobs. Commands start in
    `cwd`, the user's home without one. They run as the user of this process, always.

    Raises ConfigurationError, when awaited, for a file that is unusable or an address in use.
    """

    async def start() -> Server:
        bounds = limits or Limits()
        place = private_directory(Path(state) if state is not None else server_directory())
        server = Server(
            handlers=handlers or {},
            commands=handlers is None if commands is None else commands,
            limits=bounds,
            cwd=cwd or home_directory(),
            audit=AuditLog(place / "audit.jsonl"),
            jobs=place / "jobs",
        )
        try:
            if host is not None:
                _listen_tls(server, host, port, place, certificate)
            if unix is not None:
                private_directory(Path(unix).parent)
                server.listen_unix(Path(unix))
            if not server.addresses:
                raise ConfigurationError("give a host, a Unix socket, or both to listen at")
        except BaseException:
            await server.close()
            raise
        return server

    return Opening(start)


def token_store(directory: Path) -> TokenStore:
    """Return the store of a server's tokens."""
    return TokenStore(token_path(directory))


def token_path(directory: Path) -> Path:
    """Return the file of a server's tokens."""
    return directory / "tokens.json"


def _listen_tls(
    server: Server, host: str, port: int, directory: Path, certificate: CertificateFiles | None
) -> None:
    files = certificate or ensure_certificate(directory)
    context = server_context(files.certificate, files.key)
    der = certificate_der(files.certificate)
    is_first_start = not token_path(directory).exists()
    tokens = token_store(directory)
    own = _ensure_local_token(directory, tokens, fingerprint(der), is_first_start)
    try:
        sockets = bind_tcp(host, port)
    except OSError as error:
        raise ConfigurationError(
            f"can't listen at {host} port {port}: {error.strerror or error}. "
            "Choose another --port, or end what listens there."
        ) from error
    server.listen_tls(sockets, context, der, tokens)
    if own is not None:
        server.token_line = str(replace(own, address=server.addresses[0]))


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
