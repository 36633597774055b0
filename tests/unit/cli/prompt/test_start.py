"""How the prompt is loaded, what the shell gets of our environment, what a loss means."""

from __future__ import annotations

import asyncio
import sys
import threading

import pytest

from rshell.aio import timeout
from rshell.cli.prompt.start import _lost, load_editor, passed_on
from rshell.errors import LinkLost, ResumeFailed
from tests.support.session import DEADLINE


async def test_the_editor_is_loaded_while_others_are_waited_for() -> None:
    async with timeout(DEADLINE):
        editor = await asyncio.wrap_future(load_editor())
    assert editor is sys.modules["rshell.cli.prompt.editor"].Editor


async def test_what_is_wrong_with_it_is_raised_where_it_is_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "rshell.cli.prompt.editor", None)
    loading = load_editor()
    with pytest.raises(ImportError):
        async with timeout(DEADLINE):
            await asyncio.wrap_future(loading)


async def test_who_gives_up_on_it_leaves_the_thread_in_peace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads: list[threading.Thread] = []
    monkeypatch.setattr(threading.Thread, "start", lambda thread: threads.append(thread))
    loading = load_editor()
    waiting = asyncio.wrap_future(loading)
    waiting.cancel()
    await asyncio.sleep(0)  # it hears of that
    threads[0].run()  # which is when it would show a traceback
    assert loading.exception() is None


def test_a_lost_connection_says_what_became_of_a_named_shell() -> None:
    gone = _lost(ResumeFailed("not kept"), "host:7000", "work")
    assert "If it was started anew, work ended with it; else rshell host:7000 -S work" in gone
    lost = _lost(LinkLost("the link was cut"), "host:7000", "work")
    assert lost.startswith("the link was cut. If the server still runs, so does work")
    assert lost.endswith("rshell host:7000 -S work comes back")


def test_languages_and_what_the_terminal_can_do_travel() -> None:
    ours = {
        "LANG": "de_DE.UTF-8",
        "LC_TIME": "C",
        "COLORTERM": "truecolor",
        "TERM_PROGRAM": "vscode",
        "TERM_PROGRAM_VERSION": "1",
    }
    assert passed_on({**ours, "LANGUAGE": "x", "HOME": "/", "SECRET": "x"}) == ours
