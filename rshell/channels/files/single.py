"""One file that is no file on this machine: blocks that a program has, or wants.

It is whole at the server or not there: the blocks go into a file with another name, which gets its
own at the end.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator
from typing import Union

from rshell.channels.files.progress import TransferTotals
from rshell.channels.files.remote import RemoteFiles
from rshell.channels.files.rules import partial_name
from rshell.errors import FileError


async def put_blocks(
    files: RemoteFiles,
    blocks: AsyncIterator[Union[bytes, bytearray, memoryview]],
    path: str,
    totals: TransferTotals,
) -> None:
    """Write blocks to a file of the server. Raises what `blocks` raises, and FileError.

    Whatever is raised, what was there stays.
    """
    directory, name = os.path.split(path)
    salt = secrets.token_hex(4).encode()
    partial = os.path.join(directory, os.fsdecode(partial_name(os.fsencode(name), salt)))
    totals.begun(lambda: path, 0)
    try:
        async with files.open(partial, "xb") as file:
            async for block in blocks:
                await file.write(block)
                totals.at += len(block)
        await files.rename(partial, path)
    except BaseException as error:
        if not isinstance(error, FileExistsError):
            await _remove(files, partial)
        raise
    totals.moved += totals.at
    totals.sent(lambda: path, totals.at)


async def _remove(files: RemoteFiles, path: str) -> None:
    try:
        await files.remove(path)
    except FileError:
        pass  # it is not there, or can't be removed; the error before this one says more


async def get_blocks(files: RemoteFiles, path: str, totals: TransferTotals) -> AsyncIterator[bytes]:
    """Yield the blocks of a file of the server."""
    async with files.open(path) as file:
        totals.begun(lambda: path, file.size)
        async for block in file:
            totals.at += len(block)
            totals.moved += len(block)
            yield block
    totals.sent(lambda: path, totals.at)
