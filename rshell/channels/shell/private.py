"""The private directories of shells, and what killed servers have left of them.

They are among the user's state, for other places may be swept while a shell stays for weeks. Each
goes with its shell. What a killed server has left, the next one removes: nobody reads the pipe
`out` of a native shell, or listens at the socket of its errands.

Hazard: machines may share the place. What another one has made is left alone.
"""

from __future__ import annotations

import errno
import glob
import os
import shutil
import socket
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from rshell.errors import ConfigurationError
from rshell.security.files import private_directory, shells_directory

SOCKET = ".client"  # hidden, as shells list the directory for names of commands
_MADE_SECONDS = 60.0  # a directory is at work after that, or was left behind
_ERRANDS = "errands-"  # servers before there were errands leave these alone


def places() -> list[Path]:
    """Return where a private directory can be, the best first; a system may have no such place."""
    found = []
    with suppress(ConfigurationError, OSError):
        place = private_directory(shells_directory())
        sweep(place)
        found.append(place)
    with suppress(OSError):
        found.append(Path(tempfile.gettempdir()))
    return found


def make_directory(place: Path, *, for_errands: bool = False) -> Path:
    """Make a private directory in `place`. Raises OSError."""
    prefix = (_ERRANDS if for_errands else "") + _prefix()
    return Path(tempfile.mkdtemp(prefix=prefix, dir=place))  # 0700


def sweep(place: Path) -> None:
    """Remove what servers that were killed have left."""
    for mark in ("", _ERRANDS):
        for directory in place.glob(glob.escape(mark + _prefix()) + "*"):
            with suppress(OSError):
                is_made = time.time() - directory.stat().st_mtime > _MADE_SECONDS
                if is_made and not (_is_listened_to(directory) if mark else _is_read(directory)):
                    shutil.rmtree(directory, ignore_errors=True)


def _prefix() -> str:
    """Return what directories of this machine begin with."""
    return os.uname().nodename.replace("/", "") + "-"


def _is_read(directory: Path) -> bool:
    try:
        os.close(os.open(directory / "out", os.O_WRONLY | os.O_NONBLOCK))
    except OSError as error:
        return error.errno not in (errno.ENXIO, errno.ENOENT)
    return True


def _is_listened_to(directory: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(directory / SOCKET))
        except OSError as error:
            return error.errno not in (errno.ECONNREFUSED, errno.ENOENT)
    return True
