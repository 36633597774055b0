"""From a process that a way in has started into the background server of its user.

The process hands its own stdin and stdout over and waits until they are done with: no byte is
copied twice, and the server outlives it. Where no server runs yet, it starts one first. It imports
little, for it is started for each link.

The socket of a server is named after what the server was made of, so those of two versions never
meet, and after the machine, for a home directory may be shared by several.

Hazards:
- A server may end because it is idle in the moment in which we come. What we hand over counts only
  when the server says so; otherwise we begin anew, and start the next one.
- Several of us may find no server at once. Each starts one; the path is owned by a lock, and those
  that don't get it end. All then meet at the one that has it.
- Whoever started us may wait until everything that holds its stderr has ended. The server holds a
  file instead.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Optional

from rshell.errors import ConfigurationError
from rshell.execution.inheritance import given_environment

TAKEN = b"+"
_TRIES = 20
_LONGEST_PATH = 100  # bytes; the kernel takes 107, and a lock has a longer name
_SAID = 400  # bytes of what a server that did not start has said


class NoBackground(ConfigurationError):
    """There can be no background server here; the message says why."""


def enter(
    argv: Sequence[str], name: str, idle_exit: float, greet: Optional[Callable[..., None]] = None
) -> int:
    """Hand our stdin and stdout to the server called `name`, and return when it is done with them.

    `argv` starts one where none runs, which ends after `idle_exit` seconds with nothing to do.
    Raises NoBackground.
    """
    if not all(stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) for mode in map(_mode, (0, 1))):
        raise ConfigurationError("a link needs pipes or sockets as standard input and output")
    # Ctrl-C is for the remote command; the terminal sends it to us as well.
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, lambda *_: None)  # what we start does not ignore it
    path = socket_path(name)
    with join(argv, path, idle_exit) as server:
        if greet is not None:
            greet(background=True, pid=peer_pid(server))
        hand_over(server, (0, 1), given_environment(os.environ))
        nothing = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1):
            os.dup2(nothing, fd)
        os.close(nothing)
        server.recv(1)  # it closes when it is done
    return 0


def installed() -> tuple[list[str], str]:
    """Return what starts the server of this very package, and what it is called."""
    import hashlib

    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    start = "import sys; sys.path.insert(0, sys.argv.pop(1)); "
    start += "from rshell.cli.server import run; run()"
    parts = [sys.executable]
    for place, _, files in sorted(os.walk(os.path.join(root, "rshell"))):
        for file in sorted(files):
            if not file.endswith(".pyc"):
                status = os.stat(os.path.join(place, file))
                parts.append(f"{place}/{file} {status.st_size} {status.st_mtime_ns}")
    name = hashlib.sha256("\n".join(parts).encode(errors="surrogateescape")).hexdigest()
    return [sys.executable, "-I", "-c", start, root], name


def _mode(fd: int) -> int:
    return os.fstat(fd).st_mode


def join(argv: Sequence[str], path: str, idle_exit: float) -> socket.socket:
    """Return a connection that the server at `path` has taken; start one if there is none.

    Raises NoBackground.
    """
    said = ""
    for _ in range(_TRIES):
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            server.connect(path)
            if server.recv(1) == TAKEN:
                return server
        except (FileNotFoundError, ConnectionRefusedError):
            said = start(argv, path, idle_exit)
        except ConnectionResetError:
            pass  # it has just ended
        except OSError as error:
            server.close()
            raise NoBackground(f"can't connect to {path}: {error.strerror}") from error
        server.close()
    raise NoBackground(f"no background server stays at {path}: {said or 'they end at once'}")


def start(argv: Sequence[str], path: str, idle_exit: float) -> str:
    """Start a server that listens at `path`; return once it does, or another one has the path.

    Returns what it said. Raises NoBackground.
    """
    import subprocess

    try:
        with open(f"{path}.log", "ab", buffering=0) as log:
            size = log.tell()
            started = subprocess.Popen(
                [
                    *(*argv, "--background-at", path, "--idle-exit", f"{idle_exit:g}"),
                    *("--state", state_of(path)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                pass_fds=_kept_descriptors(argv),
                cwd="/",
                start_new_session=True,
            )
        assert started.stdout is not None
        with started.stdout:
            if started.stdout.readline():
                return ""
        started.wait()
        with open(f"{path}.log", "rb") as log:
            log.seek(size)
            return log.read(_SAID).decode(errors="replace").strip()
    except OSError as error:
        raise NoBackground(f"can't start a background server: {error}") from error


def hand_over(server: socket.socket, fds: Sequence[int], environment: Mapping[str, str]) -> None:
    """Give a server that has taken us descriptors, and the environment of what they come from."""
    data = json.dumps({"environment": environment}).encode() + b"\n"
    sent = socket.send_fds(server, [data], list(fds))
    server.sendall(data[sent:])


def socket_path(name: str) -> str:
    """Return where the server called `name` listens, in a directory of ours. Raises NoBackground.

    The home directory comes first: it is there whatever the way in, and nobody tidies it.
    """
    file = f"{name[:16]}-{machine_mark()}"
    why = "there is no place for its socket"
    for place in places():
        path = os.path.join(place, file)
        if len(os.fsencode(path)) > _LONGEST_PATH:
            continue
        try:
            os.makedirs(place, 0o700, exist_ok=True)
            status = os.lstat(place)
            if not stat.S_ISDIR(status.st_mode):
                raise NotADirectoryError(20, "not a directory")
            if status.st_uid != os.geteuid() or status.st_mode & 0o077:
                raise PermissionError(1, "it is not ours alone")
            probe = f"{path}.{os.getpid()}"
            with open(probe, "wb") as kept:
                kept.write(b"room")
            os.unlink(probe)
        except OSError as error:
            why = f"{place}: {error.strerror}"
            continue
        return path
    raise NoBackground(why)


def state_of(path: str) -> str:
    """Return where the server at the socket `path` keeps its audit log and its jobs."""
    return f"{path}.state"


def places() -> list[str]:
    """Return the directories that sockets may be in, the best first."""
    state = os.environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(state):
        state = os.path.join(os.path.expanduser("~"), ".local", "state")
    own = os.path.join(state, "rshell", "background")
    return [own] + [f"{place}/rshell-{os.geteuid()}" for place in ("/tmp", "/dev/shm")]


def machine_mark() -> str:
    """Return what tells this machine, or container, from others that may share our files."""
    import hashlib

    boot = ""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot = file.read()
        boot += os.readlink("/proc/self/ns/pid")
    except OSError:
        pass
    return hashlib.sha256(f"{socket.gethostname()} {boot}".encode()).hexdigest()[:8]


def peer_pid(server: socket.socket) -> int:
    """Return the process that listens at the other end; 0 where the system does not tell."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return 0
    return int.from_bytes(server.getsockopt(socket.SOL_SOCKET, option, 12)[:4], sys.byteorder)


def _kept_descriptors(argv: Sequence[str]) -> tuple[int, ...]:
    """Return the descriptor that a bundle without a file lives in."""
    mark = "/proc/self/fd/"
    return tuple(int(word[len(mark) :]) for word in argv if word.startswith(mark))
