"""What was typed at prompts before: a file for each host, shared by all clients.

Entries are appended, one write each, and the file is read again at every prompt when another client
has added to it. A line that begins with a blank is not kept, as in most shells. History may hold
secrets: the file is private, in a private directory.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncGenerator, Iterable
from contextlib import suppress
from pathlib import Path

from prompt_toolkit.history import FileHistory

from rshell.errors import ConfigurationError
from rshell.security.files import private_directory, state_directory


class SharedHistory(FileHistory):
    """A history file that other clients append to as well.

    `trouble` says why nothing is kept in it, "" if it is: history is no condition of a prompt.
    """

    def __init__(self, path: Path, trouble: str = "") -> None:
        self.trouble = trouble
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            os.close(os.open(path, flags, 0o600))
        except OSError as error:
            self.trouble = f"can't write {path}: {error.strerror}."
        self._path = path
        self._size = -1
        super().__init__(str(path))

    async def load(self) -> AsyncGenerator[str, None]:
        """Yield all entries, the latest first; reads the file if it has changed."""
        with suppress(OSError):  # it was removed: what is known stays known
            size = self._path.stat().st_size
            if size != self._size:
                self._size = size
                self._loaded = False
        async for item in super().load():
            yield item

    def load_history_strings(self) -> Iterable[str]:
        """Return what is kept, the latest first; nothing where it can't be read."""
        try:
            return [*super().load_history_strings()]
        except OSError as error:
            self.trouble = self.trouble or f"can't read {self._path}: {error.strerror}."
            return []

    def append_string(self, string: str) -> None:
        """Keep an entry, unless it begins with a blank or repeats the last one."""
        if not string.strip() or string[0] in " \t":
            return
        if self._loaded_strings[:1] != [string]:
            super().append_string(string)

    def store_string(self, string: str) -> None:
        """Write an entry; one that can't be written, on a full disk, is known until the end."""
        with suppress(OSError):
            super().store_string(string.encode(errors="surrogateescape").decode(errors="replace"))


def open_history(where: str) -> SharedHistory:
    """Return the history for the server called `where`, which may be one that keeps nothing."""
    try:
        directory = private_directory(state_directory() / "history")
    except ConfigurationError as error:  # no home, or one that can't be written
        return SharedHistory(Path(os.devnull), str(error))
    return SharedHistory(directory / re.sub(r"[^A-Za-z0-9._-]", "_", where))
