"""`rshell.connect`: the front door of the client."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from rshell.aio import Opening
from rshell.client.client import Client
from rshell.client.dial import CertificateAuthority, ChildLink, dial, local_server_argv
from rshell.client.login import ClientLink
from rshell.client.reconnector import Reconnector
from rshell.client.trust import find_trust
from rshell.errors import AddressError
from rshell.transport.live_session import LiveSession
from rshell.values import Address, Limits


def connect(
    address: str | Address | None = None,
    *,
    local: bool = False,
    via: str | Sequence[str] | None = None,
    token: str | None = None,
    fingerprint: str | None = None,
    ca: Path | str | Literal["system"] | None = None,
    limits: Limits | None = None,
) -> Opening[Client]:
    """Open a session: `async with rshell.connect("host:7000") as client`, or await it.

    `address` is "host", "host:port", "[v6]:port" or "unix:/path". `local` needs no server: one
    is started as a child process; `via` reaches one through the stdio of any program, given as
    argv or as a string that is split as a shell splits words. `token` is a token line, found by
    itself where `rshell --login` stored it. `fingerprint` pins the server's certificate; `ca`, a
    file or "system", has it checked against an authority and the host name instead.

    Raises AddressError, UntrustedServer, AuthenticationFailed, VersionMismatch, OpenTimeout or
    ConnectError, when awaited. Cancelling leaves nothing open.
    """
    bounds = limits or Limits()
    if sum((address is not None, local, via is not None)) != 1:
        raise AddressError("give one of an address, local=True and via=...")

    async def start() -> Client:
        if local or via is not None:
            argv = local_server_argv() if via is None else _split(via)
            child = await ChildLink.open(argv, bounds)
            return Client(Reconnector(child.link, None, bounds), child, bounds)
        assert address is not None
        where = Address.parse(address) if isinstance(address, str) else address
        authority: CertificateAuthority = None
        if ca is not None:
            authority = "system" if ca == "system" else Path(ca)
        trust = None
        if where.path is None:
            trust = find_trust(where, token=token, fingerprint=fingerprint, trust_ca=ca is not None)

        async def redial(live: LiveSession) -> ClientLink:
            return await dial(where, trust, ca=authority, limits=bounds, live=live)

        link = await dial(where, trust, ca=authority, limits=bounds)
        return Client(Reconnector(link, redial, bounds), None, bounds)

    return Opening(start)


def _split(via: str | Sequence[str]) -> tuple[str, ...]:
    try:
        argv = tuple(shlex.split(via)) if isinstance(via, str) else tuple(via)
    except ValueError as error:
        raise AddressError(f"'via' can't be split into words: {error}: {via}") from error
    if not argv:
        raise AddressError(
            "'via' needs a program, such as 'docker exec -i web rshell-server --stdio'"
        )
    return argv
