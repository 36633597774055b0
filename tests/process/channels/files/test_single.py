"""Blocks of a program as a file of the server, and the other way round."""

from __future__ import annotations

import io
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.session import tls_session


async def test_blocks_and_open_files_become_a_file_whole_or_not_at_all(tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()

    async def blocks(fail: bool = False) -> AsyncIterator[bytes]:
        for _ in range(10):
            yield b"x" * 100_000
        if fail:
            raise ZeroDivisionError

    async with tls_session(cwd=here) as client:
        done = await client.put(blocks(), "f", progress=lambda totals: None)
        assert (done.files, done.bytes, done.moved) == (1, 1_000_000, 1_000_000)
        assert (here / "f").read_bytes() == b"x" * 1_000_000
        with pytest.raises(ZeroDivisionError):
            await client.put(blocks(fail=True), "f")
        await client.put(io.BytesIO(b"hello"), "g")
        assert {path.name: path.stat().st_size for path in here.iterdir()} == {
            "f": 1_000_000, "g": 5,
        }  # fmt: skip
        os.mkfifo(here / "pipe")
        with pytest.raises(FileExistsError, match="named pipe"):
            await client.put(blocks(), "pipe")
        assert (here / "pipe").is_fifo()
        sink = io.BytesIO()
        assert (await client.get("f", sink)).bytes == 1_000_000
        assert sink.getvalue() == b"x" * 1_000_000
        with pytest.raises(FileNotFoundError):
            await client.get("nothing", sink)
        with pytest.raises(FileNotFoundError):
            await client.put(blocks(), "no/where")
