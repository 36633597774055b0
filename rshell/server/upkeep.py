"""What a way in finds over there, and how all that was left there is taken away.

It runs in the process that the way in has started, beside any background server. `stop` ends the
servers of every version, and removes what is in directories of theirs alone: the state of a server
that somebody installed is elsewhere.

Hazards:
- A home directory may be another machine's as well, or another container's. Their servers are not
  ours to end, and what a living server has is left to it.
- The first process of a container often waits for nobody: a server that has ended stays a zombie.
"""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import socket
import stat
import time
from collections.abc import Iterator
from typing import Any, Optional

from rshell.errors import ConfigurationError
from rshell.security.files import shells_directory
from rshell.server.enter import (
    NoBackground,
    is_owned,
    machine_mark,
    peer_pid,
    places,
    socket_path,
)

_PATIENCE = 10.0  # seconds for a server to end by itself
_AT_ONCE = 0.2  # seconds for one in which nothing runs
_LOOK = 0.01  # seconds
# And for how long each is given; at the second SIGTERM a server waits for no command.
_SIGNALS = (
    (signal.SIGTERM, _AT_ONCE),
    (signal.SIGTERM, _PATIENCE),
    (signal.SIGKILL, _AT_ONCE),
)
_BUNDLE = re.compile(r"[0-9a-f]{64}\.pyz")
_SHELLS = ("bash", "zsh", "fish", "sh", "dash", "ksh", "busybox")


def look(name: str, sent: Optional[str] = None) -> dict[str, Any]:
    """Return what there is: Python, shells, home, and the background servers, each with its pid.

    A bundle that was `sent` for this alone is removed.
    """
    from rshell.channels.process.server import user_shell
    from rshell.execution.inheritance import for_commands

    facts: dict[str, Any] = {
        "user": os.geteuid(),
        "home": os.path.expanduser("~"),
        "shell": user_shell(for_commands(os.environ)),
        "shells": [shell for shell in _SHELLS if shutil.which(shell)],
        "terminals": _can_open("/dev/ptmx"),
        "proc": os.path.isdir("/proc/self"),
        "servers": [{"path": path, "pid": pid} for path, pid in servers()],
        "openssl": shutil.which("openssl") is not None,
    }
    try:
        facts["socket"] = socket_path(name)
    except NoBackground as error:
        facts["no_socket"] = str(error)
    if sent is not None:
        os.unlink(sent)
    _remove_empty()
    return facts


def _can_open(path: str) -> bool:
    try:
        os.close(os.open(path, os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def servers() -> Iterator[tuple[str, int]]:
    """Yield the socket and the process of each background server of ours that listens here."""
    mark = f"-{machine_mark()}"
    for place in _ours():
        for file in sorted(os.listdir(place)):
            path = os.path.join(place, file)
            if not file.endswith(mark) or not stat.S_ISSOCK(os.lstat(path).st_mode):
                continue
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
                try:
                    server.connect(path)
                except OSError:
                    continue  # nobody listens
                pid = peer_pid(server)
            if pid > 0:
                yield path, pid


def _ours() -> Iterator[str]:
    for place in places():
        try:
            status = os.lstat(place)
        except OSError:
            continue
        if stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid():
            yield place


def stop(sent: Optional[str] = None) -> dict[str, Any]:
    """End every background server of ours and remove what they left; return what that was.

    A bundle that was `sent` for this alone is removed, and was not left by anybody.

    Raises ConfigurationError for what can't be removed.
    """
    from rshell.channels.shell.private import sweep

    stopped = []
    for _, pid in list(servers()):
        _end(pid)
        stopped.append(pid)
    removed: list[str] = []
    left: list[str] = []
    sweep(shells_directory())
    try:
        for place in list(_ours()):
            _clear(place, sent, removed, left)
        for path in _bundles():
            # A server that lives loads parts of itself when their turn comes.
            if not left or path == sent:
                os.unlink(path)
                if path != sent:
                    removed.append(path)
    except OSError as error:
        raise ConfigurationError(f"can't remove {error.filename}: {error.strerror}") from error
    _remove_empty()
    return {"stopped": stopped, "removed": removed, "left": left}


def _clear(place: str, sent: Optional[str], removed: list[str], left: list[str]) -> None:
    """Remove what servers left in a directory of theirs, but for what a living one has."""
    has_removed = False
    for file in sorted(os.listdir(place)):
        path = os.path.join(place, file)
        server = os.path.join(place, file.partition(".")[0])
        if is_owned(server):
            if path == server:
                left.append(server)
            continue
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)
        has_removed = has_removed or path != sent
    if has_removed:
        removed.append(place)


def _bundles() -> list[str]:
    """Return the bundles in the cache."""
    try:
        files = sorted(os.listdir(cache_directory()))
    except OSError:
        return []
    return [os.path.join(cache_directory(), file) for file in files if _BUNDLE.match(file)]


def cache_directory() -> str:
    """Return where bundles are kept (reach/stage.py)."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(home):
        home = os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(home, "rshell")


def _remove_empty() -> None:
    """Remove directories that are ours alone, where nothing is in them any more."""
    for place in places():
        for directory in (place, shells_directory(), os.path.dirname(place), cache_directory()):
            if os.path.basename(directory).startswith(("rshell", "background", "shells")):
                try:
                    os.rmdir(directory)
                except OSError:
                    pass  # it is not there, or somebody has something in it


def _end(pid: int) -> None:
    """End a server and wait until it has ended."""
    try:
        watched = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else -1
    except OSError:
        watched = -1  # it has gone, or this kernel has no such descriptors
    try:
        for number, seconds in _SIGNALS:
            os.kill(pid, number)
            deadline = time.monotonic() + seconds
            while (left := deadline - time.monotonic()) > 0:
                if watched >= 0:
                    if select.select([watched], [], [], left)[0]:
                        return
                else:
                    os.kill(pid, 0)
                    time.sleep(_LOOK)
    except ProcessLookupError:
        pass
    finally:
        if watched >= 0:
            os.close(watched)
