"""From one server to another, through a client that only listens."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from rshell import Channel, Context, FileEvent, RshellError, TransferFailed, TransferTotals
from rshell.channels.files.server import serve_files
from rshell.protocol.codec import Json
from tests.support.session import tls_session
from tests.support.transfers import listing, make_tree


async def test_a_tree_goes_from_one_to_the_other(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree")
    events: list[FileEvent] = []
    async with tls_session(cwd=tmp_path) as one, tls_session(cwd=tmp_path) as two:
        done = await one.relay(
            "tree/", two, "there", recursive=True, on_event=events.append, progress=lambda it: None
        )
        assert listing(tmp_path / "there") == listing(tree)
        assert (done.files, done.made, done.moved < 2_000_000) == (15, 8, True)
        assert "sub/file3" in {event.path for event in events if event.what == "sent"}
        again = await one.relay("tree/", two, "there", recursive=True)
        assert (again.files, again.skipped, again.moved) == (0, 18, 0)
        with pytest.raises(TransferFailed, match="nothing"):
            await one.relay(["nothing", "tree/zero"], two, "third")
        with pytest.raises(FileNotFoundError):
            await one.relay("nothing", two, "fourth")
        with pytest.raises(FileNotFoundError):
            await one.relay("tree/zero", two, "no/where/at/all")


async def test_a_copy_within_one_server_moves_nothing_over_the_link(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree")
    events: list[FileEvent] = []
    seen: list[TransferTotals] = []
    async with tls_session(cwd=tmp_path) as one:
        done = await one.relay(
            "tree/", one, "there", recursive=True, on_event=events.append, progress=seen.append
        )
        assert listing(tmp_path / "there") == listing(tree)
        assert (done.files, done.made, done.moved, seen[-1]) == (15, 8, 0, done)
        assert "sub/file3" in {event.path for event in events if event.what == "sent"}
        again = await one.relay("tree/", one, "there", recursive=True, delete=True)
        assert (again.files, again.skipped, again.deleted) == (0, 18, 0)
        with pytest.raises(TransferFailed, match="nothing"):
            await one.relay(["nothing", "tree/z*"], one, "third")
        assert (tmp_path / "third" / "zero").exists()
        for source, target, error in (
            ("nothing", "fourth", FileNotFoundError),
            ("tree/zero", "no/where/at/all", FileNotFoundError),
            ("tree", "tree", OSError),
            ("tree/", "tree/sub/own", OSError),
        ):
            with pytest.raises(error):
                await one.relay(source, one, target, recursive=True)
        assert (await one.relay("tree", one, ".", recursive=True)).files == 0


async def test_a_copy_is_audited_with_its_target(tmp_path: Path) -> None:
    audited: list[Json] = []

    async def serve(channel: Channel, context: Context) -> None:
        noting = dataclasses.replace(context, audit=lambda event, facts: audited.append(facts))
        await serve_files(channel, noting)

    sources = [str(number) for number in range(150)]
    for name in sources:
        (tmp_path / name).touch()
    async with tls_session(handlers={"files": serve}, commands=True, cwd=tmp_path) as one:
        await one.relay(sources, one, "there")
    assert audited == [{"verb": "copy", "paths": sources[:100], "target": "there"}]


async def test_an_older_server_sends_to_us_and_back(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x" * 1000)

    async def before(channel: Channel, context: Context) -> None:
        if channel.request["verb"] == "copy":
            channel.refuse("bad-request", "the request needs 'verb': one of put, get, call")
        else:
            await serve_files(channel, context)

    async with tls_session(handlers={"files": before}, commands=True, cwd=tmp_path) as one:
        assert (await one.relay("a", one, "b")).moved == 1000
    assert (tmp_path / "b").read_text() == "x" * 1000


async def test_a_server_that_stops_short_is_no_success(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")

    async def leave(channel: Channel, context: Context) -> None:
        channel.accept()
        if channel.request.get("verb") != "copy":
            await channel.read(1)

    async with (
        tls_session(handlers={"files": leave}, commands=True) as bad,
        tls_session(cwd=tmp_path) as good,
    ):
        with pytest.raises(RshellError):
            await good.relay("a", bad, "b")
        with pytest.raises(RshellError):
            await bad.relay("a", bad, "b")
