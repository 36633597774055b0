"""What rshell-get and rshell-put are asked for: their arguments, and what there is of it here.

Hazard: a tree may be large, and somebody waits. It is counted for a moment only, and then the
person is told that there is more.
"""

from __future__ import annotations

import getopt
import os
import stat
import time
from collections.abc import Sequence

from rshell.channels.shell.messages import ERRAND_PATHS, Errand
from rshell.errors import LocalProtocolError
from rshell.values import frozen

COMMANDS = {"rshell-get": "get", "rshell-put": "put"}
_COUNTING_SECONDS = 0.5
_HELP = {
    "get": """\
usage: rshell-get [-r] FILE...

Send files of this machine to the person at the other end, into the directory in which their rshell
was started. They are asked each time.

  -r, --recursive   directories too, with all that is in them

The status is 0 where everything arrived, 1 where something did not or the answer was no, and 255
where nobody could be asked.
""",
    "put": """\
usage: rshell-put [-r] [FILE...]

Have the person at the other end send files of their machine into this directory. They are asked
each time. A FILE is relative to the directory in which their rshell was started; ~ is their home,
and a quoted '*.log' fits names there. Without a FILE the person is asked which.

  -r, --recursive   directories too, with all that is in them

The status is 0 where everything arrived, 1 where something did not or the answer was no, and 255
where nobody could be asked.
""",
}


class Unwished(Exception):
    """There is nothing to be asked for: `status` and a text say why to the one who typed it."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@frozen
class Wish:
    """A command line: what `name` is to do in the directory `cwd`."""

    name: str
    cwd: str
    paths: tuple[str, ...]
    recursive: bool

    @classmethod
    def parse(cls, words: Sequence[str]) -> Wish:
        """Read what a command has sent: its name, its directory, and its arguments.

        Raises Unwished.
        """
        name, cwd, *arguments = words
        if name not in COMMANDS or not os.path.isabs(cwd):
            raise Unwished(255, f"{name[:80]!r} is no command of rshell's, or has no directory")
        try:
            pairs, paths = getopt.gnu_getopt(arguments, "rRh", ["recursive", "help"])
        except getopt.GetoptError as error:
            raise Unwished(255, f"{error.msg}. See {name} --help.") from None
        given = {option for option, _ in pairs}
        if given & {"-h", "--help"}:
            raise Unwished(0, _HELP[COMMANDS[name]])
        if not all(paths) or not (paths or COMMANDS[name] == "put"):
            raise Unwished(255, f"say which files. See {name} --help.")
        if len(paths) > ERRAND_PATHS:
            raise Unwished(255, f"{len(paths)} paths are too many; send a directory, with -r")
        return cls(name, cwd, tuple(paths), bool(given & {"-r", "-R", "--recursive"}))

    def look(self) -> Errand:
        """Return what is to be asked of the client. Raises Unwished, e.g. where there is no file.

        It looks at the disk, and takes a while.
        """
        try:
            if COMMANDS[self.name] == "put":
                return Errand(1, "put", self.cwd, self.paths, recursive=self.recursive)
            return self._look_here()
        except LocalProtocolError as error:
            raise Unwished(255, str(error)) from error

    def _look_here(self) -> Errand:
        files: list[str] = []
        directories: list[str] = []
        count = size = 0
        for path in self.paths:
            place = named_place(os.path.join(self.cwd, path))
            try:
                found = os.stat(place)
            except OSError as error:
                raise Unwished(1, f"{path}: {error.strerror}") from error
            if stat.S_ISREG(found.st_mode):
                files.append(place)
                count, size = count + 1, size + found.st_size
            elif not stat.S_ISDIR(found.st_mode):
                raise Unwished(1, f"{path}: it is no file or directory")
            elif not self.recursive:
                raise Unwished(1, f"{path}: it is a directory; those need -r")
            else:  # one that is named by a link is sent as what it is
                directories.append(os.path.realpath(place))
        names = [os.path.basename(place) for place in (*files, *directories)]
        if "" in names:
            raise Unwished(1, "/ can't be sent as a whole; name what is in it")
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise Unwished(1, f"two of them are called {twice}; send one after the other")
        inside, held, more = count_trees(directories)
        return Errand(
            1,
            "get",
            self.cwd,
            tuple(files),
            tuple(directories),
            self.recursive,
            count + inside,
            size + held,
            more,
        )


def named_place(path: str) -> str:
    """Return an absolute path with its last part as it is, and no link in what is before that."""
    stripped = path.rstrip("/")
    before, name = os.path.split(stripped)
    if name in ("", ".", ".."):
        return os.path.realpath(stripped or "/")
    return os.path.join(os.path.realpath(before), name)


def count_trees(
    directories: Sequence[str], seconds: float = _COUNTING_SECONDS
) -> tuple[int, int, bool]:
    """Return how many files there are below, their bytes, and whether there may be more."""
    deadline = time.monotonic() + seconds
    count = size = 0
    waiting = list(directories)
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if time.monotonic() > deadline:
                        return count, size, True
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    elif entry.is_file(follow_symlinks=False):
                        count += 1
                        size += entry.stat(follow_symlinks=False).st_size
        except OSError:
            continue  # the transfer says so
    return count, size, False
