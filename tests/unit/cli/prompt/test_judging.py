"""Enter: what is typed while the text is judged, and an answer that comes too late."""

from __future__ import annotations

import asyncio
import gc

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import PipeInput
from prompt_toolkit.output import DummyOutput

from tests.unit.cli.prompt.test_editor import Line, editor_for, keyboard, read

__all__ = ["keyboard"]


async def test_what_is_typed_while_the_text_is_judged_comes_after_the_enter(
    keyboard: PipeInput,
) -> None:
    editor = editor_for(keyboard)
    keyboard.send_text("for i in 1; do\rdone\r")
    assert await read(editor) == "for i in 1; do\ndone"
    await editor.close()


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
