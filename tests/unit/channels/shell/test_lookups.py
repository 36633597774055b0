"""Looks into directories: what they find, what they raise, and those that never end."""

from __future__ import annotations

import asyncio
import threading

import pytest

from rshell.channels.shell.lookups import _MOST, LookUps
from tests.support.session import DEADLINE


def refuse() -> str:
    raise PermissionError("not yours")


async def test_what_is_found_or_raised_comes_back() -> None:
    looks = LookUps()
    for _ in range(_MOST + 1):
        assert await looks.run(lambda: "found", "nothing") == "found"
        with pytest.raises(PermissionError):
            await looks.run(refuse, "nothing")


async def test_looks_that_hang_are_few_and_keep_neither_loop_nor_process() -> None:
    looks = LookUps()
    go = threading.Event()

    def hang() -> str:
        go.wait(DEADLINE)
        return "late"

    hanging = [asyncio.create_task(looks.run(hang, "nothing")) for _ in range(_MOST)]
    await asyncio.sleep(0)
    assert await looks.run(lambda: "found", "nothing") == "nothing"
    threads = [thread for thread in threading.enumerate() if "looking" in thread.name]
    assert len(threads) == _MOST and all(thread.daemon for thread in threads)
    hanging[0].cancel()
    await asyncio.gather(hanging[0], return_exceptions=True)
    go.set()
    assert await asyncio.gather(*hanging[1:]) == ["late"] * (_MOST - 1)
    assert await looks.run(lambda: "found", "nothing") == "found"
