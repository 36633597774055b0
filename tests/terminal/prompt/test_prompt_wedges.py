"""Commands that break shells: at worst the shell ends and a line says so; the prompt goes on."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import pytest

from tests.support.commands import until
from tests.support.terminal import CTRL, ENTER, at_prompt


async def test_the_prompt_outlives_what_meddles_with_it() -> None:
    async with at_prompt() as person:
        for command, shown in (
            ("exec 9>&-; exec 6<&-", []),
            ("PS1='mine> '; PROMPT_COMMAND='echo mine'", ["mine"]),
            ("set -u", ["mine"]),
            ("unset PROMPT_COMMAND", []),
        ):
            await person.run(command)
            assert await person.run("echo al''ive") == ["alive", *shown]


async def test_prompts_that_are_readonly_complain_of_nothing() -> None:
    async with at_prompt() as person:
        await person.run("readonly PROMPT_COMMAND")
        assert await person.run("echo quiet") == ["quiet"]
        assert await person.run("false; echo $?") == ["1"]


async def test_hooks_of_zsh_run_once_for_each_line(monkeypatch: pytest.MonkeyPatch) -> None:
    program = shutil.which("zsh")
    if program is None:
        pytest.skip("needs zsh")
    monkeypatch.setenv("SHELL", program)
    Path(os.environ["HOME"], ".zshrc").write_text(
        "precmd() { print PRECMD }\npreexec() { print PREEXEC $1 }\n"
    )
    async with at_prompt() as person:
        assert await person.run("echo one") == ["PREEXEC echo one", "one", "PRECMD"]


async def test_a_trap_for_debug_prints_and_harms_nothing() -> None:
    async with at_prompt() as person:
        await person.run("trap 'echo trapped' DEBUG")
        assert "alive" in await person.run("echo al''ive")
        await person.run("trap - DEBUG")
        assert await person.run("echo alive") == ["alive"]


async def test_an_ignored_interrupt_can_be_taken_back(shell: str) -> None:
    async with at_prompt() as person:
        await person.run("trap '' INT")
        person.send("sh -c 'echo u''p; read x; echo got-$x'" + ENTER)
        await person.wait_for("up")
        person.send(CTRL["C"] + "on" + ENTER)
        await person.see("got-")
        await person.prompt(3)
        await person.run("trap - INT")
        person.send("sh -c 'echo a''gain; exec sleep 1000'" + ENTER)
        await person.wait_for("again")
        person.send(CTRL["C"])
        await person.prompt(5)
        assert await person.run("echo alive") == ["alive"]


DEADLY = {
    "errexit": "set -e; false",
    "errexit later": "set -e\nfalse",
    "kill": "kill -9 $$",
    "kill by a child": "sh -c 'kill -9 $PPID'; sleep 1000",
}


@pytest.mark.parametrize("command", DEADLY.values(), ids=DEADLY.keys())
async def test_a_shell_that_dies_is_replaced_where_it_was_and_that_is_said(
    shell: str, command: str, short_path: Path
) -> None:
    async with at_prompt() as person:
        await person.run(f"cd {short_path}; x=lost")
        for line in command.split("\n"):
            await person.run(line)
        assert any(line.startswith("rshell: the shell ") for line in person.display)
        assert await person.run('pwd; echo "[${x-}]"') == [str(short_path), "[]"]


async def test_a_shell_that_dies_while_idle_is_replaced_and_that_is_said() -> None:
    async with at_prompt() as person:
        await person.run("mkfifo go; (read -r x < go; kill -9 $$) &")
        person.send("echo typed")
        await person.see("echo typed")
        Path(os.environ["HOME"], "go").write_text("go\n")
        await person.see("rshell: the shell ")
        person.send(" on" + ENTER)
        await person.wait_for("typed on")


async def test_a_shell_that_dies_again_and_again_ends_the_session(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    once = tmp_path / "sh"
    once.write_text('#!/bin/sh\n[ -e started ] && exit 9\ntouch started\nexec /bin/sh "$@"\n')
    once.chmod(0o755)
    monkeypatch.setenv("SHELL", str(once))
    async with at_prompt() as person:
        person.send("kill -9 $$" + ENTER)
        assert await person.wait() == 255
        assert person.modes == person.before
        assert any(line.startswith("rshell: ") for line in person.display)


async def test_suspend_does_not_stop_the_shell() -> None:
    for program in ("/bin/bash", "/bin/zsh"):
        if Path(program).exists():
            async with at_prompt(env={"SHELL": program}) as person:
                await person.run("suspend")
                assert await person.run("echo alive") == ["alive"]


async def test_children_inherit_none_of_our_descriptors(shell: str) -> None:
    async with at_prompt() as person:
        person.send("ls -l /proc/self/fd | cat; ls /proc/self/fd >list; echo do''ne" + ENTER)
        await person.wait_for("done")
        # 3 is the directory that ls reads; bash keeps copies of its own that are close-on-exec.
        assert Path(os.environ["HOME"], "list").read_text().split() == ["0", "1", "2", "3"]
        await person.prompt(2)
        await person.run("sleep 1000 & echo $! >job")
        job = int(Path(os.environ["HOME"], "job").read_text())
        fds = Path(f"/proc/{job}/fd")
        # Until it has become `sleep`, it is a copy of the shell.
        await asyncio.to_thread(
            until, lambda: {fd.name for fd in fds.iterdir()} == {"0", "1", "2"}, "three descriptors"
        )


async def test_undecodable_bytes_pass_as_they_are() -> None:
    async with at_prompt() as person:
        person.send(b"printf %s 'a\xffb' | od -An -tx1" + b"\r")
        await person.see("61 ff 62")


async def test_a_command_that_cannot_be_sent_is_told() -> None:
    async with at_prompt() as person:
        person.send("echo \x11\x00 no" + ENTER)  # Ctrl-Q takes the NUL as it is
        await person.see("rshell: a command can't hold a NUL character")
        await person.prompt(2)
        person.paste(": " + "x" * 300_000)
        person.send(ENTER)
        await person.see("rshell: a command can't be longer than")
        await person.prompt(3)
        assert await person.run("echo alive") == ["alive"]
