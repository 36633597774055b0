"""The editor: what is typed, typed ahead, and judged."""

from __future__ import annotations

import asyncio
import gc
import io
from collections.abc import Iterator
from typing import cast

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.completion import DummyCompleter
from prompt_toolkit.data_structures import Size
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.output import DummyOutput, Output
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.renderer import CPR_Support, Renderer

from rshell.channels.shell.client import ShellLine
from rshell.cli.prompt.editor import Editor
from rshell.cli.prompt.passthrough import SessionDetached
from rshell.cli.prompt.status import Status
from tests.support.session import until

DEADLINE = 30.0


class Line:
    """Says that a text is incomplete until it holds `done`."""

    name = ""

    async def wants_more(self, text: str) -> bool:
        return "done" not in text


@pytest.fixture
def keyboard() -> Iterator[PipeInput]:
    with create_pipe_input() as keys, create_app_session(input=keys, output=DummyOutput()):
        yield keys


def editor_for(
    keyboard: PipeInput, line: Line | None = None, output: Output | None = None
) -> Editor:
    with create_app_session(input=keyboard, output=output or DummyOutput()):
        return Editor(
            cast(ShellLine, line or Line()),
            Status(),
            history=InMemoryHistory(),
            completer=DummyCompleter(),
            is_vi=False,
            is_dumb=False,
        )


async def read(editor: Editor) -> str:
    async with asyncio.timeout(DEADLINE):
        return await editor.read()


async def test_unread_text_goes_into_the_next_command(keyboard: PipeInput) -> None:
    editor = editor_for(keyboard)
    editor.type_ahead("ls ")
    keyboard.send_text("-l\r")
    assert await read(editor) == "ls -l"


class NeverTells(Vt100_Output):
    """A terminal that can be asked where its cursor is, and does not answer."""

    responds_to_cpr = True


async def test_a_terminal_that_never_tells_its_cursor_gets_no_warning(
    keyboard: PipeInput, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would also be there on a way so long that the answer comes after 2 s."""
    monkeypatch.setattr(Renderer, "CPR_TIMEOUT", 0.0)
    shown = io.StringIO()
    editor = editor_for(keyboard, output=NeverTells(shown, lambda: Size(24, 80)))
    reading = asyncio.create_task(read(editor))
    renderer = editor._session.app.renderer
    await until(lambda: renderer.cpr_support is CPR_Support.NOT_SUPPORTED)
    keyboard.send_text("echo\r")
    assert await reading == "echo"
    assert "\x1b[6n" in shown.getvalue() and "WARNING" not in shown.getvalue()


async def test_newlines_that_came_back_are_enters(keyboard: PipeInput) -> None:
    editor = editor_for(keyboard)
    editor.type_ahead("one\ntwo\n")
    assert [await read(editor), await read(editor)] == ["one", "two"]


async def test_an_empty_line_ends_with_control_d(keyboard: PipeInput) -> None:
    keyboard.send_text("\x04")
    with pytest.raises(EOFError):
        await read(editor_for(keyboard))


async def test_what_is_typed_while_the_text_is_judged_comes_after_the_enter(
    keyboard: PipeInput,
) -> None:
    editor = editor_for(keyboard)
    keyboard.send_text("for i in 1; do\rdone\r")
    assert await read(editor) == "for i in 1; do\ndone"
    await editor.close()


async def test_a_named_session_is_left_by_a_key_and_tilde_d_is_a_command(
    keyboard: PipeInput,
) -> None:
    line = Line()
    line.name = "work"
    editor = editor_for(keyboard, line)
    keyboard.send_text("~d\r")
    assert await read(editor) == "~d"
    keyboard.send_text("half a li\x18\x04")
    with pytest.raises(SessionDetached):
        await read(editor)


async def test_elsewhere_there_is_nothing_to_detach_from(keyboard: PipeInput) -> None:
    keyboard.send_text("on\x18\x04\r")
    assert await read(editor_for(keyboard)) == "on"


class SlowLine(Line):
    """Judges when it is told to."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.answers = asyncio.Event()

    async def wants_more(self, text: str) -> bool:
        self.asked.set()
        await self.answers.wait()
        return False


async def test_an_answer_that_comes_after_the_interruption_does_nothing(
    keyboard: PipeInput,
) -> None:
    errors: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    line = SlowLine()
    editor = editor_for(keyboard, line)
    with create_app_session(input=keyboard, output=DummyOutput()):
        reading = asyncio.ensure_future(read(editor))
        keyboard.send_text("for i in 1; do\r")
        await line.asked.wait()
        editor.interrupt(EOFError())
        with pytest.raises(EOFError):
            await reading
    before = len(asyncio.all_tasks())
    line.answers.set()
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) < before
    await editor.close()
    gc.collect()  # a task that failed unseen says so when it is thrown away
    assert errors == []
