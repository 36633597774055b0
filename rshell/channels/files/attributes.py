"""Owners, extended attributes and ACLs: read at the sender, applied at the receiver.

An ACL is an extended attribute of Linux, whose bytes hold the numbers of users and groups. Numbers
differ between machines, so names travel beside them, and the receiver puts its own numbers in; a
name that it does not know leaves the number as it is.

What a plain user can give to no file is left out where the receiver is one: another owner, a group
that is not theirs, and all attributes but `user.` ones and ACLs. Whatever else can't be applied is
told, and the file stays.

Hazard: `security.capability` gives a program power as setuid does, and wants the same leave.

Hazard: a file is reached by a descriptor, or by `/proc/self/fd`, where a name in an open directory
has a path that leads through no link. What is no descriptor of the file itself is never followed.
"""

from __future__ import annotations

import binascii
import errno
import grp
import os
import pwd
import stat
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Any, Optional, Union

from rshell.channels.files.lines import Peer
from rshell.channels.files.messages import MOST_ATTRIBUTES, FileAttributes, TransferOptions
from rshell.channels.files.progress import TransferTotals
from rshell.channels.files.reading import open_source
from rshell.channels.files.records import ATTRIBUTES, ATTRIBUTES_LIMIT
from rshell.channels.files.tree import Directories, Directory
from rshell.channels.files.trouble import as_note, ours

ARE_SUPPORTED = hasattr(os, "listxattr")
UNSUPPORTED = "this system keeps no extended attributes, so owners and attributes can't be copied"
_ACLS = ("system.posix_acl_access", "system.posix_acl_default")
_ACL_HEAD = struct.Struct("<I")
_ACL_ENTRY = struct.Struct("<HHI")
_ACL_USER, _ACL_GROUP = 2, 8
_NONE_HERE = (errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
_TOLD = 3  # attributes that one line names
_REMEMBERED = 4096  # names and numbers

Where = Union[int, bytes]  # a descriptor of the file, or a path that ends in its name


def path_of(dir_fd: int, name: bytes) -> bytes:
    """Return a path of a name in an open directory; its last part may be a link."""
    return b"/proc/self/fd/%d/%s" % (dir_fd, name)


def path_of_open(fd: int) -> bytes:
    """Return a path of an open file or directory, even one that may not be read."""
    return b"/proc/self/fd/%d" % fd


@contextmanager
def open_plain(dir_fd: int, name: bytes) -> Iterator[Where]:
    """Open a regular file to change what is known of it, also one that may not be read."""
    try:
        fd = open_source(name, dir_fd)
        where: Where = fd
    except PermissionError:
        if not hasattr(os, "O_PATH"):
            raise
        fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
        where = path_of_open(fd)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "something else has its name")
        yield where
    finally:
        os.close(fd)


# Reading.


class AttributesSender:
    """Tells the receiver what belongs to files. `failed(path, error)` hears of what can't be read.

    Paths are for people.
    """

    def __init__(
        self, peer: Peer, options: TransferOptions, failed: Callable[[bytes, OSError], None]
    ) -> None:
        self._peer = peer
        self._failed = failed
        self._user = lru_cache(_REMEMBERED)(_no_name if options.numeric_ids else _user_name)
        self._group = lru_cache(_REMEMBERED)(_no_name if options.numeric_ids else _group_name)
        self._plain = lru_cache(_REMEMBERED)(partial(self._describe, values={}))  # most have none

    def of_entry(
        self, index: int, dir_fd: int, name: bytes, found: os.stat_result, path: bytes
    ) -> None:
        """Tell of a file or link before its entry."""
        self._send(index, path_of(dir_fd, name), found, path, follow=False)

    def of_directory(self, tree: Directories, directory: Directory, index: int) -> None:
        """Tell of a directory before it is left."""
        try:
            fd = tree.fd(directory)
            found = os.fstat(fd)
        except OSError as error:
            self._failed(directory.path(), error)
        else:
            self._send(index, path_of_open(fd), found, directory.path())

    def of_file(self, index: int, fd: int, found: os.stat_result) -> None:
        """Tell of a file once more before its bytes."""
        self._send(index, fd, found)

    def _send(
        self,
        index: int,
        where: Where,
        found: os.stat_result,
        path: bytes = b"",
        *,
        follow: bool = True,
    ) -> None:
        try:
            values = _values_of(where, follow=follow)
            size = sum(6 * len(name) + 2 * len(value) for name, value in values.items())
            if len(values) > MOST_ATTRIBUTES or size > ATTRIBUTES_LIMIT // 2:
                raise OSError(errno.E2BIG, "they are too many, or too large")
        except OSError as error:
            if path:
                why = f"its owner and attributes were not sent: {error.strerror}"
                self._failed(path, OSError(error.errno, why))
            return
        uid, gid = found.st_uid, found.st_gid
        payload = self._describe(uid, gid, values) if values else self._plain(uid, gid)
        self._peer.send(ATTRIBUTES, index, payload)

    def _describe(self, uid: int, gid: int, values: Mapping[str, bytes]) -> bytes:
        users, groups = {uid}, {gid}
        for name in _ACLS:
            for tag, _, number in _acl_entries(values.get(name, b"")):
                if tag in (_ACL_USER, _ACL_GROUP):
                    (users if tag == _ACL_USER else groups).add(number)
        attributes = FileAttributes(
            uid,
            gid,
            {str(it): name for it in sorted(users)[:MOST_ATTRIBUTES] if (name := self._user(it))},
            {str(it): name for it in sorted(groups)[:MOST_ATTRIBUTES] if (name := self._group(it))},
            {name: binascii.b2a_base64(it, newline=False).decode() for name, it in values.items()},
        )
        return attributes.to_bytes()


def _values_of(where: Where, *, follow: bool) -> dict[str, bytes]:
    """Return the extended attributes of a file that are its own. Raises OSError."""
    values = {}
    try:
        for name in os.listxattr(where, follow_symlinks=follow):
            if name in _ACLS or not name.startswith("system."):
                try:
                    values[name] = os.getxattr(where, name, follow_symlinks=follow)
                except OSError as error:
                    if error.errno != errno.ENODATA:  # removed since the names were read
                        raise
    except OSError as error:
        if error.errno not in _NONE_HERE:
            raise
    return values


def _acl_entries(value: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (tag, permissions, number) for each line of an ACL; nothing where it is none."""
    if len(value) % _ACL_ENTRY.size == _ACL_HEAD.size:
        yield from _ACL_ENTRY.iter_unpack(value[_ACL_HEAD.size :])


def _no_name(number: int) -> str:
    return ""


def _user_name(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except (KeyError, OverflowError):
        return ""


def _group_name(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except (KeyError, OverflowError):
        return ""


# Applying.


class AttributesReceiver:
    """Gives files what belongs to them. What it can't give is told, and the file stays."""

    def __init__(self, peer: Peer, options: TransferOptions, totals: TransferTotals) -> None:
        self._peer = peer
        self._totals = totals
        self._may_give_power = options.setuid
        self._is_root = os.geteuid() == 0
        self._groups = {os.getegid(), *os.getgroups()}
        self._user = lru_cache(_REMEMBERED)(_user_number)
        self._group = lru_cache(_REMEMBERED)(_group_number)
        self._are_missing = False  # the file system has none, which was told

    def apply(
        self,
        where: Where,
        wanted: FileAttributes,
        path: bytes,
        mode: Optional[int] = None,
        *,
        follow: bool = True,
    ) -> None:
        """Give a file its owner, its attributes, and `mode` at the end; `path` is for people.

        Raises OSError where the file itself can't be looked at, or gets no mode.
        """
        failed: list[tuple[str, OSError]] = []

        def attempt(what: str, step: Callable[..., object], *arguments: Any) -> None:
            try:
                step(where, *arguments, follow_symlinks=follow)
            except OSError as error:
                failed.append((what, error))

        found = os.stat(where, follow_symlinks=follow)
        uid, gid = self._owner(wanted, found)
        if (uid, gid) != (found.st_uid, found.st_gid):
            attempt("its owner", os.chown, uid, gid)
        try:
            changes = self._changes(wanted, _values_of(where, follow=follow))
        except OSError as error:
            failed.append(("its attributes", error))
            changes = {}
        if changes and follow and not found.st_mode & stat.S_IWUSR:
            writable = stat.S_IMODE(found.st_mode) | stat.S_IWUSR
            attempt("a mode to write it", os.chmod, writable)  # or no `user.` one can be set
        # ACLs come last: they may take away the right to set others.
        for name, value in sorted(changes.items(), key=lambda change: change[0] in _ACLS):
            if value is None:
                attempt(name, os.removexattr, name)
            else:
                attempt(name, os.setxattr, name, value)
        if mode is not None:
            now = os.stat(where)
            if stat.S_ISREG(now.st_mode) and (now.st_uid, now.st_gid) != self._meant(wanted):
                mode &= 0o1777  # setuid of somebody else's would be power for the wrong user
            if stat.S_IMODE(now.st_mode) != mode:
                os.chmod(where, mode)
        self._tell(path, failed)

    def _changes(
        self, wanted: FileAttributes, there: Mapping[str, bytes]
    ) -> dict[str, Optional[bytes]]:
        """Return the attributes to set, of those that we may, and those to remove, which are None.

        Raises RemoteProtocolError for values that can't be any.
        """
        values = wanted.values()
        changes: dict[str, Optional[bytes]] = {
            name: None for name in there if _is_plain(name) and name not in values
        }
        for name, value in values.items():
            translated = self._translate(name, value, wanted)
            if self._may_set(name) and there.get(name) != translated:
                changes[name] = translated
        return changes

    def _owner(self, wanted: FileAttributes, found: os.stat_result) -> tuple[int, int]:
        """Return the user and the group that a file gets: of those meant, what we may give."""
        uid, gid = self._meant(wanted)
        if self._is_root:
            return uid, gid
        may_give = found.st_uid == os.geteuid() and gid in self._groups
        return found.st_uid, gid if may_give else found.st_gid

    def _meant(self, wanted: FileAttributes) -> tuple[int, int]:
        uid = self._number(self._user, wanted.users, wanted.uid)
        return uid, self._number(self._group, wanted.groups, wanted.gid)

    def _number(
        self, find: Callable[[str], Optional[int]], names: Mapping[str, str], number: int
    ) -> int:
        known = find(names.get(str(number), ""))
        return number if known is None else known

    def _may_set(self, name: str) -> bool:
        if _is_plain(name):
            return True
        if name == "security.capability" and not self._may_give_power:
            return False
        return self._is_root and not name.startswith("system.")

    def _translate(self, name: str, value: bytes, wanted: FileAttributes) -> bytes:
        """Return an ACL with the numbers of this machine, any other value as it is."""
        if name not in _ACLS:
            return value
        parts = [value[: _ACL_HEAD.size]]
        for tag, permissions, theirs in _acl_entries(value):
            number = theirs
            if tag == _ACL_USER:
                number = self._number(self._user, wanted.users, theirs)
            elif tag == _ACL_GROUP:
                number = self._number(self._group, wanted.groups, theirs)
            parts.append(_ACL_ENTRY.pack(tag, permissions, number))
        return b"".join(parts)

    def _tell(self, path: bytes, failed: list[tuple[str, OSError]]) -> None:
        """Tell once what a file lacks; that a file system has no attributes, for the first file."""
        missing = [error for _, error in failed if error.errno in _NONE_HERE]
        if missing and self._are_missing:
            failed = [(what, error) for what, error in failed if error.errno not in _NONE_HERE]
        self._are_missing = self._are_missing or bool(missing)
        if not failed:
            return
        said = [f"{what} ({error.strerror})" for what, error in failed[:_TOLD]]
        if len(failed) > _TOLD:
            said.append(f"{len(failed) - _TOLD} more")
        why = f"it is there without {', '.join(said)}"
        if missing:
            why += "; said once for all files of its kind"
        self.complain(path, OSError(failed[0][1].errno, why))

    def complain(self, path: bytes, error: OSError) -> None:
        """Tell both ends of what a file lacks, though it is there."""
        self._peer.send_note(as_note("failed", path, error).encode())
        self._totals.fail(ours(error, path))


def _is_plain(name: str) -> bool:
    """Whether an attribute is one that any owner of a file may set and remove."""
    return name.startswith("user.") or name in _ACLS


def _user_number(name: str) -> Optional[int]:
    try:
        return pwd.getpwnam(name).pw_uid
    except (KeyError, ValueError):
        return None


def _group_number(name: str) -> Optional[int]:
    try:
        return grp.getgrnam(name).gr_gid
    except (KeyError, ValueError):
        return None
