"""The way into a server: where it listens, and whom it lets in as far as the login.

Strategy: a connection is judged before it costs anything, TLS included: by how many are in
already, by the failed logins of its source, and by chance once too many logins are unfinished. On
a Unix socket the kernel says who comes. Every link is known here from its start to its end, so
that closing the server misses none.
"""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

from rshell.channels.base import own_name
from rshell.security.certificates import ALPN
from rshell.security.penalties import Penalties, early_drop
from rshell.server.audit import AuditLog
from rshell.server.listener import Listener
from rshell.server.login import LinkHost, ServerLink
from rshell.transport.sockets import SocketStream
from rshell.transport.tls import TlsStream
from rshell.transport.unix import UnixListener, is_trusted_uid, peer_uid
from rshell.values import Address


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
        self._listeners: list[Listener] = []
        self._unix_listeners: list[UnixListener] = []

    def listen_tls(self, sockets: list[socket.socket], context: ssl.SSLContext) -> None:
        """Let in who comes by TCP on listening sockets, over TLS and with a login to do."""
        for sock in sockets:
            listener = Listener(sock, partial(self._accept_tls, context))
            self._listeners.append(listener)
            self.addresses.append(Address(host=listener.address[0], port=listener.address[1]))

    def listen_unix(self, path: Path) -> None:
        """Let in this user's own processes on a Unix socket."""
        unix = UnixListener(path)
        self._unix_listeners.append(unix)
        self._listeners.append(Listener(unix.socket, self._accept_unix))
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
        """Stop listening; links go on. Harmless when closed."""
        for listener in self._listeners:
            listener.close()
        while self._unix_listeners:
            self._unix_listeners.pop().close()  # once: the path may be another server's by now

    def _accept_tls(self, context: ssl.SSLContext, sock: socket.socket, address: Any) -> None:
        source = str(address[0])
        if not self._admits(source):
            sock.close()
            return
        link = self.open_link(source, None)

        def make_stream() -> TlsStream:
            return TlsStream(link.driver, self._limits, context, alpn=ALPN, server_side=True)

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
        self._own(self._connect(link, lambda: SocketStream(link.driver, self._limits), sock))

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
        if link.link.error is not None:  # its closing found no stream to wait for
            await link.driver.done.wait()

    def _admits(self, source: str) -> bool:
        # Sessions that wait for their client don't count here: it may be the one that comes.
        if len(self.links) - len(self._unfinished) >= self._limits.sessions:
            return False
        if self._penalties.wait(source, self._loop.time()) > 0:
            return False
        return not early_drop(len(self._unfinished), self._limits, random.random())
