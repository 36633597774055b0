"""Open files as fsspec hands them out, against a real server."""

from __future__ import annotations

import pickle
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import ServerProcess
from tests.support.fsspec_loop import fsspec_loop

fsspec = pytest.importorskip("fsspec")

from rshell.adapters.fsspec.filesystem import RshellFileSystem  # noqa: E402 - what is missing skips this file


@pytest.fixture
def fs(server: ServerProcess) -> Iterator[Any]:
    with fsspec_loop():
        made = RshellFileSystem(server.address)  # fsspec keeps it for those that are unpickled
        yield made
        made.close()
        RshellFileSystem.clear_instance_cache()


def test_a_reader_gets_what_is_there_wherever_it_goes(fs: Any, tmp_path: Path) -> None:
    rng = random.Random(7)
    data = rng.randbytes(3_000_000)
    (tmp_path / "f").write_bytes(data)
    for cache in ("readahead", "none", "bytes"):
        with fs.open(f"{tmp_path}/f", block_size=200_000, cache_type=cache) as file:
            at = 0
            for _ in range(40):
                if rng.random() < 0.2:
                    at = file.seek(rng.randrange(len(data)))
                block = file.read(rng.randrange(400_000))
                assert block == data[at : at + len(block)] and (block or at == len(data)), cache
                at += len(block)
    with fs.open(f"{tmp_path}/f", cache_type="none") as file:
        assert b"".join(iter(lambda: file.read(70_001), b"")) == data  # from the stream
    with fs.open("/proc/self/status") as file:  # which says that it is empty
        assert file.read().startswith(b"Name:")


def test_a_writer_writes_at_the_end_of_what_it_opened(fs: Any, tmp_path: Path) -> None:
    path = f"{tmp_path}/new/f"
    with fs.open(path, "wb", block_size=1000) as file:
        for _ in range(5):
            file.write(b"x" * 700)
    with fs.open(path, "ab") as file:
        assert file.tell() == 3500
        file.write(b"end")
    assert Path(path).read_bytes() == b"x" * 3500 + b"end"
    with fs.open(path, "wt") as file:
        file.write("text\n")
    with fs.open(path, "rt") as file:
        assert list(file) == ["text\n"]
    with pytest.raises(FileExistsError):
        fs.open(path, "xb")
    with pytest.raises(NotImplementedError):
        fs.open(path, "r+b")
    with pytest.raises(KeyError):
        fs.open(path, cache_type="no such cache")
    fs.open(path)  # nobody closes it, and nobody complains


def test_a_transaction_gives_files_their_names_at_its_end(fs: Any, tmp_path: Path) -> None:
    with fs.transaction:
        with fs.open(f"{tmp_path}/a", "wb") as file:
            file.write(b"x")
        assert not fs.exists(f"{tmp_path}/a")
    assert fs.cat_file(f"{tmp_path}/a") == b"x"
    before = set(tmp_path.iterdir())
    with pytest.raises(KeyError), fs.transaction:
        with fs.open(f"{tmp_path}/b", "wb") as file:
            file.write(b"x")
        raise KeyError
    assert set(tmp_path.iterdir()) == before


def test_file_systems_and_readers_are_pickled(fs: Any, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"hello")
    assert pickle.loads(pickle.dumps(fs)) is fs
    with fs.open(f"{tmp_path}/f") as file:
        assert file.read(2) == b"he"
        with pickle.loads(pickle.dumps(file)) as again:
            assert again.read() == b"llo"
