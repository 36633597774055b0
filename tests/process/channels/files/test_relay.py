"""From one server to another, through a client that only listens."""

from __future__ import annotations

from pathlib import Path

import pytest

from rshell import Channel, Context, FileEvent, RshellError, TransferFailed
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


async def test_a_server_that_stops_short_is_no_success(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")

    async def leave(channel: Channel, context: Context) -> None:
        channel.accept()
        await channel.read(1)

    async with (
        tls_session(handlers={"files": leave}, commands=True) as bad,
        tls_session(cwd=tmp_path) as good,
    ):
        with pytest.raises(RshellError):
            await good.relay("a", bad, "b")
