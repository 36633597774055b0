"""A prompt whose server means harm: text is text, memory is bounded, and Ctrl-C works."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path

from rshell.protocol.codec import Json
from tests.support.hostile import NICE, Shell, ending, hostile, opened, said, welcome
from tests.support.terminal import CTRL, ENTER, TAB, Person, at_terminal
from tests.support.wire import data_frame


def peak(person: Person) -> int:
    """Return the most memory that the client had, in bytes."""
    text = Path(f"/proc/{person.popen.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", text)
    assert found
    return int(found[1]) * 1024


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
        assert person.screen.title == "me@box: /x" and not owned.exists()
        assert peak(person) < 100 * 1024 * 1024
        person.send(CTRL["D"])
        assert await person.wait() == 0
    state = Path(os.environ["XDG_STATE_HOME"])
    history = [path.read_text() for path in state.rglob("history/*")]
    assert "rm" not in "".join(history)


async def test_control_c_ends_the_wait_for_input_that_never_comes_back(tmp_path: Path) -> None:
    async def attack(
        number: int, request: Json, inbox: asyncio.Queue[Json]
    ) -> AsyncIterator[bytes]:
        yield opened(number, welcome() | NICE)
        while True:
            message = await inbox.get()
            if message["type"] == "run" and message["number"] == 1:
                yield said(number, ending(1, cwd="/x"))
            elif message["type"] == "run":
                yield data_frame(number, 1, b"up\r\n")
            elif message["type"] == "typed":
                yield said(number, ending(2, cwd="/x", taken=0))  # as if it were still on its way

    socket = tmp_path / "s"
    async with hostile(socket, attack), at_terminal(f"unix:{socket}") as person:
        await person.prompt()
        person.send("cat" + ENTER)
        await person.wait_for("up")
        person.send("typed")
        await person.interrupt(2, every=0.2)  # the first comes before the ending, which is no use
