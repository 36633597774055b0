"""Transfers on a real server: there and back, errors, progress, and giving up."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from pathlib import Path

import pytest

from rshell import (
    Channel,
    ChannelRefused,
    ChannelReset,
    Context,
    FileError,
    FileEvent,
    FileMissing,
    RemoteProtocolError,
    TransferFailed,
    TransferTotals,
)
from rshell.channels.base import Work, WorkItem
from rshell.channels.files.server import serve_files
from rshell.protocol.codec import Json
from rshell.values import Bounds
from tests.support.rows import row
from tests.support.session import tls_session
from tests.support.transfers import listing, make_tree


async def test_a_tree_goes_there_and_comes_back(tmp_path: Path) -> None:
    tree, there = make_tree(tmp_path / "tree"), tmp_path / "there"
    there.mkdir()
    events: list[FileEvent] = []
    seen: list[TransferTotals] = []
    async with tls_session(cwd=there) as client:
        done = await client.put(
            tree, "up", recursive=True, on_event=events.append, progress=seen.append
        )
        assert listing(there / "up" / "tree") == listing(tree)
        assert seen[-1] is done and done.files == 15
        assert [event.what for event in events].count("sent") == 15
        await client.get(["up/tree/sub", "up/tree/z*"], tmp_path / "back", recursive=True)
        assert listing(tmp_path / "back" / "sub") == listing(tree / "sub")
        assert (tmp_path / "back" / "zero").exists()
        again = await client.put(f"{tree}/", "up/tree", recursive=True, delete=True)
        assert (again.files, again.moved, again.deleted) == (0, 0, 0)
        for verb, (source, target) in {
            "put": (tree, "few"), "get": ("few", tmp_path / "few"), "relay": ("few", "fewer"),
        }.items():  # fmt: skip
            events.clear()
            to = (client, target) if verb == "relay" else (target,)
            how = {"recursive": True, "on_event": events.append, "told_from": 300_000}
            await getattr(client, verb)(source, *to, **how)
            with row(verb):
                assert {event.size for event in events} == {700_000, 9_000_000}


async def test_errors_are_pythons_own_and_the_rest_goes_on(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    async with tls_session(cwd=tmp_path) as client:
        with pytest.raises(FileNotFoundError):
            await client.get("nothing", tmp_path)
        with pytest.raises(FileNotFoundError):
            await client.put(tmp_path / "a", "no/where/at/all")
        with pytest.raises(IsADirectoryError):
            await client.put(tmp_path, "b")
        with pytest.raises(NotADirectoryError):
            await client.get([tmp_path / "a", "nothing"], tmp_path / "a")
        with pytest.raises(TransferFailed, match="1 of the files failed") as caught:
            await client.get(["a", "nothing"], tmp_path / "two")
        assert [type(error) for error in caught.value.failures] == [FileMissing]
        assert caught.value.totals.files == 1
        with pytest.raises(ValueError, match="no path"):
            await client.put([], "b")
        with pytest.raises(ChannelRefused, match="NUL") as refused:
            async with client.open_channel("files", {"verb": "get", "paths": ["a\0"]}):
                pass
        assert refused.value.code == "bad-request"
        assert (await client.put(tmp_path / "a", "c")).files == 1


async def test_giving_up_leaves_what_can_be_taken_up_again(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(os.urandom(30_000_000))
    async with tls_session(cwd=tmp_path) as client:
        for verb in (client.put, client.get):
            target = tmp_path / f"b-{verb.__name__}"
            begun = asyncio.Event()

            def look(totals: TransferTotals, begun: asyncio.Event = begun) -> None:
                if totals.at > 1_000_000:
                    begun.set()

            task = asyncio.create_task(verb(tmp_path / "a", target, progress=look))
            await asyncio.wait([task, asyncio.create_task(begun.wait())],
                               return_when=asyncio.FIRST_COMPLETED)  # fmt: skip
            task.cancel()
            await asyncio.wait([task])
            begun.set()
            # Whoever is quick has sent all of it by then; what is there is whole in any case.
            assert task.cancelled() or target.exists()
            if target.exists():
                assert target.read_bytes() == (tmp_path / "a").read_bytes()
            await verb(tmp_path / "a", target)
            assert target.read_bytes() == (tmp_path / "a").read_bytes()
        assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


async def test_a_server_that_lies_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")

    async def lie(channel: Channel, context: Context) -> None:
        channel.accept()
        request: Json = channel.request
        await channel.write(b"\x63" * 20 if request["verb"] == "put" else b"\x01" + b"\xff" * 8)
        await channel.wait_closed()

    async with tls_session(handlers={"files": lie}, commands=True) as client:
        for verb in (client.put, client.get):
            with pytest.raises(RemoteProtocolError):
                await verb(tmp_path / "a", tmp_path / "b")
        assert (await client.run("echo still here")).stdout == b"still here\n"
    assert not (tmp_path / "b").exists()


async def test_a_server_that_closes_early_has_done_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")

    async def leave(channel: Channel, context: Context) -> None:
        channel.accept()

    async with tls_session(handlers={"files": leave}, commands=True) as client:
        for verb in (client.put, client.get):
            with pytest.raises((RemoteProtocolError, ChannelReset)):
                await verb(tmp_path / "a", tmp_path / "b")


async def test_a_stopping_server_waits_for_transfers_and_not_for_calls(tmp_path: Path) -> None:
    held: list[int] = []

    async def serve(channel: Channel, context: Context) -> None:
        await serve_files(channel, dataclasses.replace(context, working=working))

    def working(channel: Channel | None) -> WorkItem:
        held.append(1)
        return Work().begin()

    (tmp_path / "a").write_text("x")
    async with tls_session(handlers={"files": serve}, commands=True, cwd=tmp_path) as client:
        await client.files.stat("a")
        assert held == []
        await client.put(tmp_path / "a", "b")
        assert held == [1]


async def test_a_server_of_before_attributes_is_told_from_a_new_one(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    heard: list[bytes] = []

    async def old(channel: Channel, context: Context) -> None:
        channel.accept()
        heard.append(await channel.read(1))

    async with (
        tls_session(handlers={"files": old}, commands=True) as before,
        tls_session(cwd=tmp_path) as now,
    ):
        for copying in (
            before.put(tmp_path / "a", "b", attributes=True),
            before.get("a", tmp_path / "b", attributes=True),
            now.relay("a", before, "b", attributes=True),
            before.relay("a", now, "b", attributes=True),
        ):
            with pytest.raises(ChannelRefused, match="leave out -X"):
                await copying
        done = await now.put(tmp_path / "a", "c", attributes=True)
        assert done.files == 1
    assert not any(heard) and not (tmp_path / "b").exists()


async def test_the_bounds_of_each_end_hold(tmp_path: Path) -> None:
    for number in range(9):
        (tmp_path / "many" / str(number)).mkdir(parents=True)
        (tmp_path / "many" / str(number) / "f").write_text("x")
    narrow = Bounds(
        files_offered=1, files_wanted=1, files_directories=1, files_depth=2, files_open=2
    )
    async with tls_session(cwd=tmp_path, limits=narrow) as client:
        await client.get("many", tmp_path / "back", recursive=True)
        (tmp_path / "deep" / "a" / "b").mkdir(parents=True)
        with pytest.raises(TransferFailed, match="name too long"):
            await client.relay("deep", client, "there", recursive=True)
        async with client.files.open("many/1/f"), client.files.open("many/2/f"):
            with pytest.raises(FileError, match="Too many open files"):
                await client.files.open("many/3/f")
    async with tls_session(cwd=tmp_path, limits=Bounds(files_wanted=1)) as client:
        for verb in (client.put, client.get):
            with pytest.raises((ChannelReset, RemoteProtocolError), match="more files"):
                await verb(tmp_path / "many", tmp_path / "there", recursive=True)
