"""Looking for changed tokens: once for each change, and a file that can't be read is said once."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from rshell.security.tokens import TokenStore
from rshell.server import revocation
from rshell.server.revocation import Lookup, TokenWatch


@pytest.fixture
def path(tmp_path: Path) -> Path:
    tmp_path.chmod(0o700)
    return tmp_path / "tokens.json"


@pytest.fixture
def tokens(path: Path, monkeypatch: pytest.MonkeyPatch) -> TokenStore:
    monkeypatch.setattr(revocation, "_LOOK", 0.01)
    store = TokenStore(path)
    store.add("first")
    store.refresh()
    return store


async def test_a_change_is_told_once_with_what_is_valid_now(tokens: TokenStore, path: Path) -> None:
    changes: asyncio.Queue[Lookup] = asyncio.Queue()
    watch = TokenWatch(tokens, changes.put_nowait)
    TokenStore(path).revoke("first")
    async with asyncio.timeout(30):
        lookup = await changes.get()
        assert lookup("first") is None
        TokenStore(path).add("second")
        assert (await changes.get())("second") is not None
    assert changes.empty()
    watch.close()


async def test_a_file_that_is_broken_is_said_once_and_looked_at_again(
    tokens: TokenStore, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    changes: asyncio.Queue[Lookup] = asyncio.Queue()
    watch = TokenWatch(tokens, changes.put_nowait)
    good = path.read_bytes()
    looks: asyncio.Queue[None] = asyncio.Queue()
    refresh = tokens.refresh

    def look() -> bool:
        looks.put_nowait(None)
        return refresh()

    with caplog.at_level(logging.ERROR), pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokens, "refresh", look)
        path.write_text("rubbish")
        async with asyncio.timeout(30):
            for _ in range(5):
                await looks.get()
            path.write_bytes(good + b"\n")
            assert (await changes.get())("first") is not None
    assert [record.message[:5] for record in caplog.records] == ["no lo"]
    watch.close()


async def test_a_watch_that_is_closed_looks_no_more(tokens: TokenStore, path: Path) -> None:
    watch = TokenWatch(tokens, lambda _: pytest.fail("nobody asks any more"))
    watch.close()
    TokenStore(path).revoke("first")
    over = asyncio.Event()
    asyncio.get_running_loop().call_later(0.05, over.set)
    await over.wait()
