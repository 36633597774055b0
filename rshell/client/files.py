"""What a client does with files: trees there and back, and operations on single ones."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Protocol

from rshell.aio import in_thread
from rshell.channels.process.client import PathLike
from rshell.transport.live_session import LiveSession

if TYPE_CHECKING:
    from typing_extensions import TypedDict, Unpack

    from rshell.channels.files.client import OnEvent, Progress
    from rshell.channels.files.progress import TransferTotals
    from rshell.channels.files.remote import RemoteFiles
    from rshell.channels.process.feeding import Readable
    from rshell.channels.shell.errands.client import ErrandPlan

    class Transfer(TypedDict, total=False):
        """How `put` and `get` send, see TransferOptions."""

        recursive: bool
        hard_links: bool
        preserve: bool
        setuid: bool
        checksum: bool
        update: bool
        no_clobber: bool
        backup: bool
        delete: bool
        dry_run: bool
        inplace: bool
        fsync: bool
        attributes: bool
        numeric_ids: bool


class Writable(Protocol):
    """A file, open for writing bytes."""

    def write(self, data: bytes, /) -> object:
        """Write all of the bytes."""


class FilesOfClient:
    """The part of `Client` that is about files."""

    _live: LiveSession
    _files: RemoteFiles | None = None

    @property
    def files(self) -> RemoteFiles:
        """Operations on single files of the server: `await client.files.stat("/etc")`."""
        if self._files is None:
            from rshell.channels.files.remote import RemoteFiles

            self._files = RemoteFiles(self._live)
        return self._files

    async def put(
        self,
        sources: PathLike | Sequence[PathLike] | Readable | AsyncIterable[bytes],
        target: PathLike,
        *,
        progress: Progress | None = None,
        on_event: OnEvent | None = None,
        told_from: int = 0,
        **options: Unpack[Transfer],
    ) -> TransferTotals:
        """Send local files and trees to the server, and return what was done.

        One file becomes `target`, or goes into it where that is a directory; several do, and so do
        directories, which need `recursive`; of `SOURCE/` only what is in it. What is the same there
        is left, and what an earlier try left behind is taken up again. `progress` is called with
        the totals ten times a second, `on_event` with a FileEvent for each file; of what went well,
        only for files of `told_from` bytes or more. A file that is open for reading, or an
        asynchronous iterator of blocks, becomes the file `target`; options mean nothing then.

        Raises a FileError for one file that failed, TransferFailed where others did not, and what
        ends the session. Cancelling leaves what can be taken up again, and no half a file.
        """
        from rshell.channels.files.client import Told, accompany, as_paths, put_files
        from rshell.channels.files.messages import TransferOptions

        chosen = TransferOptions(**options)
        (there,) = as_paths(target)
        if hasattr(sources, "read") or isinstance(sources, AsyncIterable):
            from rshell.channels.files.progress import TransferTotals
            from rshell.channels.files.single import put_blocks
            from rshell.channels.process.feeding import blocks_of

            totals = TransferTotals(on_event, told_from)
            blocks = blocks_of(sources, "utf-8")  # type: ignore[arg-type]
            await accompany(put_blocks(self.files, blocks, there, totals), totals, progress)
            return totals
        told = Told(progress, on_event, told_from)
        return await put_files(self._live, as_paths(sources), there, chosen, told)

    async def get(
        self,
        sources: PathLike | Sequence[PathLike],
        target: PathLike | Writable = ".",
        *,
        progress: Progress | None = None,
        on_event: OnEvent | None = None,
        told_from: int = 0,
        **options: Unpack[Transfer],
    ) -> TransferTotals:
        """Fetch files and trees from the server; all else is as with `put`.

        The server expands `*`, `?` and `[...]` in `sources`. A file that is open for writing as the
        `target` gets the bytes of one source. To take them one by one, see `files.open`.
        """
        from rshell.channels.files.client import Told, accompany, as_paths, get_files
        from rshell.channels.files.messages import TransferOptions

        chosen = TransferOptions(**options)
        if not isinstance(target, (str, os.PathLike)):
            from rshell.channels.files.progress import TransferTotals

            (there,) = as_paths(sources)
            totals = TransferTotals(on_event, told_from)
            await accompany(self._write_into(target, there, totals), totals, progress)
            return totals
        (here,) = as_paths(target)
        told = Told(progress, on_event, told_from)
        return await get_files(self._live, as_paths(sources), here, chosen, told)

    async def _write_into(self, file: Writable, path: str, totals: TransferTotals) -> None:
        from rshell.channels.files.single import get_blocks

        async for block in get_blocks(self.files, path, totals):
            await asyncio.wrap_future(in_thread(partial(file.write, block), "writing a file"))

    async def relay(
        self,
        sources: PathLike | Sequence[PathLike],
        other: FilesOfClient,
        target: PathLike,
        *,
        progress: Progress | None = None,
        on_event: OnEvent | None = None,
        told_from: int = 0,
        **options: Unpack[Transfer],
    ) -> TransferTotals:
        """Send files and trees of this server to that of `other`, through this program's memory.

        Where `other` is this client, the server copies, and no file travels. All else is as
        with `put` and `get`.
        """
        from rshell.channels.files.client import Told, as_paths
        from rshell.channels.files.messages import TransferOptions
        from rshell.channels.files.relay import relay_files

        chosen, paths = TransferOptions(**options), as_paths(sources)
        (there,) = as_paths(target)
        told = Told(progress, on_event, told_from)
        return await relay_files(self._live, other._live, paths, there, chosen, told)

    async def run_errand(
        self,
        plan: ErrandPlan,
        *,
        progress: Progress | None = None,
        on_event: OnEvent | None = None,
        told_from: int = 0,
    ) -> TransferTotals:
        """Send or fetch what a command in a shell has asked for, once its person has said yes.

        Failures of files are in what is returned. Raises RemoteProtocolError for a server that does
        anything else than what was shown, and what ends the session. Cancelling is as with `put`.
        """
        from rshell.channels.files.client import Told
        from rshell.channels.shell.errands.client import run_errand

        return await run_errand(self._live, plan, Told(progress, on_event, told_from))
