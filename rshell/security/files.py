"""Files and directories that no other user may read, and where they live.

A secret is worth what its file's mode is worth, so every reader checks the owner
and the mode before it believes a byte, whoever begins to use a directory checks those above it,
and every writer replaces the whole file at once: a
temporary file in the same directory, written out to the disk, then renamed. A reader sees the old
content or the new, never a half. Who reads, changes and writes holds `locked` meanwhile.

Hazards:
- A lock file is never removed: a process that waits on the old one and a process that made a
  new one would both hold "the" lock.
- Whoever may write in a directory may put another in the place of what is in it. Ours, root's, and
  those with the sticky bit are trusted; so is a group that holds its user alone, by its number.
  Where root is not the machine's (a container), directories of the machine's root have the kernel's
  stand-in for an unknown owner.
- Opening a pipe blocks until somebody writes, hence O_NONBLOCK before the check for a regular
  file.

A missing file is FileNotFoundError, a normal state at a first start; everything else that is
wrong with a file is ConfigurationError, with what to do.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rshell.errors import ConfigurationError

LARGEST_FILE = 16 * 1024 * 1024  # bytes; ours are far smaller, and /dev/zero is endless

_FOR_OTHERS = 0o077
_ALL_USERS = ["0", "0", "4294967295"]  # of a uid_map: the numbers of users are the machine's own


def private_directory(path: Path) -> Path:
    """Make sure that `path` is a directory of ours that nobody else may enter, and return it.

    Missing directories on the way are made too, mode 0700. Raises ConfigurationError if it is a
    symbolic link or no directory, belongs to somebody else, or has group or other permissions, or
    if others may replace it in a directory above it.
    """
    _make_private(path)
    _check_above(path)
    return path


def _make_private(path: Path) -> None:
    with _explained("make the directory", path):
        missing = [directory for directory in (path, *path.parents) if not directory.exists()]
        for directory in reversed(missing):
            try:
                directory.mkdir(0o700)
            except FileExistsError:
                pass  # by another process meanwhile, or a dangling link; looked at below
        status = path.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise ConfigurationError(f"{path} is not a directory (links don't count). Move it away.")
    _check_private(path, status, "700")


def read_private(path: Path) -> bytes:
    """Return the content of a regular file of ours that nobody else may read.

    Raises FileNotFoundError if there is none, ConfigurationError if it is anything else.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    with _explained("read", path, passing=FileNotFoundError):
        descriptor = os.open(path, flags)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ConfigurationError(f"{path} is not a regular file. Move it away.")
            _check_private(path, status, "600")
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                data = file.read(LARGEST_FILE + 1)
        finally:
            os.close(descriptor)
    if len(data) > LARGEST_FILE:
        raise ConfigurationError(f"{path} is larger than {LARGEST_FILE} bytes. Move it away.")
    return data


def check_secret(path: Path) -> None:
    """Raise ConfigurationError unless `path` is a file that we and root alone may read or replace.

    For a secret of somebody else's making, such as the key of a certificate: links are followed,
    and a group may read what is root's (root:ssl-cert).
    """
    with _explained("read", path):
        status = path.stat()
        above = path.resolve()
    if not stat.S_ISREG(status.st_mode):
        raise ConfigurationError(f"{path} is not a regular file.")
    if status.st_uid != os.geteuid() and status.st_uid != 0:
        raise ConfigurationError(
            f"{path} belongs to user {status.st_uid}, neither to you nor to root. "
            "Give a file that nobody else may read."
        )
    mode = stat.S_IMODE(status.st_mode)
    if mode & (0o037 if status.st_uid == 0 else 0o077):
        raise ConfigurationError(
            f"{path} is open to other users (mode {mode:04o}). Run: chmod go-rwx {path}"
        )
    _check_above(above)


def write_private(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Make `data` the whole content of `path`, mode 0600, in a private directory; all or nothing.

    A file or a link that was there is replaced; a link is not followed. On the disk when this
    returns, unless `durable` is False: then it outlives this process, but perhaps no power cut,
    and nothing waits for the disk. What is above the directory is not looked at again, which would
    cost as much as the writing. Raises ConfigurationError.
    """
    directory = path.parent
    _make_private(directory)
    new = directory / f".{path.name}.{secrets.token_hex(8)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with _explained("write", path):
        try:
            with os.fdopen(os.open(new, flags, 0o600), "wb") as file:
                file.write(data)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            new.replace(path)
        except BaseException:
            new.unlink(missing_ok=True)
            raise
        if durable:
            _sync_directory(directory)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the one lock for changing `path`, between processes and threads; waits for it.

    The lock is the file `path` + ".lock" in the same private directory. Raises ConfigurationError.
    """
    directory = private_directory(path.parent)
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    with _explained("lock", path):
        descriptor = os.open(directory / f"{path.name}.lock", flags, 0o600)
    try:
        with _explained("lock", path):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def state_directory() -> Path:
    """Return where keys, certificates and tokens live: `$XDG_STATE_HOME/rshell`.

    Without it `~/.local/state/rshell`. The directory is not made here.
    """
    return _base_directory("XDG_STATE_HOME", ".local/state") / "rshell"


def server_directory() -> Path:
    """Return the directory where this user's server keeps its key, tokens and audit log."""
    return state_directory() / "server"


def shells_directory() -> Path:
    """Return where this user's shells have their private directories, while they run."""
    return state_directory() / "shells"


def config_directory() -> Path:
    """Return where a person's settings live: `$XDG_CONFIG_HOME/rshell` or `~/.config/rshell`."""
    return _base_directory("XDG_CONFIG_HOME", ".config") / "rshell"


def _base_directory(variable: str, default: str) -> Path:
    # The XDG specification wants relative paths ignored.
    base = Path(os.environ.get(variable, ""))
    if base.is_absolute():
        return base
    try:
        return Path.home() / default
    except (RuntimeError, KeyError) as error:  # the latter before Python 3.10
        raise ConfigurationError(f"no home directory is known. Set HOME or {variable}.") from error


def _check_private(path: Path, status: os.stat_result, mode: str) -> None:
    if status.st_uid != os.geteuid():
        raise ConfigurationError(
            f"{path} belongs to user {status.st_uid}, not to you (user {os.geteuid()}). "
            "Run this as its owner, or name another place."
        )
    if status.st_mode & _FOR_OTHERS:
        found = stat.S_IMODE(status.st_mode)
        if status.st_mode & stat.S_ISVTX:  # such as /tmp, whose mode is right for what it is
            raise ConfigurationError(
                f"{path} is shared by all users (mode {found:04o}). "
                f"Name a directory of your own, such as {path / 'rshell'}."
            )
        raise ConfigurationError(
            f"{path} is open to other users (mode {found:04o}). Run: chmod {mode} {path}"
        )


def _check_above(path: Path) -> None:
    """Raise ConfigurationError if another user may replace `path` or a directory above it."""
    with _explained("look at what is above", path):
        above = path.absolute().parent
        # A link on the way can be replaced where it is, and what it names where that is.
        places = dict.fromkeys((above, *above.parents, above.resolve(), *above.resolve().parents))
        found = [(place, place.lstat()) for place in places]
    for place, status in found:
        if status.st_uid not in (0, os.geteuid()) and not _is_unknown_root(status):
            raise ConfigurationError(
                f"{place}, in which {path} lies, belongs to user {status.st_uid}, "
                "who could replace it. Name another place."
            )
        writers = status.st_mode & 0o022
        if status.st_gid == 0 or status.st_gid == status.st_uid == os.geteuid():
            writers &= 0o002
        if writers and not stat.S_ISLNK(status.st_mode) and not status.st_mode & stat.S_ISVTX:
            raise ConfigurationError(
                f"{place}, in which {path} lies, can be written by other users "
                f"(mode {stat.S_IMODE(status.st_mode):04o}). Run: chmod go-w {place}"
            )


def _is_unknown_root(status: os.stat_result) -> bool:
    """Return whether an owner is the stand-in for users who have no number here."""
    try:
        unknown = int(Path("/proc/sys/kernel/overflowuid").read_text(encoding="ascii"))
        users = Path("/proc/self/uid_map").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return False
    return status.st_uid == unknown and users != _ALL_USERS


def _sync_directory(directory: Path) -> None:
    """Bring the rename itself to the disk."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _explained(
    action: str, path: Path, *, passing: type[OSError] | tuple[()] = ()
) -> Iterator[None]:
    """Turn every OSError but `passing` into a ConfigurationError."""
    try:
        yield
    except passing:
        raise
    except OSError as error:
        raise ConfigurationError(f"can't {action} {path}: {error.strerror}.") from error
