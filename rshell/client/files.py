"""What a client does with files: trees there and back, and operations on single ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rshell.channels.process.client import PathLike
from rshell.transport.live_session import LiveSession

if TYPE_CHECKING:
    from typing_extensions import TypedDict, Unpack

    from rshell.channels.files.client import OnEvent, Progress
    from rshell.channels.files.progress import TransferTotals
    from rshell.channels.files.remote import RemoteFiles

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
        sources: PathLike | Sequence[PathLike],
        target: PathLike,
        *,
        progress: Progress | None = None,
        on_event: OnEvent | None = None,
        **options: Unpack[Transfer],
    ) -> TransferTotals:
        """Send local files and trees to the server, and return what was done.

        One file becomes `target`, or goes into it where that is a directory; several do, and so do
        directories, which need `recursive`; of `SOURCE/` only what is in it. What is the same there
        is left, and what an earlier try left behind is taken up again. `progress` is called with
        the totals ten times a second, `on_event` with a FileEvent for each file.

        Raises a FileError for one file that failed, TransferFailed where others did not, and what
        ends the session. Cancelling leaves what can be taken up again, and no half a file.
        """
        from rshell.channels.files.client import as_paths, put_files
        from rshell.channels.files.messages import TransferOptions

        chosen = TransferOptions(**options)
        (there,) = as_paths(target)
        return await put_files(self._live, as_paths(sources), there, chosen, progress, on_event)

    async def get(
        self,
        sources: PathLike | Sequence[PathLike],
        target: PathLike = ".",
        *,
        progress: Progress | None = None,
        on_event: OnEvent | None = None,
        **options: Unpack[Transfer],
    ) -> TransferTotals:
        """Fetch files and trees from the server; all else is as with `put`.

        The server expands `*`, `?` and `[...]` in `sources`.
        """
        from rshell.channels.files.client import as_paths, get_files
        from rshell.channels.files.messages import TransferOptions

        chosen = TransferOptions(**options)
        (here,) = as_paths(target)
        return await get_files(self._live, as_paths(sources), here, chosen, progress, on_event)
