"""What Tab offers: kept, dropped, asked again."""

from __future__ import annotations

from typing import cast

from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

from rshell.channels.shell.client import ShellLine
from rshell.channels.shell.messages import Completions
from rshell.cli.prompt.candidates import RemoteCompleter


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
