"""The file system that fsspec loads for `rshell://`.

    pandas.read_csv("rshell://host:7000/data/table.csv")

A path is absolute; `/~/` at its beginning is the home directory over there. What is not there yet
above a file that is written is made, as object stores let people expect. Errors are Python's own.

fsspec runs coroutines in a loop in a thread of its own, and there the session lives: it is opened
by the first call, and once more by the first call after it has ended.

Hazards. Whoever forks has copies of both, which must neither be used nor closed: fsspec refuses to
use them, and closing looks at the process id. Garbage is collected in any thread, the loop's own
included, so what it closes is not waited for.
"""

from __future__ import annotations

import asyncio
import errno
import glob
import os
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any, Optional

from fsspec.asyn import sync_wrapper
from fsspec.callbacks import DEFAULT_CALLBACK
from fsspec.utils import isfilelike

from rshell import FileError, TransferTotals
from rshell.adapters.fsspec.file import AsyncFile, BufferedFile, Opened
from rshell.adapters.fsspec.tree import Tree
from rshell.errors import file_error


class RshellFileSystem(Tree):
    """The files of one server. What is asked for it takes of `rshell.connect`, by the same names.

    `host` is any address that `connect` takes. In a URL it is `rshell://host:port/path`, or
    `rshell+ssh://user@host/path` and the like for a way in. `close` ends the session; so do
    the end of the program and of the last reference.
    """

    async def _cat_file(
        self, path: str, start: Optional[int] = None, end: Optional[int] = None, **_: Any
    ) -> bytes:
        (data,) = await self._ranges(path, [(start, end)])
        return data

    async def _cat_ranges(
        self,
        paths: list[str],
        starts: Any,
        ends: Any,
        max_gap: Optional[int] = None,
        batch_size: Optional[int] = None,
        on_error: str = "return",
        **_: Any,
    ) -> list[Any]:
        """As fsspec's; a file is opened once for all that is read of it."""
        if max_gap is not None:
            raise NotImplementedError("max_gap")
        count = len(paths)
        starts = list(starts) if hasattr(starts, "__iter__") else [starts] * count
        ends = list(ends) if hasattr(ends, "__iter__") else [ends] * count
        if not len(starts) == len(ends) == count:
            raise ValueError("there are not as many starts and ends as paths")
        wanted: dict[str, list[int]] = {}
        for index, path in enumerate(paths):
            wanted.setdefault(path, []).append(index)
        groups = await self._in_turn(
            self._ranges(path, [(starts[index], ends[index]) for index in indices])
            for path, indices in wanted.items()
        )
        results: list[Any] = [None] * count
        for group, indices in zip(groups, wanted.values()):
            is_error = isinstance(group, FileError)
            if is_error and on_error != "return":
                raise group
            for place, index in enumerate(indices):
                results[index] = group if is_error else group[place]
        return results

    async def _ranges(
        self, path: str, ranges: list[tuple[Optional[int], Optional[int]]]
    ) -> list[bytes]:
        """Return ranges of one file. A negative number counts from its end, None is its end."""
        client = await self._client()
        async with self._session.turns, client.files.open(self._there(path)) as file:

            def place(number: int) -> int:
                return max(0, number + file.size) if number < 0 else number

            bounds = [
                (place(start or 0), place(2**62 if end is None else end)) for start, end in ranges
            ]
            return await asyncio.gather(
                *(file.read_at(start, max(0, end - start)) for start, end in bounds)
            )

    async def _pipe_file(self, path: str, value: Any, mode: str = "overwrite", **_: Any) -> None:
        client, there = await self._client(), self._there(path)

        async def create() -> None:
            async with client.files.open(there, "xb") as file:
                await file.write(value)

        async def whole() -> AsyncIterator[bytes]:
            yield value

        async with self._session.turns:
            if mode == "create":
                await self._with_parents(path, create)
            else:
                await self._with_parents(path, lambda: client.put(whole(), there))

    async def _put_file(
        self,
        lpath: str,
        rpath: str,
        callback: Any = DEFAULT_CALLBACK,
        mode: str = "overwrite",
        **_: Any,
    ) -> None:
        """Send a file as `Client.put` does: whole or not at all, and taken up again."""
        if os.path.isdir(lpath):
            await self._makedirs(rpath, exist_ok=True)
            return
        kind = await self._kind(rpath)
        if kind == "directory":
            raise _refusal(errno.EISDIR, rpath)
        if kind is not None and mode == "create":
            raise _refusal(errno.EEXIST, rpath)
        client = await self._client()
        callback.set_size(os.path.getsize(lpath))
        put = partial(client.put, lpath, self._there(rpath), progress=_progress(callback))
        creates = mode == "create"
        put = partial(put, no_clobber=creates, checksum=not creates)
        totals = await self._with_parents(rpath, put)
        if mode == "create" and not totals.files:  # somebody was faster
            raise _refusal(errno.EEXIST, rpath)
        callback.absolute_update(callback.size)

    async def _get_file(
        self, rpath: str, lpath: Any, callback: Any = DEFAULT_CALLBACK, **_: Any
    ) -> None:
        """Fetch a file as `Client.get` does: whole or not at all, and taken up again."""
        client, there = await self._client(), self._there(rpath)
        progress = _progress(callback)
        if isfilelike(lpath):
            await client.get(there, lpath, progress=progress)
            return
        if os.path.isdir(lpath):
            if not await self._isdir(rpath):
                raise _refusal(errno.EISDIR, lpath)
            return
        os.makedirs(os.path.dirname(lpath) or ".", exist_ok=True)
        try:
            await client.get(glob.escape(there), lpath, progress=progress, checksum=True)
        except IsADirectoryError:
            os.makedirs(lpath, exist_ok=True)
        if callback.size is not None:
            callback.absolute_update(callback.size)

    async def _open_there(self, path: str, mode: str, *, commits: bool) -> Opened:
        """Open a file for those that fsspec hands out. Without `commits` a new one has no name."""
        files, there = (await self._client()).files, self._there(path)
        opened = Opened(files, there, mode, commits=commits)
        if mode == "rb":
            await opened.open()
        else:
            await self._with_parents(path, opened.open)
        return opened

    def _open(self, path: str, mode: str = "rb", **options: Any) -> BufferedFile:
        return BufferedFile(self, path, mode, **options)

    async def open_async(self, path: str, mode: str = "rb", **options: Any) -> AsyncFile:
        """Open a file whose methods are coroutines: "rb", "wb" or "ab"."""
        if options.pop("compression", None) is not None:
            raise ValueError("there is no compression for coroutines")
        opened = await self._open_there(path, mode, commits=True)
        return AsyncFile(self, self._strip_protocol(path), mode, opened=opened, **options)

    async def _touch(self, path: str, truncate: bool = True, **_: Any) -> None:
        opened = await self._open_there(path, "wb" if truncate else "ab", commits=True)
        await opened.close()
        if not truncate:
            now, files = time.time_ns(), (await self._client()).files
            await files.utime(self._there(path), atime=now, mtime=now)

    touch = sync_wrapper(_touch)


def _refusal(number: int, path: str) -> FileError:
    return file_error(number, os.strerror(number), path)


def _progress(callback: Any) -> Optional[Callable[[TransferTotals], None]]:
    """Return what tells a callback of fsspec how far a file is."""
    if callback is DEFAULT_CALLBACK:
        return None

    def tell(totals: TransferTotals) -> None:
        if totals.size:
            callback.set_size(totals.size)
            callback.absolute_update(totals.at)
        elif totals.bytes:
            callback.set_size(totals.bytes)
            callback.absolute_update(totals.bytes)

    return tell
