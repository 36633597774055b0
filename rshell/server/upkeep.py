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
from typing import Any

from rshell.errors import ConfigurationError
from rshell.server.enter import (
    NoBackground,
    is_owned,
    machine_name,
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


def look(name: str) -> dict[str, Any]:
    """Return what there is: Python, shells, home, and the background servers, each with its pid."""
    from rshell.execution.inheritance import for_commands

    facts: dict[str, Any] = {
        "user": os.geteuid(),
        "home": os.path.expanduser("~"),
        "shell": for_commands(os.environ).get("SHELL", ""),
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
    return facts


def _can_open(path: str) -> bool:
    try:
        os.close(os.open(path, os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def servers() -> Iterator[tuple[str, int]]:
    """Yield the socket and the process of each background server of ours that listens here."""
    for place in _ours():
        for file in sorted(os.listdir(place)):
            path = os.path.join(place, file)
            is_here = file.endswith(f"-{machine_name()}")
            if not is_here or not stat.S_ISSOCK(os.lstat(path).st_mode):
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


def stop() -> dict[str, Any]:
    """End every background server of ours and remove what they left; return what that was.

    Raises ConfigurationError for what can't be removed.
    """
    stopped = []
    for _, pid in list(servers()):
        _end(pid)
        stopped.append(pid)
    removed: list[str] = []
    left: list[str] = []
    try:
        for place in list(_ours()):
            _clear(place, removed, left)
        if not left:  # a server that lives loads parts of itself when their turn comes
            _clear(cache_directory(), removed, left)
    except OSError as error:
        raise ConfigurationError(f"can't remove {error.filename}: {error.strerror}") from error
    return {"stopped": stopped, "removed": removed, "left": left}


def cache_directory() -> str:
    """Return where the bundle is kept (as reach/stage.py has it)."""
    cache = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(cache):
        cache = os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(cache, "rshell")


def _clear(place: str, removed: list[str], left: list[str]) -> None:
    """Remove what servers and bundles left in `place`, but for what a living server has."""
    try:
        files = sorted(os.listdir(place))
    except FileNotFoundError:
        return
    is_cache = place == cache_directory()
    for file in files:
        path = os.path.join(place, file)
        if is_cache and not _BUNDLE.match(file):
            continue
        server = os.path.join(place, file.partition(".")[0])
        if is_owned(server):
            if file.endswith(".lock"):
                left.append(server)
        elif os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)
    try:
        os.rmdir(place)
    except OSError:
        if not left and not is_cache:
            raise
    else:
        removed.append(place)
    parent = os.path.dirname(place)
    if os.path.basename(parent) == "rshell":
        try:
            os.rmdir(parent)
        except OSError:
            pass  # others have something there


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
