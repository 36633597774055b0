"""Accepting connections, without falling over when there are too many.

Strategy: our own accept loop asks for admission before a connection costs anything, and takes
a handful a turn, so a storm of connections can't starve those who are logged in. A descriptor
is kept in reserve: when the process has run out, it is spent on accepting and closing the next
connection, which otherwise would wake the loop for ever.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Callable
from typing import Any

_log = logging.getLogger("rshell.server")

_TURN = 16  # connections accepted before others get their turn
_PAUSE = 0.1  # seconds without accepting once descriptors have run out
_LOG_EVERY = 30.0  # seconds between two lines about it

Accept = Callable[[socket.socket, object], None]


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
        """Stop listening. Harmless when it is closed."""
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


def bind_tcp(host: str, port: int, backlog: int = 512) -> list[socket.socket]:
    """Return listening sockets on every address of `host`, all on one port.

    Port 0 lets the system choose one for all. Raises OSError when none could be bound.
    """
    sockets: list[socket.socket] = []
    failure: OSError | None = None
    for family, address in _places(host):
        try:
            sock = _bind_one(family, (address[0], port, *address[2:]), backlog)
        except OSError as error:
            failure = error
            # No IPv6 on this machine is no failure; a port in use is one.
            if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                continue
            break
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


def _bind_one(family: int, address: tuple[Any, ...], backlog: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setblocking(False)
        sock.bind(address)
        sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return sock
