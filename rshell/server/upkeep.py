"""What a way in finds over there, and how all that was left there is taken away.

It runs in the process that the way in has started, beside any background server. `stop` ends the
servers of every version, and removes what is in directories of theirs alone: the state of a server
that somebody installed is elsewhere.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import time
from collections.abc import Iterator
from typing import Any, Optional

from rshell.errors import ConfigurationError
from rshell.server.enter import NoBackground, machine_mark, peer_pid, places, socket_path

_PATIENCE = 10.0  # seconds for a server to end by itself
_AT_ONCE = 0.2  # seconds for one in which nothing runs
_LOOK = 0.01  # seconds
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
    for path in _left():
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            continue
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
            try:
                server.connect(path)
                yield path, peer_pid(server)
            except OSError:
                pass  # nobody listens


def _left() -> Iterator[str]:
    """Yield what servers on this machine have left; another may have its own beside it."""
    mark = f"-{machine_mark()}"
    for place in places():
        try:
            status = os.lstat(place)
        except OSError:
            continue
        if stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid():
            for file in sorted(os.listdir(place)):
                if file.partition(".")[0].endswith(mark):
                    yield os.path.join(place, file)


def stop(sent: Optional[str] = None) -> dict[str, Any]:
    """End every background server of ours and remove what they left; return what that was.

    A bundle that was `sent` for this alone is removed, and was not left by anybody.

    Raises ConfigurationError for what can't be removed.
    """
    stopped = []
    for _, pid in list(servers()):
        _end(pid)
        stopped.append(pid)
    bundles = [*_bundles(cache_directory()), *_bundles("/dev/shm", "rshell-")]
    removed = []
    try:
        for path in [*_left(), *bundles]:
            if os.path.isdir(path):
                shutil.rmtree(path)
            else:
                os.unlink(path)
            if path != sent:
                removed.append(path)
    except OSError as error:
        raise ConfigurationError(f"can't remove {error.filename}: {error.strerror}") from error
    _remove_empty()
    return {"stopped": stopped, "removed": removed}


def cache_directory() -> str:
    """Return where bundles are kept (reach/stage.py)."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(home):
        home = os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(home, "rshell")


def _bundles(directory: str, prefix: str = "") -> list[str]:
    """Return the bundles of ours in a directory, which may be everybody's."""
    try:
        files = [f for f in os.listdir(directory) if f.startswith(prefix) and f.endswith(".pyz")]
        paths = [os.path.join(directory, file) for file in files]
        return [path for path in paths if os.lstat(path).st_uid == os.geteuid()]
    except OSError:
        return []


def _remove_empty() -> None:
    """Remove directories that are ours alone, where nothing is in them any more."""
    for place in places():
        for directory in (place, os.path.dirname(place), cache_directory()):
            if os.path.basename(directory).startswith(("rshell", "background")):
                try:
                    os.rmdir(directory)
                except OSError:
                    pass  # it is not there, or somebody has something in it


def _end(pid: int) -> None:
    """End a server and wait until it has ended; the second SIGTERM has it wait for no command."""
    for number, seconds in ((signal.SIGTERM, _AT_ONCE), (signal.SIGTERM, _PATIENCE), (9, _AT_ONCE)):
        try:
            os.kill(pid, number)
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                os.kill(pid, 0)
                time.sleep(_LOOK)
        except ProcessLookupError:
            return
