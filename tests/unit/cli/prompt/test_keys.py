"""Keys in the line: searches, and the history."""

from __future__ import annotations

import pytest
from prompt_toolkit.input import PipeInput

from rshell.cli.prompt.history import SharedHistory
from tests.unit.cli.prompt.test_editor import editor_for, keyboard, read

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
