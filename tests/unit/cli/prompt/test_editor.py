"""The editor: what is typed, typed ahead, judged, proposed, and kept."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import cast

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.data_structures import Size
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.output import DummyOutput, Output
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.renderer import CPR_Support, Renderer

from rshell.aio import timeout
from rshell.channels.shell.client import ShellLine
from rshell.channels.shell.messages import Completions
from rshell.cli.prompt.editor import Editor
from rshell.cli.terminal import Detached
from tests.support.session import until

DEADLINE = 30.0


class Line:
    """Says that a text is incomplete until it holds `done`."""

    name = ""
    program = "/bin/bash"

    async def names(self) -> tuple[str, ...]:
        return ()

    async def wants_more(self, text: str) -> bool:
        return "done" not in text


@pytest.fixture
def keyboard() -> Iterator[PipeInput]:
    with create_pipe_input() as keys, create_app_session(input=keys, output=DummyOutput()):
        yield keys


def editor_for(
    keyboard: PipeInput,
    line: Line | None = None,
    output: Output | None = None,
    *,
    up_searches: bool = True,
    mode: str = "emacs",
) -> Editor:
    with create_app_session(input=keyboard, output=output or DummyOutput()):
        return Editor(
            cast(ShellLine, line or Line()),
            "here",
            lambda: [("", "$ ")],
            list,
            right_prompt=list,
            mode=lambda: mode,
            is_dumb=False,
            up_searches=up_searches,
        )


async def read(editor: Editor) -> str:
    async with timeout(DEADLINE):
        return await editor.read()


async def test_unread_text_goes_into_the_next_command(keyboard: PipeInput) -> None:
    editor = editor_for(keyboard)
    editor.type_ahead("ls ")
    keyboard.send_text("-l\r")
    assert await read(editor) == "ls -l"


async def test_text_of_the_server_s_making_is_put_into_the_line_and_does_nothing(
    keyboard: PipeInput, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDITOR", f"touch {tmp_path}/opened")
    editor = editor_for(keyboard)
    evil = "a\n\x18\x05\x1b[A\x04\x03b\udcff"
    editor.insert(evil)
    keyboard.send_text("!\r")
    assert await read(editor) == evil + "!"
    assert not (tmp_path / "opened").exists()


async def test_late_answers_of_the_terminal_are_not_typed(keyboard: PipeInput) -> None:
    answers = (
        "\x1b[?62;22c\x1b]11;rgb:0000/0000/0000\x1b\\\x1b[?2026;2$y\x1b[I\x1bP>|xterm(1)\x1b\\"
    )
    editor = editor_for(keyboard)
    editor.type_ahead(f"e{answers}c")
    editor.insert(f"h{answers}")
    keyboard.send_text(f"o{answers}\x1b[D \x1b[C{answers}!\r")
    assert await read(editor) == "ech o!"


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


async def test_a_terminal_that_never_tells_its_cursor_is_asked_once(
    keyboard: PipeInput, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each command began a second late."""

    async def gives_up(self: Renderer) -> None:
        self._waiting_for_cpr_futures.clear()

    monkeypatch.setattr(Renderer, "wait_for_cpr_responses", gives_up)
    shown = io.StringIO()
    editor = editor_for(keyboard, output=NeverTells(shown, lambda: Size(24, 80)))
    for command in ("one", "two", "three"):
        reading = asyncio.create_task(read(editor))
        await until(lambda: editor._session.app.is_running)
        keyboard.send_text(f"{command}\r")
        assert await reading == command
    assert shown.getvalue().count("\x1b[6n") == 1


async def test_newlines_that_came_back_are_enters(keyboard: PipeInput) -> None:
    editor = editor_for(keyboard)
    editor.type_ahead("one\ntwo\n")
    assert [await read(editor), await read(editor)] == ["one", "two"]


async def test_an_empty_line_ends_with_control_d(keyboard: PipeInput) -> None:
    keyboard.send_text("\x04")
    with pytest.raises(EOFError):
        await read(editor_for(keyboard))


async def test_a_named_shell_is_left_by_a_key_and_tilde_d_is_a_command(
    keyboard: PipeInput,
) -> None:
    line = Line()
    line.name = "work"
    editor = editor_for(keyboard, line)
    keyboard.send_text("~d\r")
    assert await read(editor) == "~d"
    keyboard.send_text("half a li\x18\x04")
    with pytest.raises(Detached):
        await read(editor)


async def test_elsewhere_there_is_nothing_to_detach_from(keyboard: PipeInput) -> None:
    keyboard.send_text("on\x18\x04\r")
    assert await read(editor_for(keyboard)) == "on"


# Searching, menus, windows.


async def test_the_toolbar_says_how_vi_is(keyboard: PipeInput) -> None:
    editor = editor_for(keyboard, mode="vi")
    editor._session.app.ttimeoutlen = 0.0
    reading = asyncio.create_task(read(editor))

    def is_shown(state: str) -> bool:
        return editor._vi_state() == [("", f" {state} ")]

    for keys, state in (
        ("word", "insert"),
        ("\x1b", "normal"),
        ("V", "visual"),
        ("\x1b", "normal"),
    ):
        keyboard.send_text(keys)
        await until(partial(is_shown, state))
    keyboard.send_text("i\r")
    assert await reading == "word"


async def test_without_colours_a_suggestion_does_not_look_typed(
    keyboard: PipeInput, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    shown = io.StringIO()
    editor = editor_for(keyboard, output=NeverTells(shown, lambda: Size(24, 80)))
    keyboard.send_text("first one\r")
    await read(editor)
    reading = asyncio.create_task(read(editor))
    keyboard.send_text("fir")
    await until(lambda: "\x1b[0;2mst one" in shown.getvalue())
    keyboard.send_text("\r")
    assert await reading == "fir"


class Offering(Line):
    """Offers two candidates for everything."""

    async def complete(self, text: str) -> Completions:
        return Completions(1, 0, ("one", "other"), ("one", "other"))


async def test_escape_closes_the_menu_and_alt_enter_still_adds_a_line(keyboard: PipeInput) -> None:
    editor = editor_for(keyboard, Offering())
    app, buffer = editor._session.app, editor._session.default_buffer
    app.ttimeoutlen = 0.0
    reading = asyncio.create_task(read(editor))
    keyboard.send_text("o\t\t")
    await until(lambda: buffer.complete_state is not None)
    keyboard.send_text("\t")
    await until(lambda: buffer.text == "one")
    keyboard.send_text("\x1b")
    await until(lambda: buffer.complete_state is None)
    assert buffer.text == "o"
    keyboard.send_text("\x1b\rdone\r")
    assert await reading == "o\ndone"


async def small_window(keyboard: PipeInput, rows: int) -> str:
    """Return what a window of so many rows shows while a word is typed and a menu opened."""
    shown = io.StringIO()
    output = Vt100_Output(shown, lambda: Size(rows, 20))
    editor = editor_for(keyboard, Offering(), output=output)
    buffer = editor._session.default_buffer
    reading = asyncio.create_task(read(editor))
    keyboard.send_text("typed\t\t")
    await until(lambda: buffer.complete_state is not None)
    keyboard.send_text("\x15word\r")
    assert await reading == "word"
    return shown.getvalue()


async def test_a_small_window_shows_the_line_whatever_else_there_is(keyboard: PipeInput) -> None:
    for rows in (1, 2, 3, 5, 9):
        shown = await small_window(keyboard, rows)
        assert "$ " in shown and "too small" not in shown, rows
