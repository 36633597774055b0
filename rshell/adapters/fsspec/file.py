"""Open files as fsspec hands them out: with its buffers and caches, over a `RemoteFile`.

A file that is read in order keeps pieces on their way while its reader is at work: the second
range that begins where the first one ended is taken from a stream.

Hazard: fsspec's caches may ask in several threads at once; a lock has them take turns at the
stream. A writer's error comes with a later write or with `close`.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncGenerator
from typing import Any, Optional

from fsspec.asyn import AbstractAsyncStreamedFile, sync
from fsspec.spec import AbstractBufferedFile

from rshell import RemoteFile, RemoteFiles


class Opened:
    """A file of the server, used on the loop of its session."""

    size: int
    _file: RemoteFile

    def __init__(self, files: RemoteFiles, path: str, mode: str, *, commits: bool) -> None:
        self._files = files
        self._path = self._final = path
        self._mode = mode
        if not commits and mode == "wb":
            directory, name = os.path.split(path)
            self._path = os.path.join(directory, f".{name}.{secrets.token_hex(4)}")
        self._stream: Optional[AsyncGenerator[bytes, None]] = None
        self._rest = b""  # of the stream's last piece
        self._at = -1  # where the last range ended, and the stream is

    async def open(self) -> None:
        """Open it. Raises FileError."""
        self._turn = asyncio.Lock()
        self._file = await self._files.open(self._path, self._mode)
        self.size = self._file.size
        if self._mode == "rb" and not self.size:
            self.size = len(await self._file.read_at(0, 2**62))  # such as those in /proc

    async def read(self, start: int, end: int) -> bytes:
        """Return a range, cut off at the end of the file."""
        async with self._turn:
            is_next, self._at = start == self._at, -1  # where this is cut off, all is open
            if not is_next:
                await self._leave_stream()
                data = await self._file.read_at(start, end - start)
            else:
                if self._stream is None:
                    self._file.seek(start)
                    self._stream = self._file.__aiter__()  # it keeps pieces on their way
                data = await self._take(end - start)
            self._at = start + len(data)
            return data

    async def _take(self, size: int) -> bytes:
        """Return the next bytes of the stream, copied once."""
        assert self._stream is not None
        parts: list[bytes] = []
        piece, self._rest = self._rest, b""
        while True:
            parts.append(piece[:size])
            self._rest = piece[size:]
            size -= len(parts[-1])
            if not size:
                break
            try:
                piece = await self._stream.__anext__()
            except StopAsyncIteration:
                break
        return b"".join(parts)

    async def _leave_stream(self) -> None:
        stream, self._stream, self._rest = self._stream, None, b""
        if stream is not None:
            await stream.aclose()

    async def write(self, data: Any) -> None:
        """Write bytes behind the others."""
        await self._file.write(data)

    async def close(self) -> None:
        """Close it. Raises what a write failed with."""
        await self._leave_stream()
        await self._file.close()

    async def commit(self) -> None:
        """Give the file its name, if it has none yet."""
        if self._path != self._final:
            await self._files.rename(self._path, self._final)
            self._path = self._final

    async def discard(self) -> None:
        """Remove the file, if it has no name yet."""
        if self._path != self._final:
            await self.close()
            await self._files.remove(self._path)


class BufferedFile(AbstractBufferedFile):
    """An open file for programs without coroutines."""

    closed: bool

    def __init__(
        self,
        fs: Any,
        path: str,
        mode: str = "rb",
        block_size: Any = "default",
        autocommit: bool = True,
        **options: Any,
    ) -> None:
        if mode not in ("rb", "wb", "ab", "xb"):
            raise NotImplementedError(f"files are opened as rb, wb, ab and xb, not as {mode!r}")
        self._opened = sync(fs.loop, fs._open_there, path, mode, commits=autocommit)
        options["size"] = self._opened.size
        try:
            super().__init__(fs, path, mode, block_size, autocommit, **options)
        except BaseException:
            sync(fs.loop, self._opened.close)
            raise
        if mode == "ab":
            self.loc = self.size = self._opened.size

    def _fetch_range(self, start: int, end: int) -> bytes:
        data: bytes = sync(self.fs.loop, self._opened.read, start, end)
        return data

    def _upload_chunk(self, final: bool = False) -> bool:
        with self.buffer.getbuffer() as data:
            sync(self.fs.loop, self._opened.write, data)
        return True

    def close(self) -> None:
        """Write what is left, and close. Raises what a write failed with."""
        if self.closed:
            return
        try:
            super().close()
        finally:
            sync(self.fs.loop, self._opened.close)

    def commit(self) -> None:
        """Give the file its name: the transaction has come to its end."""
        sync(self.fs.loop, self._opened.commit)

    def discard(self) -> None:
        """Remove the file: the transaction failed."""
        sync(self.fs.loop, self._opened.discard)

    def __del__(self) -> None:
        # In any thread, the loop's own included: what is not needed is not waited for.
        if self.closed or self.fs is None:
            return
        if self.fs._pid != os.getpid():
            self.closed = True
        elif self.mode == "rb":
            self.closed = True
            if self.fs.loop.is_running():
                asyncio.run_coroutine_threadsafe(self._opened.close(), self.fs.loop)
        else:
            self.close()


class AsyncFile(AbstractAsyncStreamedFile):
    """An open file whose `read`, `write` and `close` are coroutines."""

    closed: bool

    def __init__(self, fs: Any, path: str, mode: str, *, opened: Opened, **options: Any) -> None:
        self._opened = opened
        super().__init__(fs, path, mode, **{**options, "size": opened.size})
        if mode == "ab":
            self.loc = opened.size

    async def _fetch_range(self, start: int, end: int) -> bytes:
        return await self._opened.read(start, end)

    async def _initiate_upload(self) -> None:
        pass  # it is open

    async def _upload_chunk(self, final: bool = False) -> bool:
        await self._opened.write(self.buffer.getvalue())
        return True

    async def close(self) -> None:
        """Write what is left, and close. Raises what a write failed with."""
        if self.closed:
            return
        try:
            await super().close()
        finally:
            self.closed = True
            await self._opened.close()
