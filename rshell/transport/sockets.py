"""Sockets: the byte stream on one, who is at the other end of a Unix socket, and its listener.

One `asyncio.BufferedProtocol` reads into a buffer that all streams of a thread share, because an
event loop reads one socket at a time and the driver keeps nothing of it. An idle stream has no
buffer. Unix sockets carry frames as they are; TLS builds on the same stream.

The kernel names the user at the other end of a Unix socket, and both ends need no other login. A
lock file says whether a listener lives; only a path whose lock is free is replaced.

Hazard: the kernel would take megabytes for a peer that does not read. TCP_NOTSENT_LOWAT and a
small transport buffer keep bulk data in the channels, where control frames can overtake it.

Hazard: what is on its way is bounded by the socket's send buffer as well, which the kernel grows to
4 MiB and no further; over 100 ms that is 27 MB/s, whatever our windows allow. Where the system lets
a program ask for more, it is asked for. It is a bound and not a reservation, and TCP_NOTSENT_LOWAT
keeps what waits there small all the same.

Hazard: cubic and reno take every lost packet for a queue that is full. With one of a hundred lost
at 100 ms they move 0.6 MB/s where bbr moves 17; bbr also keeps the queues of the path short, in
which keys would wait behind bulk data. Where the administrator allows bbr to this user it is used,
and otherwise what the system has.

Hazard: TCP_USER_TIMEOUT ends connections that live. It counts from the moment at which the next
segment, up to 64 KiB, no longer fits into the peer's window, and a slow peer's window may stay
smaller than that for ever. Silence is the link's to judge, and its PING does.

Hazard: asyncio's `start_unix_server` silently takes the path from a live listener, and on
Python 3.12 and older leaves the file behind. Neither happens here.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import functools
import logging
import os
import socket
import struct
import sys
import threading
from pathlib import Path
from typing import cast

from rshell.errors import ConfigurationError
from rshell.protocol.frames import Buffer
from rshell.transport.driver import Driver
from rshell.values import Bounds

READ_SIZE = 256 * 1024
BACKLOG = 512  # connections that wait to be accepted
_JOIN = 16 * 1024  # below this, one copy is cheaper than two writes
_NOTSENT = 128 * 1024
_UNIX_BUFFER = 512 * 1024
_REST = 16  # reads, which is more than a kernel holds for a socket
_KEPT = 8 * 1024 * 1024  # bytes that may stay free in the heap
_LOCAL_PEERCRED = 1  # macOS: getsockopt(SOL_LOCAL, LOCAL_PEERCRED) gives a struct xucred
_SOL_LOCAL = 0

_log = logging.getLogger("rshell.server")


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

    def __init__(self, driver: Driver, limits: Bounds) -> None:
        self._driver = driver
        self._limit = limits.transport_buffer
        self._transport: asyncio.WriteTransport | None = None
        self._is_closing = False

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport and begin."""
        self._transport = cast(asyncio.WriteTransport, transport)
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

    def eof_received(self) -> bool | None:
        """Take the end; asyncio closes the transport."""
        self._driver.receive_eof()
        return None

    def resume_writing(self) -> None:
        """Refill the transport."""
        self._driver.stream_writable()

    # What the driver calls.

    def write(self, buffers: list[Buffer]) -> None:
        """Write all buffers, in order."""
        if self._transport is not None and not self._is_closing:
            for buffer in join_small(buffers):
                if self._transport.is_closing():
                    return  # it is lost, which we hear of later; asyncio would warn of each write
                self._transport.write(buffer)

    def room(self) -> int:
        """Return how many bytes may be written before the limit is reached."""
        if self._transport is None or self._is_closing:
            return 0
        return self._limit - self._transport.get_write_buffer_size()

    def pause(self) -> None:
        """Leave what comes to the kernel."""
        if self._transport is not None:
            cast(asyncio.Transport, self._transport).pause_reading()

    def resume(self) -> None:
        """Read again."""
        if self._transport is not None:
            cast(asyncio.Transport, self._transport).resume_reading()

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
    ):
        option = getattr(socket, name, None)  # not every kernel has every one
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
    with contextlib.suppress(AttributeError, OSError):  # it costs only speed
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"bbr")
    if more := _send_buffer():
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, more)


@functools.cache
def _send_buffer() -> int:
    """Return what to ask for as a send buffer: 0 where the kernel's own growth ends no lower."""
    try:
        largest = int(Path("/proc/sys/net/core/wmem_max").read_text())
        grown = int(Path("/proc/sys/net/ipv4/tcp_wmem").read_text().split()[2])
    except (OSError, ValueError, IndexError):
        return 0  # another system, or one that tells nothing
    return largest if 2 * largest > grown else 0  # the kernel doubles what it is asked for


def peer_uid(sock: socket.socket) -> int:
    """Return the user id of the process at the other end of a Unix socket."""
    if sys.platform == "darwin":
        return int(struct.unpack("=II", sock.getsockopt(_SOL_LOCAL, _LOCAL_PEERCRED, 8))[1])
    packed = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return int(struct.unpack("=iII", packed)[1])


def is_trusted_uid(uid: int) -> bool:
    """Whether a peer of this user is trusted: our own user, or root, who could be us anyway."""
    return uid in (os.getuid(), 0)


class UnixListener:
    """A listening Unix socket, mode 0600, with the lock that owns its path.

    Raises ConfigurationError when another server listens there or the path is unusable.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        lock = path.with_name(path.name + ".lock")
        try:
            self._lock = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigurationError(f"can't open {lock}: {error.strerror}") from error
        try:
            self._claim()
            self.socket = self._listen()
        except BaseException:
            os.close(self._lock)
            raise

    def _claim(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigurationError(
                f"another server listens at {self.path}. End it, or choose another path."
            ) from error
        if self.path.exists() and not self.path.is_socket():
            raise ConfigurationError(f"{self.path} is there and is no socket. Choose another path.")
        self.path.unlink(missing_ok=True)

    def _listen(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        mask = os.umask(0o177)
        try:
            sock.bind(str(self.path))
        except OSError as error:
            sock.close()
            raise ConfigurationError(
                f"can't listen at {self.path}: {error.strerror or error}"
            ) from error
        finally:
            os.umask(mask)
        sock.listen(BACKLOG)
        sock.setblocking(False)
        return sock

    def close(self) -> None:
        """Stop listening and remove the path. The lock file stays: removing it would race."""
        self.socket.close()
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:  # its directory is not ours to change any more
            _log.warning("can't remove %s: %s", self.path, error.strerror)
        finally:
            os.close(self._lock)
