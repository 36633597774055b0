"""The prompt's small parts. Its whole is in tests/terminal."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from types import SimpleNamespace

from rshell.aio import Tasks
from rshell.channels.shell.messages import ShellEnding
from rshell.cli.prompt.app import Prompt, _restarted
from rshell.values import ExitStatus


def test_the_notice_says_how_the_shell_ended() -> None:
    killed = ShellEnding(1, ExitStatus(signal="SIGKILL", signal_number=9), "/", 0, 0, 0.0)
    assert "SIGKILL" in _restarted(killed) and "a new one" in _restarted(killed)


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
