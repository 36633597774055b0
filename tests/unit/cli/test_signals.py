"""Handlers for a stretch of the program, and signals that were ignored from the beginning."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from rshell.cli.signals import on_signals

DEADLINE = 30.0


async def test_a_handler_is_called_and_taken_away() -> None:
    came: asyncio.Queue[str] = asyncio.Queue()
    before = signal.getsignal(signal.SIGUSR1)
    with on_signals(
        {
            signal.SIGUSR1: lambda: came.put_nowait("one"),
            signal.SIGUSR2: lambda: came.put_nowait("two"),
        }
    ):
        for number, name in ((signal.SIGUSR2, "two"), (signal.SIGUSR1, "one")):
            os.kill(os.getpid(), number)
            async with asyncio.timeout(DEADLINE):
                assert await came.get() == name
    assert signal.getsignal(signal.SIGUSR1) is before is signal.SIG_DFL


async def test_handlers_are_taken_away_after_an_error() -> None:
    with pytest.raises(KeyError), on_signals({signal.SIGUSR1: lambda: None}):
        raise KeyError
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL


async def test_a_signal_that_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with on_signals({signal.SIGHUP: lambda: pytest.fail("it was to be ignored")}):
            os.kill(os.getpid(), signal.SIGHUP)
            await asyncio.sleep(0)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
