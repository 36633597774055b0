"""A person at the interactive prompt: the real client in a real terminal, and its screen.

Strategy: the client runs on the slave of a pty; `pyte` keeps the screen that a person would see
and answers what a terminal is asked (where is the cursor?). Tests type keys and wait until the
screen, the stream or the process says what they wait for; nothing here ever just waits.

Hazards:
- pyte takes a second for each mebibyte. Of a flood only the end is shown to it, a few times a
  second.
- The prompt looks the same before and after a command. Prompts are told apart by counting how
  often the editor turned bracketed paste on, which it does each time it takes the terminal.
- Programs turn it on as well, so `run` is for commands that don't; with others, wait for text.
"""

from __future__ import annotations

import asyncio
import os
import pty
import re
import select
import subprocess
import tempfile
import termios
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pyte

from rshell.aio import timeout
from rshell.terminal.pty import set_size
from rshell.values import TerminalSize
from tests.support.commands import Changes, argv, environment, serving, until
from tests.support.forked import start_on_terminal

SIZE = TerminalSize(columns=100, rows=30)
DEADLINE = 60.0
_IMPATIENCE = 2.0  # seconds between two presses of a key that seems to do nothing
_BEGUN = 4096
_END = 8192
_OWN = {"kill_grace": 1.5}  # what is stuck when a test is over is killed
FLOOD = 128 * 1024  # bytes in a second, beyond which pyte is shown only the ends of what came
_READS = 256  # at a time, so that the test gets its turn
_GLANCE = 0.1  # seconds between two looks at a flood

PASTE_ON, PASTE_OFF = b"\x1b[?2004h", b"\x1b[?2004l"
ENTER, ESCAPE, TAB, UP = "\r", "\x1b", "\t", "\x1b[A"
CTRL = {letter: chr(ord(letter) & 31) for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ\\"}

_PROMPT = re.compile(r"[^\s@]+@[^\s:]+:(?P<cwd>.*) [#$]( |$)")
_MODE = 5  # pyte keeps private modes shifted by this many bits


class Screen(pyte.Screen):
    """A screen that answers questions, and that no sequence of vim's makes stumble."""

    def __init__(self, columns: int, lines: int, answer: Callable[[bytes], None]) -> None:
        self._answer = answer
        super().__init__(columns, lines)

    def write_process_input(self, data: str) -> None:
        self._answer(data.encode())

    def select_graphic_rendition(self, *attrs: int, **options: bool) -> None:
        if not options:  # else it is a question for other terminals
            super().select_graphic_rendition(*attrs)

    def report_device_status(self, mode: int, **options: bool) -> None:
        if not options:
            super().report_device_status(mode)


class Person:
    """Sits at a terminal on which `rshell` runs. `screen` is what they see.

    The prompt is rshell's, by which prompts are found here, unless a config file is there already.
    """

    def __init__(
        self, arguments: list[str], env: Mapping[str, str], size: TerminalSize, really: bool
    ) -> None:
        self._master, self._slave = pty.openpty()
        os.set_blocking(self._master, False)
        set_size(self._master, size)
        self.before = self.modes
        self.screen = Screen(size.columns, size.rows, self._type)
        self.prompts = 0
        self.received = 0
        self.escapes: list[bytes] = []
        self.begun = bytearray()  # the first bytes, which no flood pushes out
        self._stream = pyte.ByteStream(self.screen)
        self._fresh = b""  # what pyte has still to be shown
        self._showing: asyncio.TimerHandle | None = None
        self._tail = b""
        self._second = 0.0  # when the present one began, and what came in it
        self._in_second = 0
        self._unsent = bytearray()
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        config = Path({**os.environ, **env}["XDG_CONFIG_HOME"], "rshell", "config.toml")
        if not config.exists():
            config.parent.mkdir(parents=True, exist_ok=True)
            config.write_text('prompt = "rshell"\n')
        self.popen = start_on_terminal(
            arguments,
            os.ttyname(self._slave),
            really=really,
            env={**environment({"TERM": "xterm-256color", "LANG": "C.UTF-8"}), **env},
            cwd=Path.cwd(),
        )
        self._loop.add_reader(self._master, self._read)

    async def leave(self) -> None:
        """End the client, if it still runs, and close the terminal."""
        self.popen.kill()
        await self.wait()
        self.hang_up()

    def hang_up(self) -> None:
        """Close the window: the terminal is gone. Harmless when it is."""
        if self._master >= 0:
            self._show()
            self._loop.remove_reader(self._master)
            self._loop.remove_writer(self._master)
            os.close(self._master)
            os.close(self._slave)
            self._master = self._slave = -1

    # What they do.

    def send(self, keys: str | bytes) -> None:
        """Press keys, one after another, without waiting."""
        self._type(keys.encode() if isinstance(keys, str) else keys)

    def paste(self, text: str) -> None:
        """Paste as terminals do at a prompt: all newlines are returns, with marks around it."""
        self.send("\x1b[200~" + text.replace("\n", "\r") + "\x1b[201~")

    def resize(self, size: TerminalSize) -> None:
        """Give the window another size."""
        self.screen.resize(size.rows, size.columns)
        set_size(self._master, size)

    async def run(self, command: str) -> list[str]:
        """Type a command and wait for the prompt after it; return the lines in between.

        A prompt that came again, for something was shown above it, is not the one after it.
        """
        self.send(command + ENTER)
        count = self.prompts + 1
        await self.wait_for(
            lambda: self.prompts >= count and self.is_at_prompt and self._is_after(command),
            f"the prompt after {command!r}",
        )
        return self.output()

    async def press(self, key: str, condition: Callable[[], object], why: str) -> None:
        """Press a key until `condition()`, as people do when an answer came too late to show."""
        async with timeout(DEADLINE):
            while not condition():
                self.send(key)
                with suppress(TimeoutError):
                    async with timeout(_IMPATIENCE):
                        await self.wait_for(condition, why)

    async def each(self, keys: str) -> None:
        """Press keys one by one, each of which echoes something, as slow fingers do."""
        for key in keys:
            seen = self.received
            self.send(key)
            await self.wait_for(partial(self._has_more_than, seen), f"an echo of {key!r}")

    def _has_more_than(self, seen: int) -> bool:
        return self.received > seen

    # What they see.

    @property
    def display(self) -> list[str]:
        """The lines of the screen without the blanks at their ends."""
        return [line.rstrip() for line in self.screen.display]

    @property
    def line(self) -> str:
        """The line of the cursor up to the cursor."""
        cells = self.screen.buffer[self.screen.cursor.y]
        return "".join(cells[x].data for x in range(self.screen.cursor.x))

    @property
    def is_at_prompt(self) -> bool:
        """Whether the editor has the terminal and nothing is typed yet."""
        found = _PROMPT.fullmatch(self.line)
        return found is not None and self.has_mode(2004)

    @property
    def modes(self) -> list[Any]:
        """The terminal's modes, for comparison."""
        return termios.tcgetattr(self._slave)

    def has_mode(self, number: int) -> bool:
        """Whether a private mode of the terminal, such as 1000 for the mouse, is on."""
        return number << _MODE in self.screen.mode

    def output(self) -> list[str]:
        """Return the lines between the last two prompts on the screen."""
        prompts = self._prompt_lines()
        assert len(prompts) > 1, "\n".join(self.display)
        return self.display[prompts[-2] + 1 : prompts[-1]]

    def _prompt_lines(self) -> list[int]:
        return [number for number, line in enumerate(self.display) if _PROMPT.match(line)]

    def _is_after(self, command: str) -> bool:
        """Whether the last prompt but one, if it is on the screen still, has `command`."""
        *_, number, _ = [-1, -1, *self._prompt_lines()]
        if number < 0:
            return True
        line = self.display[number]
        found = _PROMPT.match(line)
        assert found is not None
        shown = line[found.end() :].strip()
        # What is not ASCII may be shown composed.
        plain = re.match("[ -~]*", shown)
        assert plain is not None
        return command.lstrip().startswith(plain[0]) and bool(shown or not command.strip())

    def cells(self, part: str) -> list[Any]:
        """Return pyte's cells of the last place on the screen where `part` stands."""
        for y in reversed(range(self.screen.lines)):
            x = self.screen.display[y].rfind(part)
            if x >= 0:
                return [self.screen.buffer[y][x + offset] for offset in range(len(part))]
        raise AssertionError(f"{part!r} is not on the screen:\n" + "\n".join(self.display))

    # Waiting.

    async def wait_for(self, what: str | Callable[[], object], why: str = "") -> None:
        """Wait until a line of the screen is exactly `what`, or until `what()` holds."""
        condition = what if callable(what) else lambda: what in self.display
        try:
            async with timeout(DEADLINE):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            seen = "\n".join(filter(None, self.display))
            raise AssertionError(f"never came: {why or what!r}\n{seen}") from None

    async def see(self, part: str) -> None:
        """Wait until `part` is anywhere on the screen."""
        await self.wait_for(lambda: any(part in line for line in self.display), part)

    async def prompt(self, count: int = 1) -> None:
        """Wait for the prompt with this number, 1 is the first."""
        await self.wait_for(lambda: self.prompts >= count and self.is_at_prompt, f"prompt {count}")

    async def interrupt(self, count: int, *, every: float = _IMPATIENCE) -> None:
        """Press Ctrl-C until the prompt with this number comes, as people do."""
        async with timeout(DEADLINE):
            while not (self.prompts >= count and self.is_at_prompt):
                self.send(CTRL["C"])
                with suppress(TimeoutError):
                    async with timeout(every):
                        await self.prompt(count)

    async def read_up(self) -> None:
        """Wait until the client has read every key that was pressed.

        What it has not read waits in the terminal, whose own echo is off while it runs.
        """
        await asyncio.to_thread(
            until, lambda: not (self._unsent or _is_readable(self._slave)), "the keys read"
        )

    async def wait(self) -> int:
        """Wait for the client's end and return its status; what it wrote is on the screen."""
        try:
            status = await asyncio.to_thread(self.popen.wait, DEADLINE)
        except subprocess.TimeoutExpired:
            raise AssertionError("still runs\n" + "\n".join(filter(None, self.display))) from None
        if self._master >= 0:
            self._read()
            self._show()
        return status

    # The wires.

    def _type(self, keys: bytes) -> None:
        self._unsent += keys
        self._write()

    def _write(self) -> None:
        with suppress(BlockingIOError):
            while self._unsent:
                del self._unsent[: os.write(self._master, self._unsent[:4096])]
        if self._unsent:
            self._loop.add_writer(self._master, self._write)
        else:
            self._loop.remove_writer(self._master)

    def _read(self) -> None:
        blocks: list[bytes] = []
        with suppress(BlockingIOError):
            while len(blocks) < _READS:
                blocks.append(os.read(self._master, 65536))
        fresh = b"".join(blocks)
        self.received += len(fresh)
        self.begun += fresh[: max(0, _BEGUN - len(self.begun))]
        self.escapes += re.findall(rb"\x1b.{0,8}", fresh)
        searched = self._tail + fresh
        self.prompts += searched.count(PASTE_ON)
        self._tail = searched[-len(PASTE_ON) + 1 :]
        now = self._loop.time()
        if now - self._second > 1:
            self._second, self._in_second = now, 0
        self._in_second += len(fresh)
        self._fresh += fresh
        if self._in_second <= FLOOD:
            self._show()
            return
        if len(self._fresh) > _END:
            self._fresh = self._fresh[-_END:].partition(b"\n")[2] or self._fresh[-_END:]
        if self._showing is None:
            self._showing = self._loop.call_later(_GLANCE, self._show)

    def _show(self) -> None:
        """Show pyte what is kept, and wake who waits for it."""
        if self._showing is not None:
            self._showing.cancel()
            self._showing = None
        fresh, self._fresh = self._fresh, b""
        self._stream.feed(fresh)
        self._changed.set()


@asynccontextmanager
async def at_terminal(
    *arguments: str,
    env: Mapping[str, str] | None = None,
    size: TerminalSize = SIZE,
    limits: Changes | None = None,
    really: bool = False,
) -> AsyncIterator[Person]:
    """Run `rshell` with `arguments` for a person at a terminal."""
    person = Person(argv("rshell", *arguments, limits=limits), env or {}, size, really)
    try:
        yield person
    finally:
        await person.leave()


@asynccontextmanager
async def at_prompt(
    *arguments: str,
    env: Mapping[str, str] | None = None,
    size: TerminalSize = SIZE,
    limits: Changes | None = None,
    really: bool = False,
) -> AsyncIterator[Person]:
    """Run `rshell`, on a server of its own unless told otherwise, up to its first prompt."""
    async with AsyncExitStack() as stack:
        if not arguments:
            # A short path: the toolbar shows it, and more on the same line.
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="r")))
            own = serving(
                "--unix", str(directory / "s"), env=env, log=directory / "log", limits=_OWN
            )
            arguments = (stack.enter_context(own).address,)
        person = await stack.enter_async_context(
            at_terminal(*arguments, env=env, size=size, limits=limits, really=really)
        )
        await person.prompt()
        yield person


def _is_readable(fd: int) -> bool:
    poll = select.poll()  # which waits for the kernel to bring what was just written
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))
