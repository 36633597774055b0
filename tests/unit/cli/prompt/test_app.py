"""The prompt's small parts: how it is loaded, what it shows. Its whole is in tests/terminal."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections import deque
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from rshell.aio import Tasks
from rshell.channels.shell.messages import ShellEnding
from rshell.cli.prompt.app import Prompt, _lost, _restarted, load_editor
from rshell.errors import LinkLost, ResumeFailed
from rshell.values import ExitStatus
from tests.support.session import DEADLINE


def test_the_notice_says_how_the_shell_ended() -> None:
    killed = ShellEnding(1, ExitStatus(signal="SIGKILL", signal_number=9), "/", 0, 0, 0.0)
    assert "SIGKILL" in _restarted(killed) and "a new one" in _restarted(killed)


async def test_the_editor_is_loaded_while_others_are_waited_for() -> None:
    async with asyncio.timeout(DEADLINE):
        editor = await asyncio.wrap_future(load_editor())
    assert editor is sys.modules["rshell.cli.prompt.editor"].Editor


async def test_what_is_wrong_with_it_is_raised_where_it_is_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "rshell.cli.prompt.editor", None)
    loading = load_editor()
    with pytest.raises(ImportError):
        async with asyncio.timeout(DEADLINE):
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


async def test_what_is_said_while_the_last_was_just_shown_is_shown_too() -> None:
    shown: list[bytes] = []
    prompt = Prompt.__new__(Prompt)

    def put(said: bytes) -> None:
        shown.append(said)
        if len(shown) == 1:  # it comes before anybody hears that showing the first is over
            asyncio.get_running_loop().call_soon(prompt._say_above, "two")

    async def show_above(write: Callable[[], None]) -> None:
        write()

    parts = {
        "_pump": SimpleNamespace(has_terminal=False),
        "_editor": SimpleNamespace(show_above=show_above),
        "_terminal": SimpleNamespace(put=put),
    }
    for name, part in parts.items():
        setattr(prompt, name, part)
    prompt._sayings, prompt._notices, prompt._is_saying = deque(), Tasks(), False
    prompt._say_above("one")
    for _ in range(10):
        await asyncio.sleep(0)
    assert shown == [b"rshell: one\r\n", b"rshell: two\r\n"]
