"""Who has the terminal: the shell's own editor, a program of its, or one in its place."""

from __future__ import annotations

import asyncio
import os
import pty
from types import SimpleNamespace
from typing import Any, cast

import pytest

from rshell.channels.shell.native import foreground
from rshell.channels.shell.native.foreground import Foreground, Seen
from tests.support.execution import until

BASH = "/bin/bash --norc --noprofile"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreground, "_SOON", 0.001)
    monkeypatch.setattr(foreground, "_LATER", 0.002)


class Terminal:
    """bash on a terminal of its own, and what is seen there."""

    def __init__(self) -> None:
        self.seen: asyncio.Queue[Seen] = asyncio.Queue()
        self.pid, self.master = pty.fork()
        if not self.pid:
            os.execve("/bin/bash", BASH.split(), {"PS1": "me$ "})
        piped = SimpleNamespace(terminal=self.master, process=SimpleNamespace(pid=self.pid))
        self.foreground = Foreground(cast("Any", piped), "bash", self.seen.put_nowait)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.foreground.cancel()
        os.close(self.master)
        os.waitpid(self.pid, 0)

    async def read_until(self, ending: bytes) -> None:
        data = b""
        while not data.rstrip().endswith(ending):
            data += await asyncio.to_thread(os.read, self.master, 4096)

    async def look(self, *, sees_editor: bool) -> Seen | None:
        """Look once; None where nothing is seen."""
        self.foreground.look_soon(sees_editor, is_known=True)
        await until(lambda: self.foreground._timer is None, "the look")
        return None if self.seen.empty() else self.seen.get_nowait()


async def test_the_editor_of_the_shell_is_told_from_that_of_a_program(quick: None) -> None:
    with Terminal() as terminal:
        await terminal.read_until(b"$")
        terminal.foreground.know()
        assert await terminal.look(sees_editor=True) is Seen.EDITOR
        assert await terminal.look(sees_editor=False) is None
        os.write(terminal.master, b"/bin/bash --norc -c 'read -e -p \"name? \"'\n")
        await terminal.read_until(b"name?")
        assert await terminal.look(sees_editor=True) is None  # it is no editor of the shell's
        os.write(terminal.master, b"\nexit\n")


async def test_no_editor_is_seen_where_a_program_reads_in_the_shells_own_group(
    quick: None,
) -> None:
    with Terminal() as terminal:
        await terminal.read_until(b"$")
        terminal.foreground.know()
        os.write(terminal.master, b"x=$(stty raw; echo read'y' >/dev/tty; head -c 1)\n")
        await terminal.read_until(b"\nready")
        assert await terminal.look(sees_editor=True) is None
        os.write(terminal.master, b"k")
        await terminal.read_until(b"$")
        assert await terminal.look(sees_editor=True) is Seen.EDITOR
        os.write(terminal.master, b"exit\r")


async def test_a_program_in_the_shells_place_is_seen(quick: None) -> None:
    with Terminal() as terminal:
        await terminal.read_until(b"$")
        assert await terminal.look(sees_editor=False) is None  # by its name
        terminal.foreground.know()
        os.write(terminal.master, b"exec /bin/sh -c 'echo here; read x'\n")
        await terminal.read_until(b"\nhere")
        assert await terminal.look(sees_editor=True) is Seen.OTHER
        os.write(terminal.master, b"\n")
