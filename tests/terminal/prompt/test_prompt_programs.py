"""Programs that take the whole terminal, and interrupts: all of it reaches them, and ends."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from rshell.values import TerminalSize
from tests.support.terminal import CTRL, ENTER, ESCAPE, at_prompt


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"needs {program}")


@needs("vim")
async def test_vim_edits_is_resized_and_leaves_no_trace() -> None:
    file = Path(os.environ["HOME"], "text")
    async with at_prompt() as person:
        await person.run("echo before")
        status = "set laststatus=2 statusline=%{&lines}+%{&columns}"
        person.send(f"vim -u NONE -N --cmd '{status}' text" + ENTER)
        await person.wait_for("30+100")
        assert person.has_mode(1049)
        person.send("ifrom vim\x1b")
        await person.wait_for("from vim")
        person.resize(TerminalSize(columns=80, rows=24))
        await person.wait_for("24+80")
        person.send(":wq" + ENTER)
        await person.wait_for(lambda: not person.has_mode(1049) and person.is_at_prompt)
        assert file.read_text() == "from vim\n"
        assert await person.run("cat text") == ["from vim"]


@needs("less")
async def test_less_pages_and_quits() -> None:
    async with at_prompt() as person:
        person.send("seq 1000 | less" + ENTER)
        await person.wait_for(lambda: person.display[0] == "1" and "29" in person.display)
        person.send("G")
        await person.wait_for("1000")
        person.send("q")
        await person.wait_for(lambda: person.is_at_prompt)
        assert await person.run("echo $?") == ["0"]


@needs("top")
async def test_top_draws_and_quits() -> None:
    async with at_prompt() as person:
        person.send("top" + ENTER)
        await person.see("PID USER")
        person.send("q")
        await person.wait_for(lambda: person.is_at_prompt)


@needs("man")
async def test_man_shows_a_page() -> None:
    page = Path(os.environ["HOME"], "own.1")
    page.write_text(".TH OWN 1\n.SH NAME\nown \\- a page\n")
    async with at_prompt(env={"PAGER": "cat", "MANPAGER": "cat"}) as person:
        await person.run("man -l own.1 || cat own.1")
        await person.see("a page")


async def test_a_python_prompt_reads_keys_and_ends_on_ctrl_d() -> None:
    async with at_prompt() as person:
        person.send(f"{sys.executable} -q" + ENTER)
        await person.wait_for(lambda: person.line == ">>> ")
        person.send("6 * 7" + ENTER)
        await person.wait_for("42")
        # The key must not come while Python still edits: 3.13 then writes a staircase.
        person.send('import time; print("be" "gun"); time.sleep(1000)' + ENTER)
        await person.wait_for("begun")
        person.send(CTRL["C"])
        await person.see("KeyboardInterrupt")
        await person.wait_for(lambda: person.line == ">>> ")
        person.send(CTRL["D"])
        await person.wait_for(lambda: person.is_at_prompt)


async def test_a_secret_is_not_shown_and_a_question_is_answered() -> None:
    ask = "stty -echo; printf 'Pass''word: '; read -r x; stty echo; echo; echo got-$x"
    async with at_prompt() as person:
        person.send(ask + ENTER)
        await person.wait_for(lambda: person.line == "Password: ")
        person.send("hunter2" + ENTER)
        await person.wait_for("got-hunter2")
        assert sum("hunter2" in line for line in person.display) == 1
        await person.prompt(2)
        person.send('read -r y; echo "[$y]"' + ENTER)
        await person.wait_for(lambda: not person.has_mode(2004))
        person.send("answer" + ENTER)
        await person.wait_for("[answer]")


async def test_read_s_in_bash() -> None:
    async with at_prompt() as person:
        person.send("read -s -p 'Pass''word: ' x; echo; echo got-$x" + ENTER)
        await person.wait_for(lambda: person.line == "Password: ")
        person.send("hunter2" + ENTER)
        await person.wait_for("got-hunter2")
        assert sum("hunter2" in line for line in person.display) == 1
        await person.prompt(2)
        person.send("cat" + ENTER)  # its echo is back
        await person.wait_for(lambda: not person.has_mode(2004))
        person.send("twice" + ENTER)
        await person.wait_for(lambda: person.display.count("twice") == 2)


LOOPS = {
    "sleep": "sh -c 'echo u''p; exec sleep 1000'; echo next",
    "shell loop": "echo u''p; while :; do :; done; echo next",
    "loop of programs": "echo u''p; while :; do sleep 0.01; done; echo next",
    "function": "f() { echo u''p; while :; do :; done; }; f; echo next",
    "flood": "echo u''p; yes; echo next",
    "pipeline": "sleep 1000 | sh -c 'echo u''p; exec sleep 1000'; echo next",
}


# The key may hit a child between fork and exec, where bash itself loses one in twelve.
BETWEEN_PROGRAMS = (LOOPS["loop of programs"], LOOPS["flood"], LOOPS["pipeline"])
# In these busybox itself, without us, loses one in sixty on a busy machine, and then all others.
BUILTINS_ALONE = (LOOPS["shell loop"], LOOPS["function"])


@pytest.mark.parametrize("command", LOOPS.values(), ids=LOOPS.keys())
async def test_ctrl_c_ends_what_runs_and_keeps_the_shell(shell: str, command: str) -> None:
    async with at_prompt() as person:
        await person.run("x=kept")
        person.send(command + ENTER)
        await person.wait_for(lambda: "up" in person.display or "y" in person.display)
        if command in BUILTINS_ALONE and Path(shell).resolve().name == "busybox":
            try:
                await person.interrupt(3)
            except TimeoutError:
                await person.read_up()  # together with other keys, it would be pasted
                person.send("~.")
                assert await person.wait() == 255
                return
        elif command in BETWEEN_PROGRAMS:
            await person.interrupt(3)
        else:
            person.send(CTRL["C"])
            await person.prompt(3)
        # zsh forgets the status of a loop in which the interrupt meets zsh itself.
        is_zsh = Path(shell).name == "zsh" and command in (*BUILTINS_ALONE, *BETWEEN_PROGRAMS)
        wanted = " status (130|0) " if is_zsh else " status 130 "
        await person.wait_for(lambda: re.search(wanted, person.display[-1]))
        assert "next" not in person.display
        assert await person.run("echo $x") == ["kept"]


async def test_ctrl_c_again_and_again() -> None:
    async with at_prompt() as person:
        for number in range(1, 21):
            person.send(f"sh -c 'echo u''p{number}; exec sleep 1000'" + ENTER)
            await person.wait_for(f"up{number}")
            person.send(CTRL["C"])
            await person.prompt(number + 1)
        assert await person.run("echo alive") == ["alive"]


async def test_ctrl_backslash_ctrl_s_and_ctrl_q_are_the_programs() -> None:
    async with at_prompt() as person:
        person.send("sh -c 'echo u''p; exec sleep 1000'" + ENTER)
        await person.wait_for("up")
        person.send(CTRL["\\"])
        await person.prompt(2)
        await person.wait_for(lambda: " status 131 " in person.display[-1])
        person.send("stty -ixon; echo rea''dy; cat -v" + ENTER)
        await person.wait_for("ready")
        person.send(CTRL["S"] + CTRL["Q"] + ENTER + CTRL["D"])
        await person.wait_for("^S^Q")
        await person.wait_for(lambda: person.is_at_prompt)


async def test_ctrl_z_stops_a_job_and_fg_and_bg_go_on_with_it() -> None:
    async with at_prompt() as person:
        person.send("sh -c 'echo u''p; read x; echo got-$x'" + ENTER)
        await person.wait_for("up")
        person.send(CTRL["Z"])
        await person.prompt(2)
        await person.wait_for(lambda: " status 148 " in person.display[-1])
        assert any("Stopped" in line for line in await person.run("jobs"))
        person.send("fg" + ENTER)
        await person.wait_for(lambda: not person.has_mode(2004))
        person.send("word" + ENTER)
        await person.wait_for("got-word")
        await person.prompt(4)
        # `exec`, because a dash stopped between its vfork and the child's exec is never
        # reported as stopped: its shell waits for ever, with or without rshell.
        person.send("sh -c 'echo a''gain; exec sleep 1000'" + ENTER)
        await person.wait_for("again")
        person.send(CTRL["Z"])
        await person.prompt(5)
        await person.run("bg")
        assert any("Running" in line for line in await person.run("jobs"))
        await person.run("kill %1; wait")
        assert await person.run("jobs") == []


@pytest.mark.parametrize("keys", [ESCAPE, CTRL["Z"], CTRL["S"], CTRL["\\"], "\x00"])
async def test_odd_keys_at_the_prompt_do_no_harm(keys: str) -> None:
    async with at_prompt() as person:
        person.send(keys)
        person.send(CTRL["C"] * 2)  # the first one ends a search
        await person.prompt(2)
        person.send("echo al''ive" + ENTER)
        await person.wait_for("alive")
