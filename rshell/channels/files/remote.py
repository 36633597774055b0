"""Operations on single files at the client: `client.files`."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Any, Union

from rshell.aio import Opening
from rshell.channels.files.call_channel import CallChannel, stat_of
from rshell.channels.files.messages import OPEN_MODES, CallAnswer, DiskSpace, FileCall, FileStat
from rshell.channels.files.remote_file import RemoteFile
from rshell.errors import FileError, RemoteProtocolError
from rshell.transport.live_session import LiveSession

PathLike = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]


class RemoteFiles:
    """The files of the server, by path: relative ones begin in the server's directory, `~` is home.

    What the system there refuses is raised as a FileError of its kind (`FileNotFoundError` and so
    on). Cancelling a call leaves open whether it was done.
    """

    def __init__(self, live: LiveSession) -> None:
        self._calls = CallChannel(live)

    async def stat(self, path: PathLike) -> FileStat:
        """Return what a file is, of a link what it leads to."""
        return stat_of(await self._call("stat", path))

    async def lstat(self, path: PathLike) -> FileStat:
        """Return what a file is, a link itself."""
        return stat_of(await self._call("lstat", path))

    async def exists(self, path: PathLike) -> bool:
        """Whether there is something at `path`, a link without an end included."""
        try:
            await self.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    async def scandir(self, path: PathLike = ".") -> dict[str, FileStat]:
        """Return the names in a directory, in no order, and what each one is."""
        answer = await self._call("scandir", path)
        assert isinstance(answer, CallAnswer)
        return {name: FileStat.decode(value) for name, value in answer.entries.items()}

    async def listdir(self, path: PathLike = ".") -> list[str]:
        """Return the names in a directory, sorted."""
        return sorted(await self.scandir(path))

    async def walk(self, path: PathLike = ".") -> AsyncIterator[tuple[str, dict[str, FileStat]]]:
        """Yield each directory below `path`, itself first, and what is in it.

        Links are not followed. Names that are taken out of the dictionary are not entered.
        """
        waiting = [os.fsdecode(path)]
        while waiting:
            directory = waiting.pop()
            found = await self.scandir(directory)
            yield directory, found
            below = sorted((name for name, it in found.items() if it.is_directory), reverse=True)
            waiting += [os.path.join(directory, name) for name in below]

    def open(self, path: PathLike, flags: str = "rb", *, mode: int = 0o666) -> Opening[RemoteFile]:
        """Open a file: "rb", "r+b", "wb", "xb", "ab" and the like. It is read and written as bytes.

        A file that is made gets `mode` less the server's umask.
        """
        plain = flags.replace("b", "")
        if plain not in OPEN_MODES or flags.count("b") > 1:
            raise ValueError(f"not a way to open a file: {flags!r}. Give 'rb', 'wb' and the like.")
        return Opening(lambda: self._open(os.fsdecode(path), plain, mode))

    async def _open(self, path: str, flags: str, mode: int) -> RemoteFile:
        answer = await self._call("open", path, flags=flags, mode=mode)
        return RemoteFile(self._calls, path, answer.file, stat_of(answer), appends=flags[0] == "a")

    async def read_bytes(self, path: PathLike) -> bytes:
        """Return the whole of a file."""
        async with self.open(path) as file:
            return await file.read()

    async def write_bytes(self, path: PathLike, data: bytes) -> None:
        """Replace the content of a file; who reads it meanwhile sees a part."""
        async with self.open(path, "wb") as file:
            await file.write(data)

    async def mkdir(self, path: PathLike, mode: int = 0o777) -> None:
        """Make a directory."""
        await self._call("mkdir", path, mode=mode)

    async def makedirs(self, path: PathLike, mode: int = 0o777) -> None:
        """Make a directory, and those above it that are not there. One that is there is fine."""
        try:
            await self.mkdir(path, mode)
        except FileNotFoundError:
            above = os.path.dirname(os.fsdecode(path).rstrip("/"))
            if not above:
                raise
            await self.makedirs(above)
            await self.makedirs(path, mode)  # somebody else may make it at the same time
        except FileExistsError:
            if not (await self.stat(path)).is_directory:
                raise

    async def remove(self, path: PathLike) -> None:
        """Remove a file or link."""
        await self._call("remove", path)

    async def rmdir(self, path: PathLike) -> None:
        """Remove an empty directory."""
        await self._call("rmdir", path)

    async def rename(self, path: PathLike, to: PathLike) -> None:
        """Give a file another name, in the place of what has it."""
        await self._call("rename", path, to=os.fsdecode(to))

    async def copy(self, path: PathLike, to: PathLike) -> None:
        """Copy a file on the server, with its mode and time."""
        await self._call("copy", path, to=os.fsdecode(to))

    async def symlink(self, target: PathLike, path: PathLike) -> None:
        """Make a symbolic link at `path` that leads to `target`."""
        await self._call("symlink", path, to=os.fsdecode(target))

    async def readlink(self, path: PathLike) -> str:
        """Return where a symbolic link leads."""
        return (await self._call("readlink", path)).text

    async def realpath(self, path: PathLike) -> str:
        """Return the absolute path without links; what is not there need not be."""
        return (await self._call("realpath", path)).text

    async def truncate(self, path: PathLike, size: int) -> None:
        """Make a file `size` bytes long."""
        await self._call("truncate", path, size=size)

    async def chmod(self, path: PathLike, mode: int) -> None:
        """Set the permission bits."""
        await self._call("chmod", path, mode=mode)

    async def utime(self, path: PathLike, *, atime: int, mtime: int) -> None:
        """Set the times, in nanoseconds since 1970."""
        await self._call("utime", path, atime=atime, mtime=mtime)

    async def space(self, path: PathLike = ".") -> DiskSpace:
        """Return the size of a file system, and what is free there."""
        space = (await self._call("statvfs", path)).space
        if space is None:
            raise RemoteProtocolError("an answer lacks what was asked for")
        return space

    async def _call(self, op: str, path: PathLike = "", **more: Any) -> CallAnswer:
        try:
            return await self._calls.call(FileCall(op, os.fsdecode(path), **more))
        except FileError as error:
            error.filename, error.filename2 = path, more.get("to")
            raise
