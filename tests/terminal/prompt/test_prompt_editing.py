"""Editing at the prompt as it is seen: colours, candidates, searches, large texts, odd windows.

The server is one of the test's own, whose shell says what the test wants, and when.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import rshell
from rshell.channels.base import Context, listen
from rshell.channels.shell.messages import (
    Check,
    Checked,
    Complete,
    Completions,
    ListNames,
    Names,
    RunCommand,
    ShellEnding,
    ShellReply,
)
from rshell.protocol.codec import Message
from rshell.transport.channel import Channel
from rshell.values import ExitStatus, TerminalSize
from tests.support.terminal import CTRL, ENTER, TAB, UP, Person, at_prompt

PAGE_DOWN = "\x1b[6~"


class FakeShell:
    """A shell that knows a few names. A command prints what it is, or, a long one, how long."""

    def __init__(self) -> None:
        self.commands: list[str] = []
        self.candidates: dict[str, Completions] = {}  # by what is typed
        self.held: list[Completions] = []  # for `slow`, until they are sent
        self.names: tuple[str, ...] = ("cat", "echo", "ls", "slow")
        self._channel: Channel | None = None

    async def serve(self, channel: Channel, context: Context) -> None:
        self._channel = channel
        channel.accept(ShellReply("/bin/bash", "/home/me", "/home/me", "me", "box").encode())
        kinds = (RunCommand, Complete, Check, ListNames)
        listen(channel, self._hear, *kinds)
        await channel.wait_closed()

    def offer(self, typed: str, *texts: str, descriptions: tuple[str, ...] = ()) -> None:
        start = typed.rfind(" ") + 1
        labels = tuple(text.rstrip() for text in texts)
        self.candidates[typed] = Completions(1, start, texts, labels, descriptions)

    def answer(self) -> None:
        """Send the answers that were held back."""
        for answer in self.held:
            self._send(answer)
        self.held.clear()

    def _send(self, message: Message) -> None:
        assert self._channel is not None
        self._channel.send_message(message.encode())

    def _hear(self, heard: Message) -> None:
        if isinstance(heard, RunCommand):
            self._run(heard)
        elif isinstance(heard, Complete):
            found = self.candidates.get(heard.text) or Completions(1, 0, (), ())
            found = found.replace(number=heard.number)
            if heard.text.startswith("slow"):
                self.held.append(found)
            else:
                self._send(found)
        elif isinstance(heard, Check):
            self._send(Checked(heard.number, False))
        elif isinstance(heard, ListNames):
            self._send(Names(heard.number, self.names))

    def _run(self, asked: RunCommand) -> None:
        assert self._channel is not None
        self.commands.append(asked.command)
        shown = asked.command if len(asked.command) < 80 else f"{len(asked.command)} characters"
        # The first one is what comes before the first prompt.
        output = f"ran {shown}\r\n".encode() if len(self.commands) > 1 else b""
        if output:
            self._channel.write_nowait(output, 1)
        status = ExitStatus(code=0)
        self._send(ShellEnding(asked.number, status, "/home/me", len(output), 0, 0.01))


@asynccontextmanager
async def at_fake(
    *, size: TerminalSize | None = None, env: Mapping[str, str] | None = None
) -> AsyncIterator[tuple[FakeShell, Person]]:
    shell = FakeShell()
    async with AsyncExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="r"))
        path = Path(directory) / "s"
        handlers = {"shell": shell.serve}
        await stack.enter_async_context(rshell.serve(None, unix=path, handlers=handlers))
        person = await stack.enter_async_context(
            at_prompt(
                f"unix:{path}", "--prompt", "rshell", size=size or TerminalSize(100, 30), env=env
            )
        )
        yield shell, person


def colour(person: Person, part: str) -> str:
    """Return the colour of the first letter of `part`, where it was shown last."""
    return str(person.cells(part)[0].fg)


async def type_text(person: Person, text: str) -> None:
    person.send(text)
    await person.wait_for(lambda: person.line.endswith(text), text)


async def test_colours_say_what_the_shell_will_see() -> None:
    async with at_fake() as (shell, person):
        await type_text(person, "sl 'quoted' --opt $var | ls # why")
        await person.wait_for(lambda: colour(person, "sl '") == "red", "an unknown command in red")
        assert [
            colour(person, part) for part in ("'quoted'", "--opt", "$var", "|", "ls #", "# why")
        ] == ["brown", "blue", "cyan", "magenta", "default", "brightblack"]
        person.send(CTRL["C"])
        await person.prompt(2)
        await type_text(person, "ec")
        assert colour(person, "ec") == "default"  # it may become echo
        await type_text(person, "ho; new")
        await person.wait_for(lambda: colour(person, "new") == "red")
        shell.names += ("new",)
        person.send(ENTER)
        await person.prompt(3)
        await type_text(person, "new ")
        await person.wait_for(lambda: colour(person, "new ") == "default")


async def test_without_colours_there_are_none() -> None:
    async with at_fake(env={"NO_COLOR": "1"}) as (_, person):
        await type_text(person, "nope 'quoted' -o")
        assert {cell.fg for cell in person.cells("nope 'quoted' -o")} == {"default"}


async def test_a_slow_answer_is_announced_and_comes_late() -> None:
    async with at_fake() as (shell, person):
        shell.offer("slow a", "alpha ", "alps ")
        person.send("slow a" + TAB)
        await person.see("completing...")
        shell.answer()
        await person.wait_for(lambda: person.line.endswith("slow alp"))
        assert not any("completing" in line for line in person.display)
        person.send(TAB)
        await person.see("alps")
        person.send(CTRL["U"] + "slow a" + TAB)  # which is known
        await person.wait_for(lambda: person.line.endswith("slow alp"))


async def test_an_answer_that_typing_has_overtaken_is_dropped() -> None:
    async with at_fake() as (shell, person):
        shell.offer("slow a", "alpha ")
        shell.offer("slow ab", "abacus ")
        person.send("slow a" + TAB)
        await person.see("completing...")
        await type_text(person, "b")
        assert not any("completing" in line for line in person.display)
        shell.answer()
        person.send(TAB)
        await person.see("completing...")
        assert person.line.endswith("slow ab")
        shell.answer()
        await person.wait_for(lambda: person.line.endswith("slow abacus "))
        person.send("now" + ENTER)
        await person.wait_for("ran slow abacus now")


async def test_two_thousand_candidates_are_leafed_through() -> None:
    async with at_fake() as (shell, person):
        names = [f"src/choice-{number:04}" for number in range(2000)]
        shell.offer("ls ", *(name + " " for name in names))
        person.send("ls " + TAB)
        await person.wait_for(lambda: person.line.endswith("ls src/choice-"))
        person.send(TAB)
        await person.see(" choice-0001")  # without its directory
        person.send(TAB)
        await person.wait_for(lambda: person.line.endswith("choice-0000 "))
        person.send(PAGE_DOWN * 3)

        def is_far() -> bool:
            found = re.search(r"src/choice-(\d{4}) $", person.line)
            return found is not None and int(found[1]) > 50

        await person.wait_for(is_far, "three pages turned")
        person.send(ENTER + ENTER)
        await person.wait_for(lambda: len(shell.commands) > 1)
        assert shell.commands[1] > "ls src/choice-0050"


async def test_candidates_have_their_descriptions_beside_them() -> None:
    async with at_fake() as (shell, person):
        shell.offer("git ", "add ", "mv ", descriptions=("put into the index", "move a file"))
        person.send("git " + TAB)
        await person.see("move a file")
        rows = [line for line in person.display if "put into the index" in line]
        assert len(rows) == 1 and " add " in rows[0]


async def test_long_lines_large_pastes_and_wide_characters_go_through() -> None:
    async with at_fake() as (shell, person):
        line = "echo " + "word=x 'q' $y; " * 333
        person.send(line + ENTER)
        await person.wait_for(f"ran {len(line)} characters")
        await person.prompt(2)
        text = "# a line of text\n" * 10_000 + "true"
        person.paste(text)
        person.send(ENTER)
        await person.wait_for(f"ran {len(text)} characters")
        assert shell.commands[1:] == [line, text]
        await person.prompt(3)
        await type_text(person, "日本語 ")
        person.send("x" + ENTER)
        await person.wait_for(lambda: shell.commands[-1] == "日本語 x")


async def test_tiny_and_huge_windows_complete_and_search() -> None:
    for size in (TerminalSize(20, 5), TerminalSize(300, 100)):
        async with at_fake(size=size) as (shell, person):
            shell.offer("slow a", "alpha ", "alps ")
            person.send("ls" + ENTER)
            await person.prompt(2)
            await type_text(person, "slow a")
            person.send(TAB)
            await person.see("completing...")
            assert person.line.endswith("slow a")
            shell.answer()
            await person.wait_for(lambda: person.line.endswith("slow alp"))
            person.send(TAB)
            await person.see("alps")
            person.send(CTRL["U"] + "l" + UP)
            await person.wait_for(lambda: person.line.endswith("ls"))
            person.send(ENTER)
            await person.wait_for(lambda: shell.commands[1:] == ["ls", "ls"])
