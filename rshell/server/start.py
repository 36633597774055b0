"""`rshell.serve`: from what was asked for to a server that listens."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from rshell.aio import Opening
from rshell.channels.base import Handler
from rshell.errors import ConfigurationError
from rshell.security.certificates import CertificateFiles
from rshell.security.files import private_directory, server_directory
from rshell.server.audit import AuditLog
from rshell.server.server import Server
from rshell.server.state import TlsIdentity
from rshell.values import DEFAULT_PORT, Bounds, Limits


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
        bounds = Bounds.of(limits)
        place = private_directory(Path(state) if state is not None else server_directory())
        server = Server(
            handlers=handlers or {},
            commands=handlers is None if commands is None else commands,
            limits=bounds,
            cwd=cwd or home_directory(),
            audit=AuditLog(place / "audit.jsonl", bounds),
            jobs=place / "jobs",
        )
        try:
            if host is not None:
                server.listen_tls(host, port, TlsIdentity.load(place, certificate))
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


def home_directory() -> str:
    """Return the user's home directory, / where there is none."""
    home = Path.home() if "HOME" in os.environ else Path("/")
    return str(home) if home.is_dir() else "/"
