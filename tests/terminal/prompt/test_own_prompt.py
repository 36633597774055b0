"""The user's own shell as it starts, and its own prompt: what is shown, marked and titled."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.own_prompt import OWN, enter, ours
from tests.support.terminal import CTRL, ENTER, at_terminal


def profile(text: str) -> None:
    Path(os.environ["HOME"], ".bash_profile").write_text(text)


async def test_the_prompt_is_the_shells_own() -> None:
    profile(
        r"PS1='\[\e]0;my title\a\]\[\e[1;32m\]in \W\[\e[0m\]\n'"
        "\n"
        r"PS1+='\[\e[38;5;208m\]>>\[\e[0m\] '"
    )
    async with at_terminal(*OWN) as person:
        await person.wait_for(lambda: person.line == ">> ", "the prompt")
        assert person.screen.title == "my title"
        assert person.cells("in ~")[0].fg == "green" and person.cells("in ~")[0].bold
        assert person.cells(">>")[0].fg == "ff8700"
        await enter(person, "cd /usr", ">> ")
        await person.see("in usr")
        # One that moves the cursor can't be shown, and another one may come again.
        await enter(person, "PS1='\\e[5Cx> '", ours("/usr"))
        assert person.screen.title.endswith(": /usr")
        await enter(person, "PS1='now> '", "now> ")


async def test_marks_and_the_title_come_in_order_and_those_of_the_shell_do_not() -> None:
    profile("PS1='> '; PS0='\\e]133;C;theirs\\a'; PROMPT_COMMAND='printf \"\\e]133;D;theirs\\a\"'")
    async with at_terminal(*OWN) as person:
        await person.wait_for(lambda: person.line == "> ", "the prompt")
        await enter(person, "(exit 3)", "> ")
        person.send(CTRL["D"])
        await person.wait()
        said = bytes(person.begun)
    assert b"theirs" not in said.replace(b"133;D;theirs", b"", 1)  # at the start they pass
    places = [
        said.index(b"\x1b]133;" + mark) for mark in (b"A\x07", b"B\x07", b"C\x07", b"D;3\x07")
    ]
    assert places == sorted(places)
    assert said.startswith(b"\x1b") and b"\x1b[22;2t" in said[: places[0]]
    assert b"\x1b]7;file://" in said[: places[0]]
    assert said.rindex(b"\x1b[23;2t") > places[-1]


async def test_no_marks_where_they_are_turned_off() -> None:
    profile("PS1='> '")
    for env in ({"RSHELL_MARKS": "0"}, {"TERM": "dumb"}):
        async with at_terminal(*OWN, env=env) as person:
            await person.wait_for(lambda: person.line == "> ", "the prompt")
            person.send("echo $((6 * 7))" + ENTER)
            await person.wait_for("42")
            assert not any(mark in person.begun for mark in (b"\x1b]133", b"\x1b]7;", b"22;2t"))


async def test_startup_files_have_the_terminal() -> None:
    profile("read -p 'who? ' who; echo hello $who; stty -echo; read -t 9 x; stty echo; PS1='> '")
    async with at_terminal(*OWN) as person:
        await person.wait_for(lambda: person.line == "who? ", "the question")
        person.send("me" + ENTER)
        await person.wait_for("hello me")
        person.send("secret" + ENTER + "echo ahead-$x")
        await person.wait_for(lambda: person.line == "> echo ahead-$x", "what was typed ahead")
        person.send(ENTER)
        await person.wait_for("ahead-secret")


async def test_a_program_that_takes_no_lines_keeps_the_terminal_and_its_status_counts() -> None:
    profile("exec sh -c 'printf \"name? \"; read x; echo got $x; exit 5'")
    async with at_terminal(*OWN) as person:
        await person.wait_for(lambda: person.line == "name? ", "the program")
        person.send("it" + ENTER)
        assert await person.wait() == 5
        assert "got it" in person.display


async def test_the_escapes_work_while_startup_files_run() -> None:
    profile("echo on''e; sleep 1000")
    async with at_terminal(*OWN) as person:
        await person.wait_for("one")
        person.send("~")
        person.send(".")
        assert await person.wait() == 255


async def test_vi_in_the_shell_is_vi_here_and_back() -> None:
    profile("PS1='> '")
    async with at_terminal(*OWN) as person:
        await person.wait_for(lambda: person.line == "> ", "the prompt")
        await enter(person, "set -o vi", "> ")
        person.send("xecho one")
        await person.wait_for(lambda: person.line == "> xecho one", "the line")
        person.send("\x1b")
        person.send("0x")
        await person.wait_for(lambda: "> echo one" in person.display, "the line without its x")
        await enter(person, "", "> ")
        await enter(person, "set -o emacs", "> ")
        person.send("one" + CTRL["A"] + "echo ")
        await person.wait_for(lambda: "> echo one" in person.display, "the line")
