"""The JSON of a `files` channel: its request, and what records hold of it."""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from typing import Any

from rshell.errors import LocalProtocolError, RemoteProtocolError
from rshell.protocol import fields
from rshell.protocol.codec import Message

MOST_ATTRIBUTES = 1024  # of one file; and names of users, and of groups
LARGEST_ATTRIBUTE = 64 * 1024  # bytes; more than Linux allows are none
VERBS = ("put", "get", "copy", "call")


class TransferOptions(Message, label="the options"):
    """How a tree is sent, and what is done about what is there already.

    `recursive` takes directories, `hard_links` keeps files one that are one. `preserve` keeps
    modes as they are, `setuid` those bits, too. `checksum` compares what size and time call
    equal; `update` leaves newer files alone, `no_clobber` all that exist; `backup` keeps what is
    replaced as NAME~; `delete` removes what was not sent. `dry_run` changes nothing. `inplace`
    writes into the old file itself; `fsync` waits for the disk. `attributes` keeps modes, owners,
    extended attributes and ACLs; `numeric_ids` knows users and groups by number, not by name.
    """

    recursive: bool = fields.boolean(default=False)
    hard_links: bool = fields.boolean(default=False)
    preserve: bool = fields.boolean(default=False)
    setuid: bool = fields.boolean(default=False)
    checksum: bool = fields.boolean(default=False)
    update: bool = fields.boolean(default=False)
    no_clobber: bool = fields.boolean(default=False)
    backup: bool = fields.boolean(default=False)
    delete: bool = fields.boolean(default=False)
    dry_run: bool = fields.boolean(default=False)
    inplace: bool = fields.boolean(default=False)
    fsync: bool = fields.boolean(default=False)
    attributes: bool = fields.boolean(default=False)
    numeric_ids: bool = fields.boolean(default=False)

    def check(self) -> None:
        """Raise LocalProtocolError for options that exclude each other."""
        if self.delete and not self.recursive:
            raise LocalProtocolError("'delete' needs 'recursive'")
        if self.inplace and self.backup:
            raise LocalProtocolError("'inplace' replaces no file, so 'backup' keeps none")
        if self.inplace and self.no_clobber:
            raise LocalProtocolError("'inplace' writes into files that 'no_clobber' leaves alone")
        if self.numeric_ids and not self.attributes:
            raise LocalProtocolError("'numeric_ids' is about owners, so it needs 'attributes'")


class FilesRequest(Message, label="the request"):
    """What is asked: to take files into the one of `paths`, to send those, or to do calls.

    To copy is to send all but the last one of them there.
    """

    verb: str = fields.choice(*VERBS)
    paths: tuple[str, ...] = fields.texts(4096, default=())
    options: TransferOptions = fields.nested(TransferOptions, default=TransferOptions())

    def check(self) -> None:
        """Raise LocalProtocolError for paths that don't fit the verb, or can't be any."""
        count = len(self.paths)
        if not {"put": count == 1, "get": count, "copy": count > 1, "call": not count}[self.verb]:
            raise LocalProtocolError(f"{count} paths do not fit {self.verb!r}")
        if any(not path or "\0" in path for path in self.paths):
            raise LocalProtocolError("a path is empty, or holds a NUL character")


class FilesReply(Message, label="the reply"):
    """What the server has understood: `attributes`, which earlier ones don't know."""

    attributes: bool = fields.boolean(default=False)


class FileAttributes(Message, label="the attributes"):
    """Who owns a file, and what is attached to it.

    `users` and `groups` name those whose numbers stand in here, by number; `attributes` holds the
    value of each extended attribute in base64. `values` are these as bytes.
    """

    uid: int = fields.integer(0, 2**32 - 2)
    gid: int = fields.integer(0, 2**32 - 2)
    users: Mapping[str, str] = fields.text_map(default={})
    groups: Mapping[str, str] = fields.text_map(default={})
    attributes: Mapping[str, str] = fields.text_map(default={})

    def check(self) -> None:
        """Raise LocalProtocolError for more than a file may have."""
        if max(len(self.users), len(self.groups), len(self.attributes)) > MOST_ATTRIBUTES:
            raise LocalProtocolError(f"a file has more than {MOST_ATTRIBUTES} attributes")
        for name, value in self.attributes.items():
            if (
                not 0 < len(name) <= 255
                or "\0" in name
                or len(value) > 4 * LARGEST_ATTRIBUTE // 3 + 4
            ):
                raise LocalProtocolError(f"a file has the attribute {name[:80]!r}: it can't be one")

    def values(self) -> dict[str, bytes]:
        """Return the extended attributes. Raises RemoteProtocolError for what is no base64."""
        try:
            return {name: binascii.a2b_base64(text) for name, text in self.attributes.items()}
        except ValueError as error:
            raise RemoteProtocolError("an attribute is not base64") from error


class FileTrouble(Message, label="the failure"):
    """Why something could not be done: the name of an `errno`, a sentence, and a path.

    `error` is empty for what no `errno` says.
    """

    error: str = fields.ascii_text(32, default="")
    reason: str = fields.sentence(default="")
    path: str = fields.text(default="")


class FileNote(Message, label="the note"):
    """What befell a file outside the order of records.

    `what` is "failed" for a source that can't be read, or what arrived without all that belongs
    to it; "special" for what is no file, directory or link and is not sent, and "deleted" for what
    the receiver removed.
    """

    what: str = fields.choice("failed", "special", "deleted")
    path: str = fields.text()
    error: str = fields.ascii_text(32, default="")
    reason: str = fields.sentence(default="")


CALLS = (
    "stat",
    "lstat",
    "scandir",
    "open",
    "read",
    "close",
    "truncate",
    "fsync",
    "mkdir",
    "rmdir",
    "remove",
    "rename",
    "copy",
    "symlink",
    "readlink",
    "realpath",
    "chmod",
    "utime",
    "statvfs",
)
OPEN_MODES = ("r", "r+", "w", "w+", "x", "x+", "a", "a+")


class FileCall(Message, label="the call"):
    """An operation on single files; which keys count is the operation's.

    `to` is a second path or the target of a link, `file` the number of an open one, `flags` how to
    open it. `mode` are permission bits, `atime` and `mtime` nanoseconds, `size` and `offset` bytes.
    """

    op: str = fields.choice(*CALLS)
    path: str = fields.text(default="")
    to: str = fields.text(default="")
    file: int = fields.integer(0, 2**32 - 1, default=0)
    flags: str = fields.choice(*OPEN_MODES, default="r")
    offset: int = fields.integer(default=0)
    size: int = fields.integer(default=0)
    mode: int = fields.integer(0, 0o7777, default=0o777)
    atime: int = fields.integer(-(2**63), default=0)
    mtime: int = fields.integer(-(2**63), default=0)


class FileStat(Message, label="what is known of a file"):
    """What a file is. `kind` is "file", "directory", "link" or "other"; times in nanoseconds."""

    kind: str = fields.choice("file", "directory", "link", "other")
    mode: int = fields.integer(0, 0o7777)
    size: int = fields.integer()
    mtime: int = fields.integer(-(2**63))
    atime: int = fields.integer(-(2**63))
    uid: int = fields.integer()
    gid: int = fields.integer()
    links: int = fields.integer()

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory."""
        return self.kind == "directory"

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return self.kind == "file"

    @property
    def is_link(self) -> bool:
        """Whether it is a symbolic link."""
        return self.kind == "link"


class DiskSpace(Message, label="the space of a disk"):
    """How large a file system is, and how much is free for the server's user, in bytes."""

    total: int = fields.integer()
    free: int = fields.integer()


class CallAnswer(Message, label="the answer"):
    """What came of a call: `trouble`, or what was asked for.

    `entries` holds a FileStat for each name of a directory; `more` says that another answer to the
    same call follows.
    """

    trouble: FileTrouble | None = fields.nested(FileTrouble, default=None)
    stat: FileStat | None = fields.nested(FileStat, default=None)
    entries: Mapping[str, Any] = fields.json_object(default={})
    more: bool = fields.boolean(default=False)
    file: int = fields.integer(0, 2**32 - 1, default=0)
    text: str = fields.text(default="")
    space: DiskSpace | None = fields.nested(DiskSpace, default=None)
