"""rshell-get and rshell-put at the prompt: real shells, a real server, and somebody who answers."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.support.commands import Changes, ServerProcess, serving
from tests.support.cutting import Cutter
from tests.support.terminal import CTRL, ENTER, Person, at_prompt, at_terminal

SOON: Changes = {"answer_pause": 0.0}


async def ask(person: Person, command: str, question: str) -> None:
    """Type a command and wait for its question at the end of what is on the screen."""
    person.send(command + ENTER)
    await person.wait_for(lambda: question in "".join(person.screen.display), question)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the directory in which the person starts rshell; it has a short name."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    return here


@pytest.mark.parametrize("name", ["bash", "zsh", "fish", "dash"])
async def test_files_come_and_go_at_the_prompt_of_each_shell(
    name: str, here: Path, tmp_path: Path
) -> None:
    program = shutil.which(name)
    if program is None:
        pytest.skip(f"this machine has no {name}")
    home = Path(os.environ["HOME"])
    fish = home / ".config" / "fish" / "config.fish"
    fish.parent.mkdir(parents=True)
    fish.write_text("set -gx PATH /usr/bin /bin\n")
    for file in (".bash_profile", ".zprofile", ".zshrc"):
        (home / file).write_text("PATH=/usr/bin:/bin\n")
    env = {"SHELL": program, "XDG_CONFIG_HOME": str(home / ".config")}
    there = tmp_path / "there"
    there.mkdir()
    (there / "a").write_text("from there")
    (here / "b").write_text("from here")
    async with at_prompt("--local", env=env, limits=SOON) as person:
        await person.run(f"cd {there}")
        await ask(person, "rshell-get a", "a (10 B) to")
        person.send("y" + ENTER)
        await person.see("1 file of 10 B")
        await person.wait_for(lambda: person.is_at_prompt, "the prompt")
        await ask(person, "rshell-put b", "b (9 B). Send it?")
        person.send("y" + ENTER)
        await person.see("1 file of 9 B")
        await person.wait_for(lambda: person.is_at_prompt, "the prompt")
    assert (here / "a").read_text() == "from there" and (there / "b").read_text() == "from here"


async def test_a_no_and_ctrl_c_leave_everything_as_it_was(
    server: ServerProcess, here: Path, tmp_path: Path
) -> None:
    for name in "abc":
        (tmp_path / name).write_text("new")
        (here / name).write_text("old")
    async with at_terminal("-S", "work", server.address, limits=SOON) as person:
        await person.prompt()
        await person.run(f"cd {tmp_path}")
        await ask(person, "rshell-get a", "It replaces a. Write it?")
        person.send(ENTER)
        await person.see("rshell-get: the answer was no")
        await person.wait_for(lambda: person.is_at_prompt, "the prompt")
        await ask(person, "while true; do rshell-get b; done", "It replaces b. Write it?")
        person.send(CTRL["C"])
        await person.wait_for(lambda: person.is_at_prompt, "the prompt: the loop is left as well")
        assert {(here / name).read_text() for name in "abc"} == {"old"}
        # Who goes away while asked is told so by the command, at the next terminal.
        await ask(person, "rshell-get c", "It replaces c. Write it?")
        person.send("~")
        person.send("d")
        await person.wait()
    async with at_terminal("-S", "work", server.address, limits=SOON) as person:
        await person.see("the rshell that was asked has gone")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
async def test_a_question_and_its_answer_outlive_a_cut(here: Path, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("from there")
    with serving("--port", "0") as server:
        async with (
            Cutter(server.port) as cutter,
            at_prompt(cutter.address, limits=SOON) as person,
        ):
            await person.run(f"cd {tmp_path}")
            await ask(person, "rshell-get a", "Write it?")
            cutter.refuse()
            await cutter.cut()
            await person.see("the link was cut")
            person.send("y" + ENTER)
            cutter.let_through()
            await person.see("1 file of 10 B")
            await person.wait_for(lambda: person.is_at_prompt, "the prompt")
    assert (here / "a").read_text() == "from there"
