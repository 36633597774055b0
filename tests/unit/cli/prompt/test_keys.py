"""Keys in the line: searches, and the history.

And Enter: what is typed while the text is judged, and an answer that comes too late.
"""

from __future__ import annotations

import asyncio
import gc

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import PipeInput
from prompt_toolkit.output import DummyOutput

from rshell.cli.prompt.history import SharedHistory
from tests.unit.cli.prompt.test_editor import Line, editor_for, keyboard, read

__all__ = ["keyboard"]


async def test_a_search_is_taken_by_the_keys_that_move_and_given_up_by_control_g(
    keyboard: PipeInput, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor = editor_for(keyboard)
    keyboard.send_text("first one\r")
    await read(editor)
    monkeypatch.setattr(SharedHistory, "append_string", lambda self, text: None)
    for keys, command in (
        ("\x12fir\x1b[C!\r", "first one!"),
        ("\x12fir\x1b[F!\r", "first one!"),
        ("\x12fir\x05!\r", "first one!"),
        ("\x12fir\x1b[D!\r", "!first one"),
        ("\x12fir\x01!\r", "!first one"),
        ("typed\x1b[D\x12fir\x12\x12\x07!\r", "type!d"),
        ("typed\x12fir\x12\x03!\r", "typed!"),
    ):
        keyboard.send_text(keys)
        assert await read(editor) == command, keys


UP, DOWN, CTRL_P, CTRL_N = "\x1b[A", "\x1b[B", "\x10", "\x0e"


async def test_up_looks_for_what_is_typed_and_down_comes_back(
    keyboard: PipeInput, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor = editor_for(keyboard)
    for command in ("git log", "ls", "git diff", "pwd", "git diff", "two\x1b\rlines"):
        keyboard.send_text(command + "\r")
        await read(editor)
    plain = editor_for(keyboard, up_searches=False)
    vi = editor_for(keyboard, mode="vi")
    monkeypatch.setattr(SharedHistory, "append_string", lambda self, text: None)
    for of, keys, command in (
        (editor, f"git{UP}", "git diff"),
        (editor, f"git{UP}{UP}", "git log"),  # each line once
        (editor, f"git{UP}{UP}{UP}", "git log"),
        (editor, f"git{UP}{UP}{DOWN}{DOWN}!", "git!"),
        (editor, f"gitx\x1b[D{UP}!", "git diff!"),  # what is before the cursor
        (editor, f"git{UP}\x01\x0bls{UP}", "ls"),  # which is another text
        (editor, f"{UP}{UP}{UP}", "git diff"),  # within the two lines first
        (editor, f"git{CTRL_P}{CTRL_P}", "git diff"),
        (editor, f"git{CTRL_P}{CTRL_P}{CTRL_P}{CTRL_N}", "git diff"),
        (editor, f"a\x1b\rb{UP}!{DOWN}?", "a!\nb?"),
        (plain, f"git{UP}{UP}{UP}{UP}", "pwd"),
        (vi, f"git{UP}{UP}", "git log"),
    ):
        keyboard.send_text(f"{keys}\r")
        assert await read(of) == command, keys


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
