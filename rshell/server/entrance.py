"""The way into a server: where it listens, and whom it lets in as far as the login.

Our own accept loop takes a handful of connections a turn; a storm of them can't starve those who
are logged in. A connection over TCP is let in unless the sessions have all that there is for them,
and has one of the places for unfinished logins (admission.py) until it has logged in. On a Unix
socket the kernel says who comes, which costs no place. Every link is known here from its start to
its end, and closing the server misses none. Who is turned away is counted (audit.py).

Hazard: a process that has run out of descriptors can't accept, and the connection that waits wakes
the loop for ever. A descriptor in reserve is spent on accepting and closing it.

Hazard: who may run commands on this machine can forward a port to its loopback, and be anybody
there. A penalty would keep this user from a server of their own; on a loopback, their own token
has none. It is 256 random bits, and guessing gets nowhere.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import math
import os
import socket
import ssl
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

from rshell.channels.base import own_name
from rshell.errors import (
    AuthenticationFailed,
    ConfigurationError,
    LinkLost,
    RemoteProtocolError,
    RshellError,
    ServerBusy,
    SessionClosed,
)
from rshell.server.admission import Penalties, Places, is_loopback, most_links, most_unfinished
from rshell.server.audit import Refusals
from rshell.server.handover import take_handed
from rshell.server.login import LinkHost, ServerLink
from rshell.server.state import LOCAL_IDENTITY
from rshell.transport.sockets import BACKLOG, SocketStream, UnixListener, is_trusted_uid, peer_uid
from rshell.transport.stdio import PipeStream
from rshell.transport.tls import TlsStream
from rshell.values import Address

_log = logging.getLogger("rshell.server")

_TURN = 16  # connections accepted before others get their turn
_PAUSE = 0.1  # seconds without accepting once descriptors have run out
_LOG_EVERY = 30.0  # seconds between two lines about it

Accept = Callable[[socket.socket, object], None]


class Entrance:
    """Lets links in for `host`, whose tasks they are given to by `own`.

    `addresses` are those it listens at, in the order of the calls; `links` are those not over.
    """

    def __init__(
        self,
        host: LinkHost,
        refusals: Refusals,
        own: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self.addresses: list[Address] = []
        self.links: set[ServerLink] = set()
        self._host = host
        self._limits = host.limits
        self._refusals = refusals
        self._own = own
        self._loop = asyncio.get_running_loop()
        self._penalties = Penalties(host.limits)
        self._places: Places[ServerLink] = Places(most_unfinished(host.limits))
        self._unfinished: set[ServerLink] = set()  # have not logged in, by any way
        self._listeners: list[Listener | UnixListener] = []

    def listen_tls(self, sockets: list[socket.socket], context: ssl.SSLContext) -> None:
        """Let in who comes by TCP on listening sockets, over TLS and with a login to do."""
        for sock in sockets:
            listener = Listener(sock, partial(self._accept_tls, context), self._refusals)
            self._listeners.append(listener)
            self.addresses.append(Address(host=listener.address[0], port=listener.address[1]))

    def listen_unix(self, path: Path) -> None:
        """Let in this user's own processes on a Unix socket."""
        unix = UnixListener(path)
        self._listeners += [Listener(unix.socket, self._accept_unix, self._refusals), unix]
        self.addresses.append(Address(host="", port=0, path=str(path)))

    def listen_handed(self, path: Path) -> None:
        """Let in this user's own processes that hand over what they were started with."""
        unix = UnixListener(path)
        self._listeners += [Listener(unix.socket, self._accept_handed, self._refusals), unix]

    def open_link(self, source: str, trusted: str | None) -> ServerLink:
        """Return a link for a byte stream; see ServerLink."""
        link = ServerLink(self._host, source, trusted, self._loop.time())
        self.links.add(link)
        self._unfinished.add(link)
        return link

    @property
    def unfinished(self) -> int:
        """How many links have not logged in."""
        return len(self._unfinished)

    def check_penalty(self, source: str, identity: str) -> None:
        """Raise RemoteProtocolError if a login as `identity` has to wait at `source`."""
        wait = self._penalties.wait(source, identity, self._loop.time())
        if wait > 0 and not _is_owner(source, identity):
            self._refusals.count("waiting", source)
            raise RemoteProtocolError(
                f"too many logins as {identity[:64]} from this address failed; the next one is "
                f"heard in {math.ceil(wait)} s",
                code="busy",
            )

    def logged_in(self, link: ServerLink) -> None:
        """Count a login that succeeded."""
        self._unfinished.discard(link)
        self._places.leave(link)
        self._penalties.succeeded(link.source, link.identity)

    def login_failed(self, link: ServerLink, reason: str) -> None:
        """Count a login that failed, against the identity that it named at its source."""
        identity = link.login.claimed
        self._refusals.note("login-failed", link.source, {"source": link.source, "reason": reason})
        if identity:
            self._penalties.failed(link.source, identity, self._loop.time())

    def link_closed(self, link: ServerLink, cause: RshellError) -> bool:
        """Forget a link that is over; return whether it had logged in."""
        self.links.discard(link)
        self._places.leave(link)
        if link not in self._unfinished:
            return True
        self._unfinished.discard(link)
        if reason := _explain_end(cause):
            self._refusals.count(reason, link.source)
        return False

    def close(self) -> None:
        """Stop listening; links go on. Does nothing when closed."""
        while self._listeners:
            self._listeners.pop(0).close()  # once: a path may be another server's by now

    def _accept_tls(self, context: ssl.SSLContext, sock: socket.socket, address: Any) -> None:
        source = str(address[0])
        # Sessions that wait for their client don't count here: it may be the one that comes.
        if len(self.links) - len(self._unfinished) >= most_links(self._limits):
            self._refusals.count("sessions", source)
            sock.close()
            return
        link = self.open_link(source, None)
        crowded_out = self._places.enter(link)
        if crowded_out is not None:
            self._refusals.count("crowded", crowded_out.source)
            crowded_out.drop("others took its place before it had logged in")
        make_stream = partial(TlsStream, link.driver, self._limits, context, server_side=True)
        self._own(self._connect(link, make_stream, sock))

    def _accept_unix(self, sock: socket.socket, _: object) -> None:
        if self._is_trusted(sock):
            link = self.open_link("unix", own_name())
            self._own(self._connect(link, partial(SocketStream, link.driver, self._limits), sock))

    def _accept_handed(self, sock: socket.socket, _: object) -> None:
        if self._is_trusted(sock):
            self._own(self._take_handed(sock))

    def _is_trusted(self, sock: socket.socket) -> bool:
        """Whether this user is at the other end; the connection is closed otherwise."""
        try:
            uid = peer_uid(sock)
        except OSError:
            sock.close()  # it has gone by itself
            return False
        if not is_trusted_uid(uid):
            self._refusals.note("refused", "unix", {"source": "unix", "uid": uid})
            sock.close()
            return False
        return True

    async def _take_handed(self, sock: socket.socket) -> None:
        """Serve a link on what a process hands over, which waits until that is done with."""
        with sock:
            handed = await take_handed(sock, self._limits)
            if handed is None:
                return
            link = self.open_link("handed over", own_name())
            link.environment = handed.environment
            stream = PipeStream(link.driver, self._limits)
            try:
                stream.connect(handed.incoming, handed.outgoing)
            except (OSError, ConfigurationError) as error:
                link.driver.stream_lost(error if isinstance(error, OSError) else None)
                return
            await link.driver.done.wait()

    async def _connect(
        self,
        link: ServerLink,
        make_stream: Callable[[], asyncio.BaseProtocol],
        sock: socket.socket,
    ) -> None:
        try:
            await self._loop.connect_accepted_socket(make_stream, sock)
        except OSError as error:
            sock.close()  # reset before we looked
            link.driver.stream_lost(error)
        if link.link.error is not None:  # closed before it had a stream to wait for
            await link.driver.done.wait()


def _is_owner(source: str, identity: str) -> bool:
    """Whether this is the server's own user at its own machine, as far as a claim can say."""
    return identity == LOCAL_IDENTITY and is_loopback(source)


def _explain_end(cause: RshellError) -> str:
    """Return why a link without a login ended, "" where that is counted elsewhere or no news."""
    if isinstance(cause, (LinkLost, ServerBusy)):
        return "left"
    if isinstance(cause, RemoteProtocolError) and cause.code == "login-timeout":
        return "login-timeout"
    if isinstance(cause, (AuthenticationFailed, SessionClosed, ConfigurationError)):
        return ""
    return "" if getattr(cause, "code", "") == "busy" else "violation"


class Listener:
    """Accepts on a non-blocking listening socket until closed; `accept` owns what it is given.

    `address` is what the socket is bound to, as the socket module tells it. Who can't be accepted
    is counted in `refusals`.
    """

    def __init__(self, sock: socket.socket, accept: Accept, refusals: Refusals) -> None:
        self.address = sock.getsockname()
        self._socket = sock
        self._accept = accept
        self._refusals = refusals
        self._loop = asyncio.get_running_loop()
        self._reserve = os.open(os.devnull, os.O_RDONLY)
        self._resume: asyncio.TimerHandle | None = None
        self._logged = -_LOG_EVERY
        self._loop.add_reader(sock, self._ready)

    def close(self) -> None:
        """Stop listening. Does nothing when it is closed."""
        if self._socket.fileno() < 0:
            return
        if self._resume is not None:
            self._resume.cancel()
        self._loop.remove_reader(self._socket)
        self._socket.close()
        if self._reserve >= 0:
            os.close(self._reserve)
            self._reserve = -1

    def _ready(self) -> None:
        for _ in range(_TURN):
            try:
                sock, address = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    raise
                self._run_out(error)
                return
            sock.setblocking(False)
            self._accept(sock, address)

    def _run_out(self, error: OSError) -> None:
        """Turn the next connection away with the reserve, then rest for a moment."""
        now = self._loop.time()
        if now - self._logged >= _LOG_EVERY:
            self._logged = now
            _log.warning("turning connections away: %s", error.strerror)
        if self._reserve >= 0:
            os.close(self._reserve)
            self._reserve = -1  # the number may be somebody else's by the time we close
            try:
                sock, address = self._socket.accept()
                sock.close()
                self._refusals.count("descriptors", str(address[0]) if address else "unix")
            except OSError:
                pass  # it has gone by itself
        self._loop.remove_reader(self._socket)
        self._resume = self._loop.call_later(_PAUSE, self._go_on)

    def _go_on(self) -> None:
        self._resume = None
        try:
            self._reserve = os.open(os.devnull, os.O_RDONLY)
        except OSError:
            self._reserve = -1
        self._loop.add_reader(self._socket, self._ready)


def bind_tcp(host: str, port: int) -> list[socket.socket]:
    """Return listening sockets on every address of `host`, all on one port.

    Port 0 lets the system choose one for all. Raises OSError when none could be bound.
    """
    sockets: list[socket.socket] = []
    failure: OSError | None = None
    for family, address in _places(host):
        try:
            where = (address[0], port, *address[2:])
            sock = socket.create_server(where, family=family, backlog=BACKLOG)
        except OSError as error:
            failure = OSError(error.errno, os.strerror(error.errno or 0))  # without the address
            # No IPv6 on this machine is no failure; a port in use is one.
            if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                continue
            break
        sock.setblocking(False)
        sockets.append(sock)
        port = sock.getsockname()[1]
    else:
        if sockets:
            return sockets
    for sock in sockets:
        sock.close()
    raise failure or OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))


def _places(host: str) -> list[tuple[int, tuple[Any, ...]]]:
    """Return (family, address) of every way to bind `host`."""
    if host == "localhost":
        # Both loopbacks, whatever the hosts file says of the name.
        return [(socket.AF_INET, ("127.0.0.1", 0)), (socket.AF_INET6, ("::1", 0))]
    infos = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((info[0], info[4]) for info in infos))
