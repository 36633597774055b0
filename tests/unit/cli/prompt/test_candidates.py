"""Tab: what is asked, inserted, listed, kept, dropped and asked again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

import pytest
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.document import Document

from rshell.channels.shell.client import ShellLine
from rshell.channels.shell.messages import Completions
from rshell.cli.prompt import candidates
from rshell.cli.prompt.candidates import Completing, completions
from tests.support.session import until


class Shell:
    """Answers every question alike, or raises; where `holds`, not before it is told to."""

    def __init__(
        self,
        *texts: str,
        start: int = 0,
        descriptions: Sequence[str] = (),
        error: Exception | None = None,
    ) -> None:
        self.asked: list[str] = []
        self.answers = asyncio.Event()
        self.answers.set()
        self._answer = Completions(1, start, texts, texts, tuple(descriptions))
        self._error = error

    async def complete(self, text: str) -> Completions:
        self.asked.append(text)
        await self.answers.wait()
        if self._error is not None:
            raise self._error
        return self._answer


class Typist:
    """Types into a line, and presses Tab."""

    def __init__(self, shell: Shell) -> None:
        self.buffer = Buffer()
        self.drawn = 0
        self.completing = Completing(cast(ShellLine, shell), self.buffer, self._draw)

    def _draw(self) -> None:
        self.drawn += 1

    @property
    def listed(self) -> list[str]:
        state = self.buffer.complete_state
        return [] if state is None else [item.text for item in state.completions]

    async def tab(self, text: str | None = None) -> str:
        """Press Tab, with `text` in the line if that is given; return the line after it."""
        if text is not None:
            self.buffer.document = Document(text)
        self.completing.press()
        await until(lambda: not self.completing.is_asking)
        return self.buffer.text


async def test_one_candidate_is_inserted_and_several_as_far_as_they_agree() -> None:
    for texts, start, typed, becomes in [
        (("cat ",), 0, "ca", "cat "),
        (("chosen-one ", "chosen-two "), 3, "ls c", "ls chosen-"),
        (("Makefile ", "Makeup "), 3, "ls make", "ls Make"),
        (("a\\ b ", "a\\'c "), 3, "ls a", "ls a"),
        (("'a b' ", "'a c' "), 3, "ls 'a", "ls 'a "),
        (("one ", "two "), 3, "ls ", "ls "),
        (("", "x"), 3, "ls x", "ls x"),
        (("日本 ", "日月 "), 3, "ls ", "ls 日"),
    ]:
        typist = Typist(Shell(*texts, start=start))
        assert await typist.tab(typed) == becomes, texts
        assert bool(typist.listed) == (typed == becomes), texts


async def test_another_tab_lists_without_a_question_and_the_next_ones_choose() -> None:
    shell = Shell("chosen-one ", "chosen-two ", start=3)
    typist = Typist(shell)
    assert await typist.tab("ls c") == await typist.tab() == "ls chosen-"
    assert typist.listed == ["chosen-one ", "chosen-two "]
    assert await typist.tab() == "ls chosen-one " and await typist.tab() == "ls chosen-two "
    assert shell.asked == ["ls c"]


async def test_behind_a_directory_another_tab_asks_what_is_in_it() -> None:
    shell = Shell("sub/", start=3)
    typist = Typist(shell)
    assert await typist.tab("ls s") == "ls sub/"
    await typist.tab()
    assert shell.asked == ["ls s", "ls sub/"]


async def test_an_answer_is_kept_until_it_is_forgotten() -> None:
    shell = Shell("one", "two")
    typist = Typist(shell)
    for _ in range(2):
        await typist.tab("")
        typist.buffer.cancel_completion()
    assert shell.asked == [""]
    typist.completing.forget()
    await typist.tab("")
    assert shell.asked == ["", ""]


async def test_no_answer_and_none_at_all_change_nothing_and_are_asked_again() -> None:
    for shell in (Shell(), Shell("x", error=TimeoutError()), Shell("x", error=ValueError("NUL"))):
        typist = Typist(shell)
        assert await typist.tab("a") == await typist.tab() == "a"
        assert shell.asked == ["a", "a"] and not typist.listed


async def test_an_answer_to_what_is_no_longer_typed_is_dropped() -> None:
    shell = Shell("abc")
    shell.answers.clear()
    typist = Typist(shell)
    typist.buffer.document = Document("a")
    typist.completing.press()
    await until(lambda: shell.asked == ["a"])
    typist.buffer.insert_text("x")
    assert not typist.completing.is_asking
    shell.answers.set()
    assert await typist.tab() == "abc"
    assert shell.asked == ["a", "ax"]
    await typist.completing.close()


async def test_after_a_moment_it_says_that_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "_PATIENCE", 0.0)
    shell = Shell("abc")
    shell.answers.clear()
    typist = Typist(shell)
    typist.completing.press()
    await until(lambda: typist.completing.is_waiting)
    typist.completing.press()  # which does not ask twice
    shell.answers.set()
    await until(lambda: not typist.completing.is_asking)
    assert not typist.completing.is_waiting and typist.drawn == 2
    assert shell.asked == [""] and typist.buffer.text == "abc"


def test_what_is_offered_would_not_act_when_it_is_shown() -> None:
    found = Completions(1, 0, ("a\x1b[2J", "a\rb", "ab"), ("a\x1b[2J", "a\rb", "a\x07b"))
    assert [(item.text, item.display_text) for item in completions(found, 1)] == [("ab", "a\\x07b")]


def test_the_list_shows_the_last_part_of_paths_and_descriptions() -> None:
    for labels, shown in [
        (("src/a.py", "src/sub/"), ["a.py", "sub/"]),
        (("a/x", "b/x"), ["a/x", "b/x"]),
        (("/usr/lib/",), ["lib/"]),
        (("dir/", "dir2/"), ["dir/", "dir2/"]),
    ]:
        found = Completions(1, 0, labels, labels, ("what it is",) * len(labels))
        offered = completions(found, 0)
        assert [item.display_text for item in offered] == shown
        assert {item.display_meta_text for item in offered} == {"what it is"}


async def test_a_start_behind_the_cursor_is_dropped() -> None:
    assert await Typist(Shell("abc", start=5)).tab("a") == "a"
