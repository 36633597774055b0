"""The names of a server's files, as fsspec deals with them: what is there, and what changes it.

fsspec makes `info` of each `_info` and so on; what it does not know of is made here.
"""

from __future__ import annotations

import asyncio
import errno
import glob
import weakref
from collections.abc import Awaitable, Callable
from datetime import datetime, timezone
from functools import partial
from typing import Any, Optional, TypeVar, Union

from fsspec.asyn import AsyncFileSystem, sync_wrapper
from fsspec.utils import stringify_path

from rshell import Client, FileError, FileStat, connect
from rshell.adapters.fsspec.session import SharedSession

_T = TypeVar("_T")
_WAYS = ("ssh", "docker", "podman", "kubectl")
_OPTIONS = ("local", "via", "bootstrap", "background", "token", "fingerprint", "ca", "limits")
_AT_ONCE = 32  # files, or directories, unless `batch_size` says another number


class Tree(AsyncFileSystem):
    """The part of `RshellFileSystem` that opens no file."""

    protocol = ("rshell", *(f"rshell+{way}" for way in _WAYS))
    root_marker = "/"

    def __init__(self, host: Optional[str] = None, **options: Any) -> None:
        self.host = host
        ways = {name: options.pop(name) for name in _OPTIONS if name in options}
        self.batch_size: int = options.pop("batch_size", None) or _AT_ONCE
        super().__init__(batch_size=self.batch_size, **options)
        self._session = SharedSession(partial(connect, host, **ways))
        weakref.finalize(self, self._session.let_go).atexit = False  # which is seen to over there

    # Names

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, list):
            return [cls._strip_protocol(each) for each in path]
        path = stringify_path(path)
        scheme, mark, rest = path.partition("://")
        if mark and scheme in cls.protocol:
            path = rest.partition("/")[2]
        return "/" + path.strip("/")

    @staticmethod
    def _get_kwargs_from_urls(path: str) -> dict[str, Any]:
        scheme, mark, rest = path.partition("://")
        place = rest.partition("/")[0]
        if not mark or not place:
            return {}
        way = scheme.partition("+")[2]
        return {"host": f"{way}://{place}" if way else place}

    def unstrip_protocol(self, name: str) -> str:
        """Return the URL of a path, with the host where a URL can say it."""
        way, _, place = (self.host or "").rpartition("://")
        if "/" in place:  # a Unix socket, or a pod in a namespace
            way = place = ""
        return f"rshell{'+' + way if way else ''}://{place}{self._strip_protocol(name)}"

    def _there(self, path: str) -> str:
        """Return a path as the server means it."""
        path = self._strip_protocol(path)
        return path[1:] if path == "/~" or path.startswith("/~/") else path

    # The session

    async def _client(self) -> Client:
        return await self._session.client()

    async def _close(self) -> None:
        await self._session.close()

    close = sync_wrapper(_close)

    # What is there

    async def _info(self, path: str, **_: Any) -> dict[str, Any]:
        path = self._strip_protocol(path)
        state = await (await self._client()).files.lstat(self._there(path))
        return await self._describe(path, state, enters=True)

    async def _describe(self, path: str, state: FileStat, *, enters: bool) -> dict[str, Any]:
        """Return what fsspec calls the information of a file.

        A link is what it leads to, except that in a listing one to a directory stays a link: or
        whoever walks would walk in circles.
        """
        found: dict[str, Any] = {"name": path, "islink": state.is_link}
        if state.is_link:
            files, there = (await self._client()).files, self._there(path)
            try:
                found["destination"], end = await asyncio.gather(
                    files.readlink(there), files.stat(there)
                )
            except FileError:
                pass  # it leads nowhere
            else:
                if enters or not end.is_directory:
                    state = end
        found.update(size=state.size, type=state.kind, mode=state.mode, uid=state.uid)
        found.update(gid=state.gid, nlink=state.links, mtime=state.mtime / 1e9)
        return found

    async def _ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        path = self._strip_protocol(path)
        try:
            found = await (await self._client()).files.scandir(self._there(path))
        except NotADirectoryError:
            listing = [await self._info(path)]
        else:
            above = path.rstrip("/")
            listing = await asyncio.gather(
                *(
                    self._describe(f"{above}/{name}", found[name], enters=False)
                    for name in sorted(found)
                )
            )
        return list(listing) if detail else [entry["name"] for entry in listing]

    async def _exists(self, path: str, **_: Any) -> bool:
        return await self._kind(path) is not None

    async def _isfile(self, path: str) -> bool:
        return await self._kind(path) == "file"

    async def _isdir(self, path: str) -> bool:
        return await self._kind(path) == "directory"

    async def _kind(self, path: str) -> Optional[str]:
        """Return what something is, None for nothing. Raises what is no answer, unlike fsspec."""
        try:
            return str((await self._info(path))["type"])
        except (FileNotFoundError, NotADirectoryError):
            return None

    async def _find(
        self,
        path: str,
        maxdepth: Optional[int] = None,
        withdirs: bool = False,
        detail: bool = False,
        **_: Any,
    ) -> Union[list[str], dict[str, Any]]:
        """As fsspec's, with many directories at once: level by level."""
        if maxdepth is not None and maxdepth < 1:
            raise ValueError("maxdepth must be at least 1")
        path = self._strip_protocol(path)
        found: dict[str, Any] = {}
        if withdirs and await self._isdir(path):
            found[path] = await self._info(path)
        level, depth = [path], 0
        while level and (maxdepth is None or depth < maxdepth):
            below = []
            for listing in await self._in_turn(map(self._ls, level)):
                if isinstance(listing, FileError):
                    continue  # it can't be read, or is gone
                for entry in listing:
                    is_directory = entry["type"] == "directory"
                    if is_directory:
                        below.append(entry["name"])
                    if withdirs or not is_directory:
                        found[entry["name"]] = entry
            level, depth = below, depth + 1
        return dict(sorted(found.items())) if detail else sorted(found)

    async def _in_turn(self, doing: Any) -> list[Any]:
        """Do things, some at once; return results and FileErrors. Raises what is none."""
        waiting, results = list(doing), []
        try:
            while waiting:
                now, waiting = waiting[: self.batch_size], waiting[self.batch_size :]
                results += await asyncio.gather(*now, return_exceptions=True)
        finally:
            for never in waiting:
                never.close()
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, FileError):
                raise result
        return results

    def modified(self, path: str) -> datetime:
        """Return when a file was written last."""
        return datetime.fromtimestamp(self.info(path)["mtime"], tz=timezone.utc)

    # What changes names

    async def _with_parents(self, path: str, write: Callable[[], Awaitable[_T]]) -> _T:
        """Write something; where the directory is not there yet, make it and try again."""
        try:
            return await write()
        except FileNotFoundError:
            await self._makedirs(self._parent(path), exist_ok=True)
            return await write()

    async def _mkdir(self, path: str, create_parents: bool = True, **_: Any) -> None:
        files, there = (await self._client()).files, self._there(path)
        if create_parents:
            await self._with_parents(path, partial(files.mkdir, there))
        else:
            await files.mkdir(there)

    async def _makedirs(self, path: str, exist_ok: bool = False) -> None:
        if exist_ok:
            await (await self._client()).files.makedirs(self._there(path))
        else:
            await self._mkdir(path)

    async def _rmdir(self, path: str) -> None:
        await (await self._client()).files.rmdir(self._there(path))

    rmdir = sync_wrapper(_rmdir)

    async def _rm_file(self, path: str, **_: Any) -> None:
        await (await self._client()).files.remove(self._there(path))

    async def _rm(self, path: Any, recursive: bool = False, **options: Any) -> None:
        """Remove files, with `recursive` trees; links are not followed."""
        for each in await self._expand_path(self._strip_protocol(path)):
            if not recursive:
                await self._rm_file(each)
            elif each == "/":
                raise ValueError("the root directory is not removed")
            else:
                files = (await self._client()).files
                state = await files.lstat(self._there(each))
                await self._rm_tree(each, is_directory=state.is_directory)

    async def _rm_tree(self, path: str, *, is_directory: bool) -> None:
        if not is_directory:
            await self._rm_file(path)
            return
        found = await (await self._client()).files.scandir(self._there(path))
        here = [f"{path}/{name}" for name, state in found.items() if not state.is_directory]
        for result in await self._in_turn(map(self._rm_file, here)):
            if isinstance(result, FileError):
                raise result
        for name, state in found.items():
            if state.is_directory:
                await self._rm_tree(f"{path}/{name}", is_directory=True)
        await self._rmdir(path)

    async def _cp_file(self, path1: str, path2: str, **_: Any) -> None:
        """Copy a file on the server; a directory is made only."""
        files = (await self._client()).files
        copy = partial(files.copy, self._there(path1), self._there(path2))
        try:
            await self._with_parents(path2, copy)
        except IsADirectoryError:
            if not await self._isdir(path1):
                raise
            await self._makedirs(path2, exist_ok=True)

    async def _mv(self, path1: Any, path2: Any, recursive: bool = False, **options: Any) -> None:
        """Rename one thing; move several, or to another file system, as fsspec does."""
        if isinstance(path1, str) and isinstance(path2, str) and not glob.has_magic(path1):
            target = self._strip_protocol(path2)
            if path2.endswith("/") or await self._isdir(target):
                target = f"{target.rstrip('/')}/{self._strip_protocol(path1).rpartition('/')[2]}"
            files = (await self._client()).files
            rename = partial(files.rename, self._there(path1), self._there(target))
            try:
                await self._with_parents(target, rename)
                return
            except FileError as error:
                if error.errno != errno.EXDEV:
                    raise
        await self._copy(path1, path2, recursive=recursive, on_error="raise", **options)
        await self._rm(path1, recursive=recursive)

    mv = sync_wrapper(_mv)
