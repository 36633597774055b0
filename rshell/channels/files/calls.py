"""Operations on single files at the server, one after the other as they are asked for.

They are those of the system, by path and as the server's user; what the system refuses is the
answer. A path is relative to the server's directory, and `~` at its beginning is the home
directory. Files that are open end with the channel.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable

from rshell.channels.files.lines import Peer
from rshell.channels.files.messages import CallAnswer, DiskSpace, FileCall, FileStat, FileTrouble
from rshell.channels.files.records import (
    ANSWER,
    BYTES,
    CALL,
    PIECE,
    WRITE,
    WRITE_HEAD,
    Record,
    decode_json,
)
from rshell.channels.files.trouble import as_trouble
from rshell.errors import RemoteProtocolError
from rshell.protocol.codec import Json

CALLS_HEARS = (CALL, WRITE)
_LISTED = 48 * 1024  # bytes of names in one answer, about
_LISTED_NAMES = 500
_FLAGS = {"r": os.O_RDONLY, "w": os.O_WRONLY | os.O_CREAT | os.O_TRUNC}
_FLAGS["x"] = os.O_WRONLY | os.O_CREAT | os.O_EXCL
_FLAGS["a"] = os.O_WRONLY | os.O_CREAT | os.O_APPEND
_TYPES = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link"}


def expand(path: str, cwd: str) -> str:
    """Return a path as the server's user means it: relative to `cwd`, and with `~`."""
    if path == "~" or path.startswith("~/"):
        path = os.path.expanduser(path)
    return os.path.join(cwd, path)


def as_stat(found: os.stat_result) -> FileStat:
    """Return what is told of a file."""
    mode = found.st_mode
    return FileStat(
        _TYPES.get(stat.S_IFMT(mode), "other"),
        stat.S_IMODE(mode),
        found.st_size,
        found.st_mtime_ns,
        found.st_atime_ns,
        found.st_uid,
        found.st_gid,
        found.st_nlink,
    )


class Calls:
    """Serves the calls of one channel, in its thread."""

    def __init__(self, peer: Peer, cwd: str) -> None:
        self._peer = peer
        self._cwd = cwd
        self._files: dict[int, int] = {}  # descriptors by their numbers on the wire
        self._count = 0
        own: dict[str, Callable[[FileCall], CallAnswer | None]] = {
            "stat": lambda it: CallAnswer(stat=as_stat(os.stat(self._path(it)))),
            "lstat": lambda it: CallAnswer(stat=as_stat(os.lstat(self._path(it)))),
            "open": self._open,
            "close": lambda it: os.close(self._files.pop(self._number(it))),
            "truncate": self._truncate,
            "fsync": lambda it: os.fsync(self._fd(it)),
            "mkdir": lambda it: os.mkdir(self._path(it), it.mode),
            "rmdir": lambda it: os.rmdir(self._path(it)),
            "remove": lambda it: os.unlink(self._path(it)),
            "rename": lambda it: os.replace(self._path(it), expand(it.to, self._cwd)),
            "copy": self._copy,
            "symlink": lambda it: os.symlink(it.to, self._path(it)),
            "readlink": lambda it: CallAnswer(text=os.readlink(self._path(it))),
            "realpath": lambda it: CallAnswer(text=os.path.realpath(self._path(it))),
            "chmod": lambda it: os.chmod(self._path(it), it.mode),
            "utime": lambda it: os.utime(self._path(it), ns=(it.atime, it.mtime)),
            "statvfs": self._statvfs,
        }
        self._own = own

    def run(self) -> None:
        """Answer calls until the client has no more."""
        try:
            while (record := self._peer.receive(may_end=True)) is not None:
                self._serve(record)
        finally:
            for fd in self._files.values():
                os.close(fd)

    def _serve(self, record: Record) -> None:
        number = record.number
        try:
            if record.type == WRITE:
                self._write(record)
                return
            call = FileCall.decode(decode_json(record))
            if call.op == "read":
                self._peer.send(BYTES, number, self._read(call))
            elif call.op == "scandir":
                self._scan(number, self._path(call))
            else:
                answer = self._own[call.op](call) or CallAnswer()
                self._peer.send_json(ANSWER, number, answer.encode())
        except OSError as error:
            self._refuse(number, error)
        except (ValueError, OverflowError) as error:  # a NUL in a path, a size beyond all
            self._refuse(number, OSError(errno.EINVAL, str(error)))

    def _refuse(self, number: int, error: OSError) -> None:
        trouble = FileTrouble.decode(as_trouble(error))
        self._peer.send_json(ANSWER, number, CallAnswer(trouble).encode())

    def _path(self, call: FileCall) -> str:
        if not call.path:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return expand(call.path, self._cwd)

    def _number(self, call: FileCall) -> int:
        self._fd(call)
        return call.file

    def _fd(self, call: FileCall) -> int:
        fd = self._files.get(call.file)
        if fd is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return fd

    def _open(self, call: FileCall) -> CallAnswer:
        if len(self._files) >= self._peer.limits.files_open:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        flags = _FLAGS[call.flags[0]]
        if call.flags.endswith("+"):
            flags = flags & ~(os.O_RDONLY | os.O_WRONLY) | os.O_RDWR
        flags |= os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
        fd = os.open(self._path(call), flags, call.mode & 0o666)
        try:
            found = os.fstat(fd)
            if stat.S_ISDIR(found.st_mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            if not stat.S_ISREG(found.st_mode):
                raise OSError(errno.EINVAL, "it is no regular file")
        except OSError:
            os.close(fd)
            raise
        self._count += 1
        self._files[self._count] = fd
        return CallAnswer(file=self._count, stat=as_stat(found))

    def _read(self, call: FileCall) -> bytes:
        """Return what was asked for, less at the end only: files in /proc give a little at once."""
        fd, size, offset = self._fd(call), min(call.size, PIECE), call.offset
        data = os.pread(fd, size, offset)
        while len(data) < size and (more := os.pread(fd, size - len(data), offset + len(data))):
            data += more
        return data

    def _write(self, record: Record) -> None:
        number, offset = WRITE_HEAD.unpack_from(record.payload)
        fd = self._files.get(number)
        if fd is None or offset >= 2**63:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        view = memoryview(record.payload)[WRITE_HEAD.size :]
        while view:
            written = os.pwrite(fd, view, offset)
            view = view[written:]
            offset += written
        self._peer.send_json(ANSWER, record.number, CallAnswer().encode())

    def _truncate(self, call: FileCall) -> None:
        if call.file:
            os.ftruncate(self._fd(call), call.size)
        else:
            os.truncate(self._path(call), call.size)

    def _copy(self, call: FileCall) -> None:
        import shutil

        source, target = self._path(call), expand(call.to, self._cwd)
        shutil.copyfile(source, target)  # not copy2, which would go into a directory
        shutil.copystat(source, target)

    def _statvfs(self, call: FileCall) -> CallAnswer:
        found = os.statvfs(self._path(call))
        space = DiskSpace(found.f_frsize * found.f_blocks, found.f_frsize * found.f_bavail)
        return CallAnswer(space=space)

    def _scan(self, number: int, path: str) -> None:
        entries: Json = {}
        size = 0
        with os.scandir(path) as found:
            for entry in found:
                try:
                    entries[entry.name] = as_stat(entry.stat(follow_symlinks=False)).encode()
                except FileNotFoundError:
                    continue  # removed meanwhile
                size += len(entry.name) * 6
                if size > _LISTED or len(entries) >= _LISTED_NAMES:
                    part = CallAnswer(entries=entries, more=True)
                    self._peer.send_json(ANSWER, number, part.encode())
                    self._peer.look()
                    entries, size = {}, 0
        self._peer.send_json(ANSWER, number, CallAnswer(entries=entries).encode())


def serve_calls(peer: Peer, cwd: str) -> None:
    """Serve calls until there are no more. Raises RemoteProtocolError for what is none."""
    try:
        Calls(peer, cwd).run()
    except RemoteProtocolError:
        peer.flush()
        raise
