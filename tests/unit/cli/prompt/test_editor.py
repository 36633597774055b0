"""The editor: what is typed, typed ahead, judged, proposed, and kept."""

from __future__ import annotations

import asyncio
import gc
import io
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.data_structures import Size
from prompt_toolkit.document import Document
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.output import DummyOutput, Output
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.renderer import CPR_Support, Renderer

from rshell.channels.shell.client import ShellLine
from rshell.channels.shell.messages import Completions
from rshell.cli.prompt.editor import Editor, RemoteCompleter, SharedHistory, open_history
from rshell.cli.terminal import Detached
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
            "here",
            lambda: [("", "$ ")],
            list,
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


class Completing:
    """Answers every question alike, or raises."""

    def __init__(self, *texts: str, start: int = 0, error: Exception | None = None) -> None:
        self.asked: list[str] = []
        self._answer = Completions(1, start, texts, texts)
        self._error = error

    async def complete(self, text: str) -> Completions:
        self.asked.append(text)
        if self._error is not None:
            raise self._error
        return self._answer


async def candidates(completer: RemoteCompleter, text: str) -> list[tuple[str, int]]:
    found = completer.get_completions_async(Document(text), CompleteEvent())
    return [(item.text, item.start_position) async for item in found]


async def test_an_answer_is_kept_until_it_is_forgotten() -> None:
    line = Completing("cat", start=0)
    completer = RemoteCompleter(cast(ShellLine, line))
    for _ in range(2):
        assert await candidates(completer, "ca") == [("cat", -2)]
    assert line.asked == ["ca"]
    completer.forget()
    await candidates(completer, "ca")
    assert line.asked == ["ca", "ca"]


async def test_an_answer_without_candidates_may_have_been_late_and_is_not_kept() -> None:
    line = Completing()
    completer = RemoteCompleter(cast(ShellLine, line))
    for _ in range(2):
        assert await candidates(completer, "ca") == []
    assert line.asked == ["ca", "ca"]


async def test_candidates_that_would_act_when_shown_are_dropped() -> None:
    line = Completing("a\x1b[2J", "a\rb", "ab")
    assert await candidates(RemoteCompleter(cast(ShellLine, line)), "a") == [("ab", -1)]


async def test_a_start_behind_the_cursor_is_dropped() -> None:
    assert await candidates(RemoteCompleter(cast(ShellLine, Completing("abc", start=5))), "a") == []


async def test_a_late_or_refused_answer_shows_nothing_and_is_asked_again() -> None:
    for error in (TimeoutError(), ValueError("NUL")):
        line = Completing("x", error=error)
        completer = RemoteCompleter(cast(ShellLine, line))
        assert await candidates(completer, "a") == await candidates(completer, "a") == []
        assert line.asked == ["a", "a"]


async def entries(history: SharedHistory) -> list[str]:
    return [item async for item in history.load()]


async def test_what_another_client_adds_is_seen_at_the_next_prompt(tmp_path: Path) -> None:
    one, other = SharedHistory(tmp_path / "h"), SharedHistory(tmp_path / "h")
    one.append_string("first")
    assert await entries(other) == ["first"]
    one.append_string("second")
    assert await entries(other) == ["second", "first"]


def test_the_file_is_private(tmp_path: Path) -> None:
    SharedHistory(tmp_path / "h")
    assert stat.S_IMODE((tmp_path / "h").stat().st_mode) == 0o600


async def test_leading_blanks_and_repeats_are_not_kept(tmp_path: Path) -> None:
    history = SharedHistory(tmp_path / "h")
    for text in (" secret", "\tsecret", "", "ls", "ls", "pwd", "ls"):
        history.append_string(text)
    assert await entries(SharedHistory(tmp_path / "h")) == ["ls", "pwd", "ls"]


async def test_a_history_that_can_not_be_kept_is_no_condition_of_a_prompt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "directory").mkdir()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))  # nothing can be made there
    for history in (open_history("h"), SharedHistory(tmp_path / "directory")):
        assert await entries(history) == [] and history.trouble
        history.append_string("ls")
        assert await entries(history) == ["ls"]
    assert SharedHistory(tmp_path / "h").trouble == ""


async def test_a_server_name_cant_leave_the_directory(tmp_path: Path) -> None:
    history = open_history("../a/b")
    history.append_string("kept")
    files = [path for path in tmp_path.rglob(".._a_b") if path.is_file()]
    assert [path.parent.name for path in files] == ["history"]
