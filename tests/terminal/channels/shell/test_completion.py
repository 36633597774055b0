"""Words as real shells read them, and questions to a real shell."""

from __future__ import annotations

import asyncio
import signal
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rshell.channels.shell import completion as module
from rshell.channels.shell.completion import Questions, find_word, quote_candidate
from rshell.channels.shell.recipe import REPORT_FD, Answer, Report
from rshell.transport.channel import Channel
from rshell.values import ExitStatus
from tests.terminal.channels.shell.test_shell_process import Running, on_shell

# A newline is written as only some shells read it.
NAMES = st.text(
    st.characters(exclude_characters="\0\n", exclude_categories=["Cs"]), min_size=1, max_size=30
)
QUOTES = st.sampled_from(["", "'", '"'])


@given(st.lists(st.tuples(NAMES, QUOTES), min_size=1, max_size=20))
@settings(max_examples=60)
def test_a_candidate_is_read_back_by_a_shell_as_the_same_name(names: list[tuple[str, str]]) -> None:
    arguments = " ".join(quote_candidate(name, quote) + quote for name, quote in names)
    script = f"printf '%s\\0' {arguments}\n".encode()
    done = subprocess.run(["/bin/sh"], input=script, stdout=subprocess.PIPE, check=True, timeout=30)
    assert done.stdout == b"".join(name.encode() + b"\0" for name, _ in names)


@given(NAMES.filter(lambda name: "`" not in name), QUOTES)
def test_a_candidate_is_one_word_when_it_is_completed_further(name: str, quote: str) -> None:
    found = find_word("cat " + quote_candidate(name, quote))
    assert found.words == ("cat", name)
    assert (found.start, found.quote) == (4, quote)


ENDLESS = b"sleep 100\n"


def answer_line(number: int) -> bytes:
    return f"printf 'C {number} one\\ntwo\\0' >&{REPORT_FD}\n".encode()


def questions_to(running: Running, grace: float = 100) -> Questions:
    questions = Questions(grace, lambda: running.shell.signal(signal.SIGKILL))
    running.shell.on_answer = questions.answered
    return questions


async def regained(running: Running, questions: Questions) -> None:
    """Wait until the shell is idle, then see that it still runs commands."""
    report = await running.said.get()
    assert isinstance(report, Report) and report.number == 0
    assert questions.reported()
    assert not questions.is_busy
    assert not questions.reported()
    while True:  # an interrupt that was sent twice is reported twice
        said = await running.run(9, "(exit 3)")
        if isinstance(said, Report) and said.number == 9:
            break
    assert said.status == 3


async def test_a_question_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ANSWER_SECONDS", 20.0)

    async def act(running: Running, _: Channel) -> None:
        questions = questions_to(running)
        asking = asyncio.create_task(questions.ask(running.shell, 5, answer_line(5)))
        assert await asking == Answer(5, ("one", "two"))
        assert not questions.is_busy
        assert not questions.reported()

    await on_shell(act)


async def test_the_answer_to_another_question_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ANSWER_SECONDS", 20.0)

    async def act(running: Running, _: Channel) -> None:
        questions = questions_to(running)
        questions.answered(Answer(5, ("nobody asked",)))
        found = await questions.ask(running.shell, 6, answer_line(5) + answer_line(6))
        assert found == Answer(6, ("one", "two"))
        questions.answered(Answer(6, ("again",)))

    await on_shell(act)


async def test_a_question_that_is_cancelled_and_overtaken_at_once_gives_the_shell_back() -> None:
    async def act(running: Running, _: Channel) -> None:
        questions = questions_to(running)
        asking = asyncio.create_task(questions.ask(running.shell, 5, ENDLESS))
        await asyncio.sleep(0)
        asking.cancel()
        questions.overtake(running.shell)
        assert questions.is_busy
        await asyncio.gather(asking, return_exceptions=True)
        await regained(running, questions)

    await on_shell(act)


async def test_a_question_without_an_answer_gives_the_shell_back() -> None:
    async def act(running: Running, _: Channel) -> None:
        questions = questions_to(running)
        assert await questions.ask(running.shell, 5, ENDLESS) is None
        assert questions.is_busy
        await regained(running, questions)

    await on_shell(act)


async def test_a_question_that_is_overtaken_gives_the_shell_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_ANSWER_SECONDS", 20.0)  # not before the shell has begun

    async def act(running: Running, _: Channel) -> None:
        questions = questions_to(running)
        begun = asyncio.Event()
        running.shell.on_answer = lambda _: begun.set()
        asking = asyncio.create_task(
            questions.ask(running.shell, 5, answer_line(4)[:-1] + b"; " + ENDLESS)
        )
        await begun.wait()
        monkeypatch.setattr(module, "_ANSWER_SECONDS", 1.0)
        assert questions.is_busy
        questions.overtake(running.shell)
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert questions.is_busy
        await regained(running, questions)

    await on_shell(act)


async def test_a_shell_that_is_deaf_to_interrupts_is_ended_after_its_grace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_ANSWER_SECONDS", 1.0)  # it must not pass before the shell is deaf

    async def act(running: Running, _: Channel) -> None:
        questions = questions_to(running, grace=0)
        assert await questions.ask(running.shell, 5, b"trap '' INT; sleep 100\n") is None
        status = await running.said.get()
        assert isinstance(status, ExitStatus) and status.signal == "SIGKILL"
        questions.forget()
        assert not questions.is_busy

    await on_shell(act)
