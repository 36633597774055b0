"""From a process that a way in has started into the background server of its user.

The process hands its own stdin and stdout over and waits until they are done with: no byte is
copied twice, and the server outlives it. Where no server runs yet, it starts one first. It imports
little, for it is started for each link.

The socket of a server is named after what the server was made of, so those of two versions never
meet, and after the machine, for a home directory may be shared by several.

Hazards:
- A server may end because it is idle in the moment in which we come. What we hand over counts only
  when the server says so; otherwise we begin anew, and start the next one.
- Several of us may find no server at once. One starts it, and the others wait for their turn, in
  which they find it. Where locks do nothing, each starts one; the path is owned by one of them, and
  the others end.
- Whoever started us may wait until everything that holds its stderr has ended. The server holds a
  file instead.
- A server may be stopped, or a file system may have no sockets. Nobody waits for either for ever.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Optional

from rshell.errors import ConfigurationError
from rshell.execution.inheritance import given_environment

TAKEN = b"+"
_TRIES = 20
_PATIENCE = 10.0  # seconds for a server to take us
_LONGEST_PATH = 94  # bytes; the kernel takes 107 (macOS 103), and a probe has a longer name
_SAID = 64 * 1024  # bytes of what a server that did not start has said; the last line tells why
_SHOWN = 400


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
        with suppress(ConnectionResetError):  # it was killed
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
    with ExitStack() as stack:
        for attempt in range(_TRIES):
            server = connect(path)
            if server is not None:
                return server
            if attempt == 0:
                stack.enter_context(_turn(path))  # who was here before us may have started one
                continue
            said = start(argv, path, idle_exit)
            if said and not is_owned(path):
                break
    raise NoBackground(f"no background server stays at {path}: {said or 'they end at once'}")


def connect(path: str) -> Optional[socket.socket]:
    """Return a connection that the server at `path` has taken; None where none does.

    Raises NoBackground where it will not change.
    """
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        server.connect(path)
        server.settimeout(_PATIENCE)
        if server.recv(1) == TAKEN:
            server.settimeout(None)
            return server
    except (FileNotFoundError, ConnectionRefusedError, ConnectionResetError):
        pass  # there is none, or it has just ended
    except OSError as error:
        server.close()
        why = error.strerror or f"it does not answer within {_PATIENCE:g} s"
        raise NoBackground(f"can't enter the server at {path}: {why}") from error
    server.close()
    return None


@contextmanager
def _turn(path: str) -> Iterator[None]:
    """Have those who find no server wait for one that starts it."""
    import fcntl

    with ExitStack() as stack:
        # Where there is no room for it, or no lock, the server's own path decides.
        with suppress(OSError):
            file = stack.enter_context(open(f"{path}.turn", "ab"))
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def is_owned(path: str) -> bool:
    """Whether a server lives whose socket is, or is about to be, at `path`."""
    import fcntl

    try:
        with open(f"{path}.lock", "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass  # nobody has begun
    return False


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
            lines = log.read(_SAID).decode(errors="replace").strip().splitlines()
        return lines[-1][:_SHOWN] if lines else "it says nothing"
    except OSError as error:
        raise NoBackground(f"can't start a background server: {error}") from error


def hand_over(server: socket.socket, fds: Sequence[int], environment: Mapping[str, str]) -> None:
    """Give a server that has taken us descriptors, and the environment of what they come from."""
    data = json.dumps({"environment": environment}).encode() + b"\n"
    sent = socket.send_fds(server, [data], list(fds))
    server.sendall(data[sent:])


def socket_path(name: str) -> str:
    """Return where the server called `name` listens, or would, in a directory of ours.

    The home directory comes first: it is there whatever the way in, and nobody tidies it. But where
    a server listens, it stays: a disk may have filled up meanwhile. Raises NoBackground.
    """
    file = f"{name[:16]}-{machine_mark()}"
    why = "there is no place for its socket"
    found = ""
    for place in places():
        path = os.path.join(place, file)
        if len(os.fsencode(path)) > _LONGEST_PATH:
            continue
        try:
            if not found:
                os.makedirs(place, 0o700, exist_ok=True)
            _check_place(place)
            if _listens(path):
                return path
            if not found:
                _try(f"{path}.{os.urandom(4).hex()}")
                found = path
        except OSError as error:
            why = f"{place}: {error.strerror}"
    if not found:
        raise NoBackground(why)
    return found


def _check_place(place: str) -> None:
    """Raise OSError for a directory that is not ours alone."""
    status = os.lstat(place)
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(20, "not a directory")
    if status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise PermissionError(1, "it is not ours alone")


def _listens(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        return server.connect_ex(path) == 0


def state_of(path: str) -> str:
    """Return where the server at the socket `path` keeps its audit log and its jobs."""
    return f"{path}.state"


def _try(probe: str) -> None:
    """Raise OSError where there is no room for a file, or there are no sockets."""
    try:
        with open(probe, "wb") as kept:
            kept.write(b"room")
        os.unlink(probe)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.bind(probe)
    finally:
        if os.path.lexists(probe):
            os.unlink(probe)


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
    if sys.platform == "darwin":
        return server.getsockopt(0, 2)  # SOL_LOCAL, LOCAL_PEERPID
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return 0
    return int.from_bytes(server.getsockopt(socket.SOL_SOCKET, option, 12)[:4], sys.byteorder)


def _kept_descriptors(argv: Sequence[str]) -> tuple[int, ...]:
    """Return the descriptor that a bundle without a file lives in."""
    mark = "/proc/self/fd/"
    return tuple(int(word[len(mark) :]) for word in argv if word.startswith(mark))
