"""Errors that the other end told of are Python's own kinds, and fit to be shown."""

from __future__ import annotations

import errno

import pytest

from rshell.channels.files.messages import FileNote, FileTrouble
from rshell.channels.files.trouble import as_note, as_trouble, from_trouble, ours
from rshell.errors import FileError, RshellError, file_error


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOENT, FileNotFoundError),
        (errno.EEXIST, FileExistsError),
        (errno.EACCES, PermissionError),
        (errno.EPERM, PermissionError),
        (errno.EISDIR, IsADirectoryError),
        (errno.ENOTDIR, NotADirectoryError),
        (errno.ENOSPC, OSError),
    ],
)
def test_an_error_keeps_its_kind_on_the_way(number: int, kind: type[OSError]) -> None:
    told = from_trouble(FileTrouble.decode(as_trouble(OSError(number, "why"))), "a/path")
    for error in (
        told,
        ours(OSError(number, "why"), b"a/path"),
        file_error(number, "why", "a/path"),
    ):
        assert isinstance(error, kind) and isinstance(error, FileError)
        assert isinstance(error, RshellError)
        assert (error.errno, error.strerror, error.filename) == (number, "why", "a/path")


def test_what_the_other_end_says_reaches_no_terminal_as_it_is() -> None:
    error = from_trouble(FileTrouble("ENOENT", "\x1b[31mred"))
    assert "\x1b" not in str(error) and error.errno == errno.ENOENT
    unknown = from_trouble(FileNote("failed", "p", "ENONSENSE", ""))
    assert (unknown.errno, unknown.filename, unknown.strerror) == (0, "p", "it failed")
    assert as_note("failed", b"\xff", OSError(errno.EIO, "x")).path == "\udcff"
