"""Open files of a real server: positions, large ones, and writes that fail."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from rshell.errors import FileError
from tests.support.session import tls_session


async def test_files_are_read_and_written_at_any_place(tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    async with tls_session(cwd=tmp_path) as client:
        async with client.files.open("f", "xb") as file:
            assert await file.write(data) == len(data)
            assert file.tell() == len(data)
            await file.fsync()
        assert (tmp_path / "f").read_bytes() == data
        async with client.files.open("f") as file:
            assert file.size == len(data)
            assert await file.read_at(1_000_000, 700_000) == data[1_000_000:1_700_000]
            assert await file.read(10) == data[:10]
            file.seek(2_500_000)
            assert await file.read() == data[2_500_000:]
            assert await file.read() == await file.read(5) == b""
            file.seek(0)
            assert b"".join([part async for part in file]) == data
            with pytest.raises(ValueError, match="below 0"):
                file.seek(-1)
        async with client.files.open("f", "r+b") as file:
            await file.write_at(5, b"there")
            await file.truncate(100)
            assert await file.read_at(0, 1000) == data[:5] + b"there" + data[10:100]
        async with client.files.open("f", "ab") as file:
            await file.write(b"end")
            await file.close()
        assert (tmp_path / "f").read_bytes()[97:] == data[97:100] + b"end"
        with pytest.raises(ValueError, match="not a way"):
            client.files.open("f", "rt")
        with pytest.raises(FileExistsError):
            await client.files.open("f", "x")


async def test_a_write_that_failed_is_told_by_the_end(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    async with tls_session(cwd=tmp_path) as client:
        file = await client.files.open("f")
        await file.write(b"into a file that is open for reading")
        with pytest.raises(FileError):
            await file.flush()
        await file.write(b"again")
        with pytest.raises(FileError):
            await file.close()
        await file.close()


async def test_a_call_that_was_given_up_disturbs_no_other(tmp_path: Path) -> None:
    data = os.urandom(2_000_000)
    (tmp_path / "f").write_bytes(data)
    async with tls_session(cwd=tmp_path) as client, client.files.open("f") as file:
        for _ in range(5):
            task = asyncio.create_task(file.read())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
        several = await asyncio.gather(*(file.read_at(at, 1000) for at in range(0, 50_000, 1000)))
        assert b"".join(several) == data[:50_000]
