"""`rshell.connect`, the front door of the client, and the ways to a server behind it.

A server is reached over TCP and TLS, over a Unix socket, or over the stdio of a program. Each way
ends in the same `ClientLink`, attached and ready. Whatever fails on the way becomes a ConnectError
that says what to do, and nothing is left open.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Callable, Sequence
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Union

from rshell.aio import Opening, timeout
from rshell.client.child import ChildLink, ChildLinks, local_server_argv
from rshell.client.client import Client
from rshell.client.links import ClientLink, Farewell, Reconnector
from rshell.errors import (
    AddressError,
    AuthenticationFailed,
    ConnectError,
    LinkLost,
    OpenTimeout,
    ServerBusy,
    UntrustedServer,
)
from rshell.reach.ways import Way, split_words
from rshell.security.credentials import Trust, find_trust
from rshell.transport.live_session import LiveSession
from rshell.transport.sockets import SocketStream, is_trusted_uid, peer_uid
from rshell.values import Address, Bounds, Limits

if TYPE_CHECKING:
    from rshell.client.witness_client import Testimony

CertificateAuthority = Union[Path, Literal["system"], None]

_FIRST_WAIT = 0.1  # seconds on average before the second attempt; it doubles
_LONGEST_WAIT = 2.0
_ATTEMPT_DELAY = 0.25  # RFC 8305, section 5: the next address is tried beside a slow one


def connect(
    address: str | Address | Way | None = None,
    *,
    local: bool = False,
    via: str | Sequence[str] | None = None,
    bootstrap: bool = False,
    background: bool | None = None,
    token: str | None = None,
    fingerprint: str | None = None,
    ca: Path | str | Literal["system"] | None = None,
    limits: Limits | None = None,
) -> Opening[Client]:
    """Open a session: `async with rshell.connect("host:7000") as client`, or await it.

    `address` is "host", "host:port", "[v6]:port" or "unix:/path", or a way in to a machine where
    nothing is installed: "ssh://host", "docker://name", "podman://name", "kubectl://pod". `local`
    needs no server: one is started as a child process; `via` reaches one through the stdio of any
    program, given as argv or as a string that is split as a shell splits words. With `bootstrap`
    that program is a way in, and runs the words behind it over there. Such a way in starts
    a server in the background, which keeps sessions, jobs and named shells and ends when idle; with
    `background=False` the session ends with its link. `background=True` is the same for `local`,
    and for a `via` that leads to `rshell-server --stdio --background`. `token` is a token line;
    without it, the one that `rshell --login` stored is found. `fingerprint` pins the server's
    certificate; `ca`, a file or "system", has it checked against an authority and the host name
    instead.

    Raises AddressError, UntrustedServer, AuthenticationFailed, VersionMismatch, OpenTimeout or
    ConnectError, when awaited. Cancelling leaves nothing open.
    """
    bounds = Bounds.of(limits)
    if sum((address is not None, local, via is not None)) != 1:
        raise AddressError("give one of an address, local=True and via=...")
    if bootstrap and via is None:
        raise AddressError("bootstrap=True goes with via=...")

    async def start() -> Client:
        way = Way.parse(address) if isinstance(address, str) else None
        if isinstance(address, Way):
            way = address
        if via is not None and bootstrap:
            way = Way.of_words(via)
        if way is not None or local or via is not None:
            is_kept = way is not None if background is None else background
            if way is not None:
                from rshell.client.reach import WayIn

                way_in = WayIn(way, bounds, background=is_kept)
                links = ChildLinks(way_in.open)
            else:
                argv = local_server_argv(background=is_kept) if via is None else split_words(via)
                links = ChildLinks(partial(ChildLink.open, argv, bounds, is_kept=is_kept))
            first, again = await links.dial(), links.dial if is_kept else None
            notice = "" if way is None else way_in.notice
            return Client(Reconnector(first, again, bounds), bounds, links.close, notice)
        assert address is not None and not isinstance(address, Way)
        where = Address.parse(address) if isinstance(address, str) else address
        authority: CertificateAuthority = None
        if ca is not None:
            authority = "system" if ca == "system" else Path(ca)
        trust = None
        if where.path is None:
            try:
                trust = find_trust(
                    where, token=token, fingerprint=fingerprint, trust_ca=ca is not None
                )
            except AuthenticationFailed:
                await _check_name(where, bounds)  # there is no token for a misspelt name, either
                raise

        def testify() -> Testimony:
            from rshell.client.witness_client import Testimony

            return Testimony(where, trust, authority, bounds.resume_window)

        redial = partial(dial, where, trust, authority, bounds)
        return Client(Reconnector(await redial(), redial, bounds, testify), bounds)

    return Opening(start)


async def dial(
    address: Address,
    trust: Trust | None,
    ca: CertificateAuthority,
    limits: Bounds,
    live: LiveSession | None = None,
) -> ClientLink:
    """Return a link to the server at `address`, attached. Raises ConnectError.

    It carries a new session, or resumes that of `live`.

    A server that has too many logins at once turns some away, and a path may be cut anywhere before
    the link is attached, when nothing was run yet. Either is tried again, a little later each time,
    as long as `open_timeout` lasts.
    """
    make_link = partial(ClientLink, address, trust, limits, live, is_kept=True)
    return await _dial(address, make_link, ca, limits)


async def end_session(
    address: Address,
    trust: Trust | None,
    ca: CertificateAuthority,
    limits: Bounds,
    session: str,
    secret: str,
) -> None:
    """Tell the server at `address` that the client of a session is gone. Raises ConnectError."""
    make_link = partial(Farewell, address, trust, limits, session, secret)
    link = await _dial(address, make_link, ca, limits)
    await link.driver.done.wait()  # it closes after GOODBYE, whatever becomes of the path


async def _dial(
    address: Address,
    make_link: Callable[[], ClientLink],
    ca: CertificateAuthority,
    limits: Bounds,
) -> ClientLink:
    wait = _FIRST_WAIT
    passing: ConnectError | None = None  # what the last attempt met, and the next one may not
    try:
        async with timeout(limits.open_timeout):
            while True:
                try:
                    return await _dial_once(address, make_link(), ca, limits)
                except ConnectError as error:
                    if not _may_pass(error):
                        raise
                    passing = error
                await asyncio.sleep(wait * random.uniform(0.5, 1.5))
                wait = min(wait * 2, _LONGEST_WAIT)
    except TimeoutError as error:
        if isinstance(passing, ServerBusy):
            raise ServerBusy(
                f"the server at {address} closes the connection at once. It may be busy, keep this "
                "machine waiting after failed logins, or be no rshell-server: try again in a "
                "minute."
            ) from passing
        if passing is not None:
            raise passing from passing.__cause__
        raise OpenTimeout(
            f"no session with {address} within {limits.open_timeout:g} s. "
            "Is the machine up, and does a firewall let the port through?",
            timeout=limits.open_timeout,
        ) from error


def _may_pass(error: ConnectError) -> bool:
    """Whether an attempt failed because the path was cut, or the server had no room for it."""
    return isinstance(error, ServerBusy) or isinstance(error.__cause__, LinkLost)


async def _dial_once(
    address: Address, link: ClientLink, ca: CertificateAuthority, limits: Bounds
) -> ClientLink:
    try:
        if address.path is not None:
            await _dial_unix(address.path, link, limits)
        else:
            await _dial_tls(address, link, ca, limits)
        await link.attached
    except BaseException:
        # Also where it was attached at the very moment at which the caller gave up.
        link.attached.cancel()
        if not link.attached.cancelled():
            link.attached.exception()  # nobody else will ask for it
        link.driver.abort()
        raise
    return link


async def _dial_unix(path: str, link: ClientLink, limits: Bounds) -> None:
    loop = asyncio.get_running_loop()
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        await loop.sock_connect(sock, path)
        uid = peer_uid(sock)
        if not is_trusted_uid(uid):
            raise UntrustedServer(
                f"the server at unix:{path} belongs to the user id {uid}, not to you"
            )
        await loop.create_unix_connection(lambda: SocketStream(link.driver, limits), sock=sock)
    except OSError as error:
        sock.close()
        raise ConnectError(
            f"can't reach unix:{path}: {error.strerror or error}. "
            "Is rshell-server running with --unix on that path?"
        ) from error
    except BaseException:
        sock.close()
        raise


async def _dial_tls(
    address: Address, link: ClientLink, ca: CertificateAuthority, limits: Bounds
) -> None:
    from rshell.security.certificates import client_context
    from rshell.transport.tls import TlsStream

    make_stream = partial(
        TlsStream,
        link.driver,
        limits,
        client_context(ca),
        server_hostname=address.host if ca is not None else None,
        check_peer=link.check_certificate,
    )
    try:
        sock = await _connect_fastest(address)
    except OSError as error:
        raise ConnectError(_explain_network(address, error)) from error
    try:
        await asyncio.get_running_loop().create_connection(make_stream, sock=sock)
    except BaseException:
        sock.close()
        raise


async def _connect_fastest(address: Address) -> socket.socket:
    """Return a socket connected to the first of the host's addresses that answers (RFC 8305).

    asyncio does this too, but loses a connected socket when it is cancelled at the wrong moment.
    Raises OSError when no address answers.
    """
    loop = asyncio.get_running_loop()
    places = await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    ours = [place for place in places if place[0] == places[0][0]]
    others = [place for place in places if place[0] != places[0][0]]
    # The families take turns: one of them may lead nowhere.
    waiting = [place for pair in zip_longest(ours, others) for place in pair if place]
    attempts: dict[asyncio.Task[None], socket.socket] = {}
    failures: list[BaseException] = []
    try:
        while waiting or attempts:
            if waiting:
                family, kind, protocol, _, place = waiting.pop(0)
                try:
                    sock = socket.socket(family, kind, protocol)
                except OSError as no_family:  # a machine without IPv6
                    failures.append(no_family)
                    continue
                sock.setblocking(False)
                attempts[loop.create_task(loop.sock_connect(sock, place))] = sock
            done, _ = await asyncio.wait(
                attempts,
                timeout=_ATTEMPT_DELAY if waiting else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for task in done:
                error = task.exception()
                if error is None:
                    return attempts.pop(task)
                attempts.pop(task).close()
                failures.append(error)
    finally:
        for task, sock in attempts.items():
            task.cancel()
            task.add_done_callback(partial(_let_go, sock))
    raise next((e for e in failures if isinstance(e, ConnectionRefusedError)), failures[-1])


async def _check_name(address: Address, limits: Bounds) -> None:
    """Raise ConnectError if nobody knows the host's name."""
    loop = asyncio.get_running_loop()
    try:
        async with timeout(limits.open_timeout):
            await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except TimeoutError:
        pass  # who is slow to answer has not said no
    except OSError as error:
        raise ConnectError(_explain_network(address, error)) from error


def _let_go(sock: socket.socket, attempt: asyncio.Task[None]) -> None:
    sock.close()
    if not attempt.cancelled():
        attempt.exception()  # nobody waits for it


def _explain_network(address: Address, error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        if error.errno == socket.EAI_AGAIN:
            return f"the name {address.host!r} can't be looked up now: {error.strerror}"
        return f"no machine is called {address.host!r}: {error.strerror}"
    if isinstance(error, ConnectionRefusedError) or "refused" in str(error).lower():
        return f"nothing listens at {address}. Start rshell-server there, or check the port."
    return f"can't reach {address}: {error.strerror or error}"
