"""Operations on single files of a real server."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from rshell import FileError, FileStat
from rshell.channels.base import Context
from rshell.channels.files.records import ANSWER, BYTES, encode
from rshell.errors import ChannelReset, RemoteProtocolError
from rshell.transport.channel import Channel
from tests.support.session import tls_session


async def test_what_a_directory_holds(tmp_path: Path) -> None:
    here = tmp_path / "here"
    (here / "d" / "e").mkdir(parents=True)
    for number in range(1200):
        (here / f"f{number}").touch()
    (here / os.fsdecode(b"\xff")).write_text("x")
    (here / "l").symlink_to("d")
    async with tls_session(cwd=here) as client:
        files = client.files
        found = await files.scandir()
        assert len(found) == 1203 and found["\udcff"].size == 1
        assert found["l"].is_link and found["d"].is_directory and found["f7"].is_file
        assert await files.listdir("d") == ["e"]
        assert [path async for path, _ in files.walk("d")] == ["d", "d/e"]
        assert (await files.stat("l")).is_directory and (await files.lstat("l")).is_link
        assert isinstance(await files.stat(here), FileStat)
        assert await files.exists("l") and not await files.exists("d/e/x/y")
        assert (await files.space()).total > 0


async def test_an_error_names_its_file_and_a_copy_goes_into_no_directory(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "f").write_text("x")
    async with tls_session(cwd=tmp_path) as client:
        files = client.files
        with pytest.raises(IsADirectoryError):
            await files.copy("f", "d")
        assert await files.listdir("d") == []
        with pytest.raises(FileNotFoundError, match="'none' -> 'there'"):
            await files.rename("none", "there")
        async with files.open("f") as file:
            with pytest.raises(FileError, match="'f'"):
                await file.truncate(0)


async def test_a_file_that_gives_little_at_once_is_read_to_its_end(tmp_path: Path) -> None:
    long = Path("/proc/kallsyms")
    if not long.exists():
        pytest.skip("there is no /proc")
    async with tls_session(cwd=tmp_path) as client:
        assert (await client.files.read_bytes(long)).count(b"\n") == long.read_bytes().count(b"\n")


async def test_many_may_make_the_same_directories_at_once(tmp_path: Path) -> None:
    async with tls_session(cwd=tmp_path) as client:
        await asyncio.gather(*(client.files.makedirs("a/b/c") for _ in range(20)))
        assert await client.files.listdir("a/b") == ["c"]


async def test_files_are_made_changed_and_removed(tmp_path: Path) -> None:
    async with tls_session(cwd=tmp_path) as client:
        files = client.files
        await files.makedirs("a/b/c")
        await files.makedirs("a/b/c")
        await files.write_bytes("a/f", b"hello")
        assert await files.read_bytes("a/f") == b"hello"
        await files.rename("a/f", "a/g")
        await files.copy("a/g", "a/h")
        await files.symlink("g", "a/l")
        assert await files.readlink("a/l") == "g"
        assert await files.realpath("a/l") == str(tmp_path.resolve() / "a" / "g")
        await files.chmod("a/g", 0o640)
        await files.utime("a/g", atime=1, mtime=-5)
        state = await files.stat("a/g")
        assert (state.mode, state.mtime, state.size, state.links) == (0o640, -5, 5, 1)
        await files.truncate("a/g", 2)
        assert (tmp_path / "a" / "g").read_bytes() == b"he"
        for name in ("g", "h", "l"):
            await files.remove(f"a/{name}")
        await files.rmdir("a/b/c")
        assert await files.listdir("a") == ["b"]
        for call, kind in (
            (files.stat("nothing"), FileNotFoundError),
            (files.mkdir("a"), FileExistsError),
            (files.listdir("a/b/c"), FileNotFoundError),
            (files.read_bytes("a"), IsADirectoryError),
            (files.rmdir("a"), OSError),
            (files.stat(""), FileNotFoundError),
            (files.stat("a\0b"), OSError),
        ):
            with pytest.raises(kind) as caught:
                await call
            assert isinstance(caught.value, FileError)


async def test_a_server_that_answers_nonsense_is_told_so() -> None:
    for answer, error in (
        (encode(ANSWER, 9, b"{}"), RemoteProtocolError),
        (encode(BYTES, 1, b"x"), RemoteProtocolError),
        (encode(ANSWER, 1, b"{}"), RemoteProtocolError),
        (encode(ANSWER, 1, b'{"stat":1}'), RemoteProtocolError),
        (b"", ChannelReset),
    ):

        async def lie(channel: Channel, context: Context, answer: bytes = answer) -> None:
            channel.accept()
            await channel.read(1)
            if answer:
                await channel.write(answer)
                await channel.wait_closed()

        async with tls_session(handlers={"files": lie}, commands=True) as client:
            with pytest.raises((error, ChannelReset)):
                await client.files.stat("x")
            if not answer:
                with pytest.raises(error):
                    await client.files.stat("x")
