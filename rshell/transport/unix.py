"""Unix sockets: who is at the other end, and a listening socket that replaces nobody.

Strategy: the kernel names the peer's user, which is all the login a Unix socket needs, at both
ends. A lock file says whether a listener lives; only a path whose lock is free is replaced.

Hazard: asyncio's `start_unix_server` silently takes the path from a live listener, and on
Python 3.12 and older leaves the file behind. Neither happens here.
"""

from __future__ import annotations

import fcntl
import logging
import os
import socket
import struct
import sys
from pathlib import Path

from rshell.errors import ConfigurationError

_log = logging.getLogger("rshell.server")

_LOCAL_PEERCRED = 1  # macOS: getsockopt(SOL_LOCAL, LOCAL_PEERCRED) gives a struct xucred
_SOL_LOCAL = 0


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

    def __init__(self, path: Path, backlog: int = 512) -> None:
        self.path = path
        lock = path.with_name(path.name + ".lock")
        try:
            self._lock = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigurationError(f"can't open {lock}: {error.strerror}") from error
        try:
            self._claim()
            self.socket = self._listen(backlog)
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

    def _listen(self, backlog: int) -> socket.socket:
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
        sock.listen(backlog)
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
