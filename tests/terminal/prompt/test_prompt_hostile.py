"""A prompt whose server means harm: text is text, memory is bounded, and Ctrl-C works."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path

from rshell.protocol.codec import Json
from rshell.protocol.frames import FrameType
from tests.support.hostile import (
    EVIL,
    ending,
    every_message,
    hostile,
    opened,
    said,
    welcome,
)
from tests.support.terminal import CTRL, ENTER, TAB, Person, at_terminal
from tests.support.wire import data_frame, frame

NICE = {"user": "me", "host": "box", "home": "/", "cwd": "/x"}


def peak(person: Person) -> int:
    """Return the most memory that the client had, in bytes."""
    text = Path(f"/proc/{person.popen.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", text)
    assert found
    return int(found[1]) * 1024


class Shell:
    """A shell that answers each command with all the harm there is; `ran` is what it was told."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    async def __call__(
        self, number: int, request: Json, inbox: asyncio.Queue[Json]
    ) -> AsyncIterator[bytes]:
        yield opened(number, welcome() | NICE)
        while True:
            heard = await inbox.get()
            if heard["type"] in ("complete", "check"):
                yield self._answer(number, heard)
            if heard["type"] != "run":
                continue
            self.ran.append(heard["command"])
            for message in every_message():
                yield said(number, message)
            for _ in range(50):
                yield said(number, {"type": "unread", "text": "\x18\x05\r" * 10_000})
                yield said(number, {"type": "notice", "text": EVIL * 1500})
                yield said(number, ending(0, restarted=True))
            yield data_frame(number, 1, b"shown\r\n")
            done = ending(heard["number"], stdout=7, cwd="/x", unread="\x18\x05rm\n" * 5000)
            if heard["command"].endswith("exit"):
                yield said(number, done | {"left": True, "unread": ""})
                yield frame(FrameType.CLOSE, number)
                return
            yield said(number, done)
            # And above the prompt.
            for _ in range(50):
                yield said(number, {"type": "unread", "text": "rm\n" * 1000})
                yield said(number, {"type": "notice", "text": EVIL * 1500})

    def _answer(self, number: int, asked: Json) -> bytes:
        if asked["type"] == "check":
            return said(number, {"type": "checked", "number": asked["number"], "incomplete": False})
        texts = [EVIL, *(f"candidate{n}\x18\x05" for n in range(2500))]
        found = {"number": asked["number"], "start": 0, "texts": texts, "labels": texts}
        return said(number, {"type": "completions"} | found)


async def test_a_hostile_server_types_nothing_at_the_prompt(tmp_path: Path) -> None:
    shell = Shell()
    owned = Path(os.environ["HOME"]) / "owned"
    env = {"EDITOR": f"touch {owned}", "VISUAL": f"touch {owned}"}
    socket = tmp_path / "s"
    async with (
        hostile(socket, shell),
        at_terminal(f"unix:{socket}", env=env) as person,
    ):
        await person.prompt()
        person.send("first" + ENTER)
        await person.wait_for(lambda: len(shell.ran) == 2 and person.is_at_prompt, "a prompt")
        person.send("half a word")
        await person.wait_for(lambda: person.line.endswith("half a word"), "what is typed")
        person.send(TAB)
        await person.read_up()
        person.send(CTRL["C"])
        await person.wait_for(lambda: person.is_at_prompt, "an empty prompt after Ctrl-C")
        assert shell.ran == [":", "first"]
        assert person.screen.title == "" and not owned.exists()
        assert peak(person) < 100 * 1024 * 1024
        person.send(CTRL["D"])
        assert await person.wait() == 0
    state = Path(os.environ["XDG_STATE_HOME"])
    history = [path.read_text() for path in state.rglob("history/*")]
    assert "rm" not in "".join(history)


async def test_control_c_ends_the_wait_for_input_that_never_comes_back(tmp_path: Path) -> None:
    heard: list[Json] = []

    async def attack(
        number: int, request: Json, inbox: asyncio.Queue[Json]
    ) -> AsyncIterator[bytes]:
        yield opened(number, welcome() | NICE)
        while True:
            message = await inbox.get()
            heard.append(message)
            if message["type"] == "run" and message["number"] == 1:
                yield said(number, ending(1, cwd="/x"))
            elif message["type"] == "run":
                await asyncio.sleep(0.3)  # until something was typed, which is not counted here
                yield said(number, ending(2, cwd="/x", taken=0))

    socket = tmp_path / "s"
    async with hostile(socket, attack), at_terminal(f"unix:{socket}") as person:
        await person.prompt()
        person.send("cat" + ENTER)
        await person.wait_for(lambda: len(heard) > 1 and not person.has_mode(2004), "the command")
        person.send("typed")
        await person.interrupt(2)
