"""The way into a server: where it listens, and whom it lets in as far as the login.

Our own accept loop takes a handful of connections a turn; a storm of them can't starve those who
are logged in. A connection is judged before it costs anything, TLS included: by how many are in
already, by the failed logins of its source, and by chance once too many logins are unfinished. On a
Unix socket the kernel says who comes. Every link is known here from its start to its end, and
closing the server misses none.

A source may fail to log in a few times; from then on each failure doubles its wait, from 1 s up to
`penalty_longest`. Sources that have to wait and sources that failed only once or twice are kept
apart: a full table forgets the latter first.

Hazard: a process that has run out of descriptors can't accept, and the connection that waits wakes
the loop for ever. A descriptor in reserve is spent on accepting and closing it.

Hazard: an attacker owns whole IPv6 networks, and an IPv6 source is therefore its /64. On a
dual-stack socket an IPv4 peer appears as `::ffff:1.2.3.4`; it must not be a second identity, nor
may all of them share the one /64 that they seem to be in.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import random
import socket
import ssl
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from functools import partial
from ipaddress import IPv4Address, IPv6Network, ip_address
from pathlib import Path
from typing import Any

from rshell.channels.base import own_name
from rshell.server.login import LinkHost, ServerLink
from rshell.server.state import AuditLog
from rshell.transport.sockets import BACKLOG, SocketStream, UnixListener, is_trusted_uid, peer_uid
from rshell.transport.tls import TlsStream
from rshell.values import Address, Bounds

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
        audit: AuditLog,
        own: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self.addresses: list[Address] = []
        self.links: set[ServerLink] = set()
        self._host = host
        self._limits = host.limits
        self._audit = audit
        self._own = own
        self._loop = asyncio.get_running_loop()
        self._penalties = Penalties(host.limits)
        self._unfinished: set[ServerLink] = set()  # have not logged in
        self._listeners: list[Listener | UnixListener] = []

    def listen_tls(self, sockets: list[socket.socket], context: ssl.SSLContext) -> None:
        """Let in who comes by TCP on listening sockets, over TLS and with a login to do."""
        for sock in sockets:
            listener = Listener(sock, partial(self._accept_tls, context))
            self._listeners.append(listener)
            self.addresses.append(Address(host=listener.address[0], port=listener.address[1]))

    def listen_unix(self, path: Path) -> None:
        """Let in this user's own processes on a Unix socket."""
        unix = UnixListener(path)
        self._listeners += [Listener(unix.socket, self._accept_unix), unix]
        self.addresses.append(Address(host="", port=0, path=str(path)))

    def open_link(self, source: str, trusted: str | None) -> ServerLink:
        """Return a link for a byte stream; see ServerLink."""
        link = ServerLink(self._host, source, trusted, self._loop.time())
        self.links.add(link)
        self._unfinished.add(link)
        return link

    def logged_in(self, link: ServerLink) -> None:
        """Count a login that succeeded."""
        self._unfinished.discard(link)
        self._penalties.succeeded(link.source, self._loop.time())

    def login_failed(self, link: ServerLink) -> None:
        """Count a login that failed, against its source."""
        self._penalties.failed(link.source, self._loop.time())

    def link_closed(self, link: ServerLink) -> bool:
        """Forget a link that is over; return whether it had logged in."""
        self.links.discard(link)
        has_logged_in = link not in self._unfinished
        self._unfinished.discard(link)
        return has_logged_in

    def close(self) -> None:
        """Stop listening; links go on. Does nothing when closed."""
        while self._listeners:
            self._listeners.pop(0).close()  # once: a path may be another server's by now

    def _accept_tls(self, context: ssl.SSLContext, sock: socket.socket, address: Any) -> None:
        source = str(address[0])
        if not self._admits(source):
            sock.close()
            return
        link = self.open_link(source, None)
        make_stream = partial(TlsStream, link.driver, self._limits, context, server_side=True)
        self._own(self._connect(link, make_stream, sock))

    def _accept_unix(self, sock: socket.socket, _: object) -> None:
        try:
            uid = peer_uid(sock)
        except OSError:
            sock.close()  # it has gone by itself
            return
        if not is_trusted_uid(uid):
            self._audit.write("refused", {"source": "unix", "uid": uid})
            sock.close()
            return
        link = self.open_link("unix", own_name())
        self._own(self._connect(link, partial(SocketStream, link.driver, self._limits), sock))

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

    def _admits(self, source: str) -> bool:
        # Sessions that wait for their client don't count here: it may be the one that comes.
        if len(self.links) - len(self._unfinished) >= self._limits.sessions:
            return False
        if self._penalties.wait(source, self._loop.time()) > 0:
            return False
        return not early_drop(len(self._unfinished), self._limits, random.random())


class Listener:
    """Accepts on a non-blocking listening socket until closed; `accept` owns what it is given.

    `address` is what the socket is bound to, as the socket module tells it.
    """

    def __init__(self, sock: socket.socket, accept: Accept) -> None:
        self.address = sock.getsockname()
        self._socket = sock
        self._accept = accept
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
                self._socket.accept()[0].close()
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


class _Entry:
    __slots__ = ("failures", "until")

    def __init__(self) -> None:
        self.failures = 0
        self.until = 0.0  # the end of the wait, or the last failure where there is no wait


class Penalties:
    """Failed logins by source; holds at most `limits.penalty_sources` sources."""

    def __init__(self, limits: Bounds) -> None:
        self._limits = limits
        # Both in the order of the last failure, the oldest first.
        self._noted: OrderedDict[str, _Entry] = OrderedDict()
        self._waiting: OrderedDict[str, _Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._noted) + len(self._waiting)

    def failed(self, source: str, now: float) -> None:
        """Count a failed login of `source` (an IP address as text, or any other name)."""
        name = fold_source(source)
        entry = self._noted.pop(name, None) or self._waiting.pop(name, None)
        if entry is None or self._is_over(entry, now):
            entry = _Entry()
        self._make_room(now)
        entry.failures += 1
        entry.until = now + self._seconds(entry.failures)
        punished = entry.failures >= self._limits.penalty_failures
        (self._waiting if punished else self._noted)[name] = entry

    def succeeded(self, source: str, now: float) -> None:
        """Forgive a source that logged in."""
        name = fold_source(source)
        self._noted.pop(name, None)
        self._waiting.pop(name, None)

    def wait(self, source: str, now: float) -> float:
        """Return the seconds that `source` has to wait; 0.0 is welcome."""
        entry = self._waiting.get(fold_source(source))
        return max(0.0, entry.until - now) if entry is not None else 0.0

    def _seconds(self, failures: int) -> float:
        doublings = failures - self._limits.penalty_failures
        if doublings < 0:
            return 0.0
        # 2.0 ** 1024 would raise OverflowError; 2 ** 32 s are longer than any limit.
        return min(2.0 ** min(doublings, 32), self._limits.penalty_longest)

    def _is_over(self, entry: _Entry, now: float) -> bool:
        return now - entry.until >= self._limits.penalty_longest

    def _make_room(self, now: float) -> None:
        """Forget what is over, then the oldest that need not wait, then the oldest of all."""
        for table in (self._noted, self._waiting):
            while table and self._is_over(next(iter(table.values())), now):
                table.popitem(last=False)
        if len(self) and len(self) >= self._limits.penalty_sources:
            (self._noted or self._waiting).popitem(last=False)


def fold_source(source: str) -> str:
    """Return the name under which an address is counted.

    IPv6 counts by /64, IPv4 inside IPv6 as IPv4; what is no IP address counts as it is.
    """
    try:
        address = ip_address(source.partition("%")[0])
    except ValueError:
        return source
    if isinstance(address, IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(IPv6Network((int(address), 64), strict=False))


def early_drop(unfinished: int, limits: Bounds, chance: float) -> bool:
    """Decide whether to drop a new link while `unfinished` others have not logged in yet.

    `chance` is a random number in [0, 1). Never below half of `limits.unfinished_logins`, then
    the likelier the more there are, always from `unfinished_logins` on: random early drop gives
    an honest client a chance in a flood, where a hard bound would shut it out.
    """
    full = limits.unfinished_logins
    if unfinished >= full:
        return True
    half = full / 2
    return unfinished >= half and chance < (unfinished - half) / (full - half)
