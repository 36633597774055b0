"""A person's shell on a terminal of its own, without rshell: what it prints for each line, and how
it ends.

Lines are pasted and accepted as a person would. The line editor's echo ends where the editor
switches bracketed paste off, and the output where the next prompt begins. Waiting is for what the
shell prints: `QUIET` seconds without anything count as "it waits for keys".
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import signal
import termios
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from rshell.aio import timeout
from rshell.terminal.pty import open_pty
from rshell.values import TerminalSize

QUIET = 0.2  # seconds
LONGEST = 8.0  # seconds for a line
SIZE = (80, 24)
_CLEAR = rb"(?:\x1b\[[0-9;]*[mJK]|\x1b\(B|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\r)*"
# How the echo of a line ends, and how a prompt begins, for each shell.
ENDS = {
    "bash": (rb"\x1b\[\?2004l\r", rb"\x1b\[\?2004h"),
    "zsh": (rb"\x1b\[\?2004l\r\r\n", rb"\r\x1b\[0m\x1b\[27m\x1b\[24m\x1b\[J"),
    "fish": (
        rb"\x1b\[\?2004l(?:\x1b\[(?:30)?m|\x1b\(B)*",
        rb"\x1b\[2m\xe2\x8f\x8e" + _CLEAR + rb" *\r\xe2\x8f\x8e \r\x1b\[K(?:\x1b\[\?2004h)?",
    ),
}
_PROMPT = rb"\{(?P<prompt>[^{}\r\n]*)\}\$ "


@dataclass
class Ran:
    """What a line printed, the prompt behind it, how the shell ended, if it did.

    `prompt` is None where it is another than that which the comparison sets.
    """

    output: bytes = b""
    prompt: str | None = None
    ended: int | None = None
    is_stuck: bool = False


class PlainShell:
    """A shell on a terminal: `async with`, then `run` line after line."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], cwd: str, name: str) -> None:
        self._argv, self._env, self._cwd = argv, env, cwd
        echo_ends, begins = ENDS[name]
        self._echo_ends = re.compile(echo_ends)
        self._begins = re.compile(begins)
        self._at_prompt = re.compile(
            rb"(?:%b%b)?" % (begins, _CLEAR)
            + _PROMPT
            + rb"(?:\x1b\[[?0-9;]*[a-zA-Z]|\x1b[=>]|\r)*\Z"
        )
        self._data = bytearray()
        self._news = asyncio.Event()

    async def __aenter__(self) -> PlainShell:
        self._master, slave = open_pty(TerminalSize(*SIZE))
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._argv,
                stdin=slave,
                stdout=slave,
                stderr=slave,
                cwd=self._cwd,
                env=dict(self._env),
                start_new_session=True,
                preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0) and None,
            )
        finally:
            os.close(slave)
        os.set_blocking(self._master, False)
        asyncio.get_running_loop().add_reader(self._master, self._read)
        self._end = asyncio.create_task(self._process.wait())
        self._end.add_done_callback(lambda _: self._news.set())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        asyncio.get_running_loop().remove_reader(self._master)
        os.close(self._master)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._end

    @property
    def pid(self) -> int:
        """The shell's process."""
        return self._process.pid

    async def start(self) -> Ran:
        """Wait for the first prompt."""
        return await self._until_prompt(())

    async def run(self, text: str, keys: Sequence[str] = ()) -> Ran:
        """Type a line at the prompt, and `keys` while it runs."""
        self._data.clear()
        await self._type(f"\x1b[200~{text}\x1b[201~\r" if text else "\r")
        return await self._until_prompt(keys)

    def _read(self) -> None:
        try:
            data = os.read(self._master, 65536)
        except OSError:  # nobody has the other side any more
            asyncio.get_running_loop().remove_reader(self._master)
            return
        self._data += data
        self._news.set()

    async def _type(self, text: str) -> None:
        data = text.encode(errors="surrogateescape")
        while data:
            try:
                data = data[os.write(self._master, data[:1024]) :]
            except BlockingIOError:
                await asyncio.sleep(0.01)
            except OSError:
                return  # the shell has ended

    async def _until_prompt(self, keys: Sequence[str]) -> Ran:
        left = list(keys)
        typed = -1  # how much there was when the last key was
        until = asyncio.get_running_loop().time() + LONGEST
        while True:
            if self._end.done():
                await self._quiet()
                code = self._end.result()
                return Ran(self._output(len(self._data)), None, code if code >= 0 else 128 - code)
            if (
                not left
                and len(self._data) > typed
                and (found := self._at_prompt.search(self._data))
            ):
                prompt = found["prompt"].decode(errors="surrogateescape")
                return Ran(self._output(found.start()), prompt)
            if await self._quiet():
                if left:
                    typed = len(self._data)
                    await self._type(left.pop(0))
                elif found := self._editing():
                    return Ran(self._output(found.start()))
            if asyncio.get_running_loop().time() > until:
                return Ran(self._output(len(self._data)), is_stuck=True)

    async def _quiet(self) -> bool:
        """Whether nothing happens for a while."""
        self._news.clear()
        try:
            async with timeout(QUIET):
                await self._news.wait()
        except TimeoutError:
            return True
        return False

    def _editing(self) -> re.Match[bytes] | None:
        """Return where the shell's own editor has begun to show a prompt of any other kind."""
        try:
            if os.tcgetpgrp(self._master) != self.pid:
                return None
            if termios.tcgetattr(self._master)[3] & termios.ICANON:
                return None
        except (OSError, termios.error):
            return None
        prompts = list(self._begins.finditer(self._data))
        return prompts[-1] if prompts else None

    def _output(self, end: int) -> bytes:
        data = bytes(self._data[:end])
        found = self._echo_ends.search(data)
        return data[found.end() :] if found else data.partition(b"\n")[2]
