"""Errors of the system, told to the other end and made into errors again.

Numbers differ between systems, names do not: what travels is "ENOSPC".
"""

from __future__ import annotations

import errno
import os

from rshell.channels.files.messages import FileNote, FileTrouble
from rshell.errors import FileError, file_error
from rshell.protocol.codec import Json
from rshell.terminal.output import printable


def as_trouble(error: OSError, path: str = "") -> Json:
    """Return the JSON that tells the other end of an error."""
    name = errno.errorcode.get(error.errno or 0, "")
    return FileTrouble(name, error.strerror or str(error), path).encode()


def as_note(what: str, path: bytes, error: OSError | None = None) -> FileNote:
    """Return the note of what befell a file."""
    shown = os.fsdecode(path)
    if error is None:
        return FileNote(what, shown)
    name = errno.errorcode.get(error.errno or 0, "")
    return FileNote(what, shown, name, error.strerror or str(error))


def from_trouble(trouble: FileTrouble | FileNote, path: str = "") -> FileError:
    """Return the error that the other end told of, fit to be shown."""
    number = getattr(errno, trouble.error, 0) if trouble.error.startswith("E") else 0
    reason = printable(trouble.reason) or (os.strerror(number) if number else "it failed")
    return file_error(number, reason, path or trouble.path)


def ours(error: OSError, path: bytes) -> FileError:
    """Return an error of this end in the same form."""
    return file_error(error.errno or 0, error.strerror or str(error), os.fsdecode(path))
