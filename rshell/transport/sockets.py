"""Byte streams on sockets: plain for Unix sockets, and the base of TLS.

Strategy: one `asyncio.BufferedProtocol` reads into a buffer that all streams of a thread
share, because an event loop reads one socket at a time and the driver keeps nothing of it.
An idle stream so costs no buffer at all.

Hazard: the kernel would take megabytes for a peer that does not read. TCP_NOTSENT_LOWAT and a
small transport buffer keep bulk data in the channels, where control frames can overtake it.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from typing import cast

from rshell.protocol.frames import Buffer
from rshell.transport.driver import Driver
from rshell.values import Limits

READ_SIZE = 256 * 1024
_JOIN = 16 * 1024  # below this, one copy is cheaper than two writes
_NOTSENT = 128 * 1024
_UNIX_BUFFER = 512 * 1024
_REST = 16  # reads, which is more than a kernel holds for a socket
_KEPT = 8 * 1024 * 1024  # bytes that may stay free in the heap


class _Shared(threading.local):
    """The buffers that all streams of a thread take turns to use."""

    def __init__(self) -> None:
        self.received = memoryview(bytearray(READ_SIZE))
        self.plain = memoryview(bytearray(READ_SIZE))


shared = _Shared()

# glibc gives free memory back once there is twice the size of the largest mapped block that was
# ever freed, and bulk data then pays for the same pages again and again. Freeing one large block,
# whose pages are never touched, ends that; without glibc it does nothing.
bytes(_KEPT // 2)


def join_small(buffers: list[Buffer]) -> list[Buffer]:
    """Join neighbouring small buffers, so that a burst of control frames is one write."""
    if len(buffers) < 2 or sum(map(len, buffers)) <= _JOIN:
        return [b"".join(buffers)] if len(buffers) > 1 else buffers
    joined: list[Buffer] = []
    small: list[Buffer] = []
    for buffer in buffers:
        if len(buffer) < _JOIN:
            small.append(buffer)
            continue
        if small:
            joined.append(b"".join(small))
            small = []
        joined.append(buffer)
    if small:
        joined.append(b"".join(small))
    return joined


class SocketStream(asyncio.BufferedProtocol):
    """Frames on a connected stream socket, as they are."""

    def __init__(self, driver: Driver, limits: Limits) -> None:
        self._driver = driver
        self._limit = limits.transport_buffer
        self._transport: asyncio.Transport | None = None
        self._is_closing = False

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport and begin."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=self._limit // 2, low=self._limit // 4)
        tune_socket(transport.get_extra_info("socket"))
        self._driver.stream_opened(self)
        if not self._is_closing:
            self._begin()

    def _begin(self) -> None:
        self._driver.stream_ready()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Lend the shared buffer for one read."""
        return shared.received

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was read."""
        self._driver.receive_data(shared.received[:nbytes])

    def eof_received(self) -> bool | None:
        """Take the end; asyncio closes the transport."""
        self._driver.receive_eof()
        return None

    def resume_writing(self) -> None:
        """Refill the transport."""
        self._driver.stream_writable()

    def connection_lost(self, exc: Exception | None) -> None:
        """Take the end of the socket."""
        try:
            if isinstance(exc, ConnectionError) and self._transport is not None:
                self._read_rest(self._transport.get_extra_info("socket").fileno())
        finally:
            self._transport = None
            self._driver.stream_lost(exc)

    def _read_rest(self, fd: int) -> None:
        """Take what had come before a write of ours failed: it may say why there is nobody."""
        self._is_closing = True  # so nothing more is written
        for _ in range(_REST):
            try:
                size = os.readv(fd, [shared.received])
            except OSError:
                return  # there is no more
            if not size:
                return
            self.buffer_updated(size)

    # What the driver calls.

    def write(self, buffers: list[Buffer]) -> None:
        """Write all buffers, in order."""
        if self._transport is not None and not self._is_closing:
            for buffer in join_small(buffers):
                self._transport.write(buffer)

    def room(self) -> int:
        """Return how many bytes may be written before the limit is reached."""
        if self._transport is None or self._is_closing:
            return 0
        return self._limit - self._transport.get_write_buffer_size()

    def close(self) -> None:
        """Write what is kept, then close."""
        if not self._is_closing and self._transport is not None:
            self._is_closing = True
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._is_closing = True
        if self._transport is not None:
            self._transport.abort()


def tune_socket(sock: socket.socket) -> None:
    """Set what keeps latency, kernel memory and the discovery of dead peers in bounds."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        # A block of bulk data should fit, or its rest is copied and waits for another turn.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _UNIX_BUFFER)
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_NOTSENT_LOWAT", _NOTSENT),
        ("TCP_KEEPIDLE", 30),
        ("TCP_KEEPINTVL", 10),
        ("TCP_KEEPCNT", 3),
        ("TCP_USER_TIMEOUT", 60_000),
    ):
        option = getattr(socket, name, None)  # not every kernel has every one
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
