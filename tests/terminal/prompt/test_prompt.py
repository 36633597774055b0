"""The interactive prompt end to end: what stays, what is shown, and what is remembered."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from rshell.values import TerminalSize
from tests.support.terminal import CTRL, ENTER, UP, Person, at_prompt, at_terminal


@pytest.fixture
def bashrc() -> Callable[[str], None]:
    def write(text: str) -> None:
        Path(os.environ["HOME"], ".bash_profile").write_text(text)  # of a login shell

    return write


async def test_directory_variables_functions_and_aliases_stay(shell: str) -> None:
    async with at_prompt() as person:
        assert (
            await person.run("cd /usr; x=41; f() { echo f$((x + 1)); }; alias a='echo from a'")
            == []
        )
        assert person.line.split(":")[-1].startswith("/usr ")
        assert await person.run("f; a; pwd") == ["f42", "from a", "/usr"]
        assert await person.run("cd; export Y=1") == []
        assert person.line.split(":")[-1].startswith("~ ")
        assert await person.run("sh -c 'echo y$Y'") == ["y1"]


async def test_the_users_own_bashrc_is_read_and_what_it_prints_is_seen(
    bashrc: Callable[[str], None],
) -> None:
    bashrc("alias own='echo my own'; echo Welcome home; printf 'and no newline'\nPS1='mine> '")
    async with at_prompt() as person:
        assert person.display[0] == "Welcome home"
        assert person.display[1].startswith("and no newline")
        assert await person.run("own") == ["my own"]
        assert not any("mine>" in line for line in person.display)


async def test_a_bashrc_that_reads_or_fails_does_not_keep_the_prompt_away(
    bashrc: Callable[[str], None],
) -> None:
    bashrc("read -r -t 0.01 answer; T=$(tty); stty -ixon\nnonsense-of-mine\nset -u\nfalse\n")
    async with at_prompt() as person:
        assert "nonsense-of-mine: command not found" in person.display[0]
        assert (await person.run("[[ $T = /dev/* ]] && echo $T $answer-"))[0].startswith("/dev/")
        assert await person.run("echo $((6 * 7))") == ["42"]


async def test_the_status_is_shown_and_the_sign_is_red_after_a_failure() -> None:
    async with at_prompt("--local", really=True) as person:
        assert person.cells(sign())[1].fg == "default"
        await person.run("(exit 3)")
        assert person.cells(sign())[1].fg == "red"
        await person.wait_for(lambda: re.search(r"local .* status 3 +[\d.]+ ms", toolbar(person)))
        await person.run("kill -9 $BASHPID & wait $!; true")
        assert person.cells(sign())[1].fg == "default"
        await person.wait_for(lambda: " status 0 " in toolbar(person))
        assert await person.run("echo $?") == ["0"]


def sign() -> str:
    return " #" if os.getuid() == 0 else " $"


def toolbar(person: Person) -> str:
    return person.display[-1]


async def test_the_status_before_can_be_asked_for(shell: str) -> None:
    async with at_prompt() as person:
        await person.run("(exit 7)")
        assert await person.run("echo $?") == ["7"]


async def test_output_without_a_final_newline_leaves_the_prompt_a_line_of_its_own(
    shell: str,
) -> None:
    async with at_prompt() as person:
        (shown,) = await person.run("printf abc")
        assert shown.startswith("abc")
        width = person.screen.columns
        (shown,) = await person.run(f"printf '%0{width}d' 0")  # the cursor is at the right edge
        assert shown == "0" * width
        first, second = await person.run(f"printf '%0{width + 1}d' 0")
        assert first == "0" * width and second.startswith("0")
        assert await person.run("printf '\\033[31mred'; printf '\\n'") == ["red"]
        assert person.cells("local")[0].fg != "red" if "local" in toolbar(person) else True


async def test_wide_and_combining_characters() -> None:
    text = "漢字 e\u0301 é 👍🏽 ünï"
    async with at_prompt() as person:
        person.send(f"echo '{text}' | od -An -c | wc -l; echo '{text}' end")
        person.send(ENTER)
        await person.see("end")
        await person.prompt(2)
        found = await person.run(f"x='{text}'; [ \"$x\" = '{text}' ] && echo same ${{#x}}")
        assert found[-1].startswith("same ")
        await person.run("mkdir ~/漢字; cd ~/漢字; rmdir ~/漢字")
        assert "漢" in person.line


async def test_a_resize_is_seen_outside_and_inside_a_program() -> None:
    async with at_prompt() as person:
        assert await person.run("stty size </dev/tty") == ["30 100"]
        person.resize(TerminalSize(columns=90, rows=25))
        await person.wait_for(lambda: person.is_at_prompt)
        assert "25 90" in await person.run("stty size </dev/tty")
        person.send(
            "sh -c 'trap \"stty size; exit\" WINCH; echo u''p; while :; do sleep 0.1; done'\r"
        )
        await person.wait_for("up")
        person.resize(TerminalSize(columns=70, rows=20))
        await person.wait_for("20 70")


async def test_history_is_found_again_and_private_lines_are_not(tmp_path: Path) -> None:
    async with at_prompt("--local") as person:
        await person.run("echo first-$((1))")
        await person.run("  echo secret-$((2))")
        person.send(UP)
        await person.wait_for(lambda: person.line.endswith("echo first-$((1))"))
    directory = Path(os.environ["XDG_STATE_HOME"], "rshell", "history")
    (file,) = directory.iterdir()
    assert directory.stat().st_mode & 0o777 == 0o700
    assert file.stat().st_mode & 0o777 == 0o600
    assert "secret" not in file.read_text()
    async with at_prompt("--local") as person:
        person.send(CTRL["R"] + "first")
        await person.see("echo first-$((1))")
        person.send(ENTER)
        await person.prompt(2)
        assert person.output() == ["first-1"]


async def test_two_prompts_share_their_history() -> None:
    async with at_prompt("--local") as one, at_prompt("--local") as other:
        await one.run("echo typed in one")
        await other.run("true")  # what the other one types is found at its next prompt
        await one.run("echo another of one")
        await other.run(":")
        other.send(UP + UP)
        await other.wait_for(lambda: other.line.endswith("echo another of one"))
        other.send(CTRL["U"] + CTRL["R"] + "typed")
        await other.see("echo typed in one")


async def test_a_directory_removed_under_the_shell(shell: str, short_path: Path) -> None:
    gone = short_path / "gone"
    gone.mkdir()
    async with at_prompt() as person:
        await person.run(f"cd {gone}")
        gone.rmdir()
        assert await person.run("echo still $((1 + 1))") == ["still 2"]
        person.send("ls no-such-f\t")
        await person.wait_for(lambda: person.line.endswith("no-such-f"))
        person.send(CTRL["C"])
        await person.prompt(4)
        await person.run("cd /")
        assert await person.run("pwd") == ["/"]


INCOMPLETE = (
    ("for i in a b", "do echo got $i", "done"),
    ("if true; then", "echo got a", "echo got b; fi"),
    ("echo 'got a", "got b'"),
    ("cat <<E", "got a", "got b", "E"),
    ("echo got a; echo \\", "got b"),
    ("g() {", "echo got a", "echo got b; }; g"),
    ("echo got a |", "cat; echo got b"),
)


async def test_incomplete_input_continues_and_runs_as_one(shell: str) -> None:
    async with at_prompt() as person:
        for lines in INCOMPLETE:
            prompts, begin = person.prompts, person.screen.cursor.y
            for number, line in enumerate(lines[:-1], 1):
                person.send(line + ENTER)
                await person.wait_for(
                    partial(continues_at, person, begin + number),
                    f"a line after {line!r}",
                )
            person.send(lines[-1] + ENTER)
            await person.prompt(prompts + 1)
            assert person.output()[-2:] == ["got a", "got b"]
            person.send(UP)  # one entry, not many
            await person.wait_for(partial(is_shown_twice, person, lines))
            person.send(CTRL["C"])
            await person.prompt(prompts + 2)
            person.send("clear" + ENTER)
            await person.prompt(prompts + 3)


def continues_at(person: Person, row: int) -> bool:
    return person.screen.cursor.y == row and person.line == "> "


def is_shown_twice(person: Person, lines: tuple[str, ...]) -> bool:
    starts = [line for line in person.display if line.endswith(" " + lines[0])]
    return len(starts) == 2 and person.display.count("> " + lines[-1]) == 2


async def test_a_syntax_error_is_told_and_forgotten(shell: str) -> None:
    async with at_prompt() as person:
        assert any(re.search("(?i)syntax|parse", line) for line in await person.run("echo )"))
        assert await person.run("echo $((6 * 7))") == ["42"]


async def test_ctrl_c_at_the_prompt_drops_the_line_and_keeps_the_shell() -> None:
    async with at_prompt() as person:
        await person.run("x=5")
        person.send("echo not this")
        await person.see("echo not this")
        person.send(CTRL["C"])
        await person.prompt(3)
        assert await person.run("echo $x") == ["5"]


async def test_a_background_job_prints_above_the_prompt() -> None:
    async with at_prompt() as person:
        await person.run("mkfifo $HOME/go; (read -r x <$HOME/go; echo from the job) &")
        person.send("echo half a line")
        await person.see("echo half a line")
        Path(os.environ["HOME"], "go").write_text("go\n")
        await person.wait_for("from the job")
        await person.wait_for(lambda: person.line.endswith("echo half a line"))
        job = person.display.index("from the job")
        assert job < person.screen.cursor.y
        person.send(ENTER)
        await person.wait_for("half a line")


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"NO_COLOR": ""}, {}], ids=str)
async def test_colour_can_be_turned_off(env: dict[str, str]) -> None:
    async with at_prompt(env=env) as person:
        await person.run("false")
        colours = {cell.fg for cell in person.cells(sign())[1:]}
        assert (colours == {"default"}) is bool(env.get("NO_COLOR"))


async def test_a_dumb_terminal_gets_a_plain_prompt() -> None:
    async with at_terminal("--local", env={"TERM": "dumb"}) as person:
        await person.see(sign())
        person.send("echo $((6 * 7)) $TERM\r")
        await person.wait_for("42 dumb")
        person.send("printf abc\r")
        await person.wait_for(lambda: any("abc" in line for line in person.display))
        person.send("exit 3\r")
        assert await person.wait() == 3
        assert person.modes == person.before
        assert not person.escapes
        assert "42 dumb" in person.display and not any("status" in line for line in person.display)


async def test_an_editor_gets_a_terminal_that_makes_lines(tmp_path: Path) -> None:
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\necho one; echo two\nread x\necho echo edited >"$1"\n')
    editor.chmod(0o700)
    async with at_prompt(env={"EDITOR": str(editor), "VISUAL": ""}) as person:
        person.send("echo abc" + CTRL["X"] + CTRL["E"])
        await person.wait_for("two")  # at the left edge
        person.send(ENTER)
        await person.see("echo edited")
        person.send(ENTER)
        await person.prompt(3)
        assert await person.run("printf 'a\\nb\\n'") == ["a", "b"]


async def test_vi_mode_by_the_config_file() -> None:
    directory = Path(os.environ["XDG_CONFIG_HOME"], "rshell")
    directory.mkdir(parents=True)
    (directory / "config.toml").write_text('editing_mode = "vi"\nprompt = "rshell"\n')
    async with at_prompt() as person:
        person.send("echo xbc\x1b")
        await person.wait_for(lambda: person.line.endswith("echo xb"))
        person.send("0wra")
        await person.see("echo abc")
        person.send(ENTER)
        await person.prompt(2)
        assert person.output() == ["abc"]
        # Escape and, at once, Enter: not the two keys that begin a line elsewhere.
        person.send("echo def\x1b" + ENTER)
        await person.prompt(3)
        assert person.output() == ["def"]


async def test_20_mb_of_output_then_ctrl_c_and_alive() -> None:
    async with at_prompt() as person:
        person.send("head -c 20000000 /dev/zero | tr '\\0' x | fold -w 90; echo; echo all of it\r")
        await person.wait_for(lambda: person.received > 20_000_000)
        await person.wait_for("all of it")
        await person.prompt(2)
        person.send("yes\r")
        await person.wait_for("y")
        person.send(CTRL["C"])
        await person.prompt(3)
        assert await person.run("echo alive") == ["alive"]
