"""How the user's own shell is started on a terminal, with rshell's hooks behind the user's files.

The hooks are files of this package; a shell reads a copy of them in a private directory, where the
two named pipes are as well: `in` for what we tell it, `out` for what it reports. It opens them for
each use, so that commands inherit no descriptor, and hears of the directory by a variable that the
hooks take away at once. The directory (private.py) goes with the shell.

How each of them comes to read the hooks after the user's own files, and as a login shell:
- bash reads $ENV instead of any other file where it was started with --posix. The hooks turn that
  off and read what bash would have read.
- zsh finds its files in $ZDOTDIR, which is our directory; the first of them, `.zshenv`, gives the
  user's own back. Where /etc/zshenv sets another, zsh is used as it is.
- fish has an option for commands to run after its files.
"""

from __future__ import annotations

import errno
import mmap
import os
import re
import shutil
from collections.abc import Mapping
from importlib import resources
from pathlib import Path, PurePath

from rshell.channels.shell.native.output import (
    BASH_DRAWING,
    FISH_DRAWING,
    ZSH_DRAWING,
    Drawing,
)
from rshell.channels.shell.private import make_directory, places
from rshell.values import frozen

_BASH_VERSION = re.compile(rb"@\(#\)Bash version (\d{1,4})\.(\d{1,4})")
# They have no line editor of their own, or one that can't be handed a line.
_PLAIN = {"sh", "dash", "ash", "busybox", "ksh", "mksh", "pdksh", "oksh", "yash", "posh"}


@frozen
class NativeKind:
    """A shell whose line editor takes lines."""

    name: str
    drawing: Drawing
    reports_interrupts: bool = True  # of its line editor


_KINDS = {
    "bash": NativeKind("bash", BASH_DRAWING),
    "zsh": NativeKind("zsh", ZSH_DRAWING),
    "fish": NativeKind("fish", FISH_DRAWING, reports_interrupts=False),
}
# Any other program: it has the terminal until it ends.
UNKNOWN = NativeKind("", Drawing(rb"(?!)", rb"(?!)"))


def native_kind(program: str) -> NativeKind | None:
    """Return how `program` is used on a terminal; None for a plain shell, which reads lines.

    A bash before 4.4 is one: hooks can't learn what its prompt shows.
    """
    name = PurePath(program).name
    if name in _PLAIN or (name == "bash" and (0, 0) < _bash_version(program) < (4, 4)):
        return None
    return _KINDS.get(name, UNKNOWN)


def _bash_version(program: str) -> tuple[int, int]:
    """Return the version that every bash has among its strings; (0, 0) where there is none.

    That is sooner known than by running it, and by reading the file no startup file is read.
    """
    try:
        with (
            Path(program).open("rb") as file,
            mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as text,
        ):
            found = _BASH_VERSION.search(text)
            return (0, 0) if found is None else (int(found[1]), int(found[2]))
    except (OSError, ValueError):  # nothing there to be read
        return 0, 0


class Meeting:
    """The private directory of a shell, with the pipes `told` and `said` that we hold open."""

    directory: Path

    def __init__(self, kind: NativeKind) -> None:
        """Make it. Raises OSError where there is no room for it."""
        self.told = self.said = -1
        error = OSError(errno.ENOENT, "there is no place for a directory")
        for place in places():
            try:
                self._make(kind, place)
                return
            except OSError as trouble:  # such as a file system without pipes
                error = trouble
        raise error

    def _make(self, kind: NativeKind, place: Path) -> None:
        self.directory = make_directory(place)
        try:
            name = f"hooks.{kind.name}"
            hooks = resources.files("rshell.channels.shell.native").joinpath(name)
            if kind.name == "zsh":
                name = ".zshenv"
            (self.directory / name).write_bytes(hooks.read_bytes())
            for pipe in ("in", "out"):
                os.mkfifo(self.directory / pipe, 0o600)
            # Both ways, so that neither end ever waits for the other to open.
            flags = os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC
            self.told = os.open(self.directory / "in", flags)
            self.said = os.open(self.directory / "out", flags)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Remove the directory and close the pipes, while nobody else owns them."""
        self.remove()
        fds, self.told, self.said = (self.told, self.said), -1, -1
        for fd in fds:
            if fd >= 0:
                os.close(fd)

    def remove(self) -> None:
        """Remove the directory; what is open stays so. May be called again."""
        shutil.rmtree(self.directory, ignore_errors=True)


def start_command(
    kind: NativeKind,
    program: str,
    environment: Mapping[str, str],
    meeting: Path | None,
    *,
    login: bool,
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return the argv and the environment that start `program`, with its hooks in `meeting`."""
    env = dict(environment)
    as_login = ("-l",) if login else ()
    if meeting is None:
        return (program, *as_login) if kind is not UNKNOWN else (program,), env
    env["RSHELL_DIR"] = str(meeting)
    if kind.name == "bash":
        if "ENV" in env:
            env["RSHELL_ENV"] = env["ENV"]
        env["ENV"] = "$RSHELL_DIR/hooks.bash"  # which bash expands
        return (program, "--posix", *as_login), env
    if kind.name == "zsh":
        if "ZDOTDIR" in env:
            env["RSHELL_ZDOTDIR"] = env["ZDOTDIR"]
        env["ZDOTDIR"] = str(meeting)
        return (program, *as_login), env
    return (program, *as_login, "--init-command", "source $RSHELL_DIR/hooks.fish"), env
