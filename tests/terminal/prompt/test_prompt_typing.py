"""Keys at the prompt and under a program: pastes, type-ahead, escapes and completion."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.terminal import CTRL, ENTER, ESCAPE, TAB, Person, at_prompt

LINE = "0123456789" * 9 + "\n"


@pytest.fixture
def home() -> Iterator[Path]:
    yield Path(os.environ["HOME"])


async def running(person: Person, command: str) -> None:
    """Start a command and wait until it has the terminal."""
    person.send(f"echo star''ted; {command}" + ENTER)
    await person.wait_for(lambda: "started" in person.display and not person.has_mode(2004))


# Pastes.


async def test_a_large_paste_at_the_prompt_runs_as_one() -> None:
    async with at_prompt() as person:
        text = LINE * (100 * 1024 // len(LINE))
        person.paste(f"x='{text}'; echo ${{#x}} c''haracters")
        person.send(ENTER)
        await person.wait_for(f"{len(text)} characters")
        await person.prompt(2)


async def test_pasted_lines_wait_for_enter_and_run_as_one() -> None:
    async with at_prompt() as person:
        person.paste("echo o''ne\necho t''wo\n")
        await person.see("echo t''wo")
        person.send("echo th''ree" + ENTER)
        await person.prompt(2)
        assert [line for line in person.display if line in ("one", "two", "three")] == [
            "one",
            "two",
            "three",
        ]
        assert person.prompts == 2


async def test_a_mebibyte_typed_into_cat_arrives_whole(home: Path) -> None:
    data = LINE * (1024 * 1024 // len(LINE))
    async with at_prompt() as person:
        await running(person, "stty -echo; cat > file; stty echo")
        person.send(data)
        person.send(CTRL["D"])
        await person.prompt(2)
        assert (home / "file").read_text() == data


async def test_pasted_escapes_trigger_nothing() -> None:
    async with at_prompt() as person:
        await running(person, "cat")
        person.send("~.\r")
        person.send("\x1b[200~~.\r\x1b[201~")
        await person.wait_for(lambda: person.display.count("~.") >= 2)
        person.send(CTRL["C"])
        await person.prompt(2)
        assert await person.run("echo alive") == ["alive"]


# Escapes.


async def test_tilde_dot_leaves_at_once() -> None:
    async with at_prompt() as person:
        await running(person, "trap '' INT; sleep 1000")
        await typed(person, "~", ".")
        assert await person.wait() == 255
        assert person.modes == person.before


async def typed(person: Person, *keys: str) -> None:
    """Type keys one by one: each is read before the next one comes."""
    for key in keys:
        person.send(key)
        await person.read_up()


async def test_tilde_question_mark_lists_and_two_tildes_send_one() -> None:
    async with at_prompt() as person:
        await running(person, "cat")
        await typed(person, "~", "?")
        await person.see("leave this session at once")
        await typed(person, "~", "~", "x", ENTER)
        await person.wait_for(lambda: person.display.count("~x") == 2)
        await typed(person, "a", "~", ".", ENTER)  # not at the start of a line
        await person.wait_for(lambda: person.display.count("a~.") == 2)
        person.send(CTRL["D"])
        await person.prompt(2)
        assert await person.run("echo alive") == ["alive"]


async def test_a_tilde_that_nothing_followed_is_not_lost(home: Path) -> None:
    async with at_prompt() as person:
        await running(person, "mkfifo go; read -r x <go")
        await typed(person, "~")
        (home / "go").write_text("go\n")
        await person.wait_for(lambda: person.line.endswith("# ~") or person.line.endswith("$ ~"))


async def test_tilde_dot_is_heard_while_the_command_reads_nothing() -> None:
    async with at_prompt() as person:
        await running(person, "stty -icanon -echo; sleep 1000")
        person.send(LINE * 700)  # more than a terminal holds
        await person.read_up()
        await typed(person, ENTER, "~", ".")
        assert await person.wait() == 255
        assert person.modes == person.before


# Type-ahead.


async def test_keys_typed_ahead_land_at_the_next_prompt_in_order(shell: str, home: Path) -> None:
    async with at_prompt() as person:
        await running(person, "mkfifo go; read -r x <go")
        person.send("echo typed")
        await person.see("echo typed")
        person.send(" ahead")
        await person.see("echo typed ahead")
        (home / "go").write_text("go\n")
        await person.wait_for(lambda: person.has_mode(2004) and person.line.endswith("typed ahead"))
        person.send("-and-on" + ENTER)
        await person.wait_for("typed ahead-and-on")


async def test_lines_typed_ahead_run_one_by_one_and_reach_no_program(home: Path) -> None:
    async with at_prompt() as person:
        await running(person, "mkfifo go; read -r x <go")
        person.send("read -r -t 0.1 y; echo \"got [$y]\"\recho the se''cond\rhalf")
        await person.see("half")
        (home / "go").write_text("go\n")
        await person.wait_for("the second")
        await person.wait_for(lambda: person.has_mode(2004) and person.line.endswith("half"))
        assert "got []" in person.display


async def test_a_whole_loop_typed_ahead_is_one_command(shell: str, home: Path) -> None:
    async with at_prompt() as person:
        await running(person, "mkfifo go; read -r x <go")
        for line in ("for i in a b", "do echo got $i", "done", "echo af''ter"):
            person.send(line + ENTER)
        await person.see("echo af''ter")
        (home / "go").write_text("go\n")
        await person.wait_for("after")
        assert [line for line in person.display if line in ("got a", "got b", "after")] == [
            "got a",
            "got b",
            "after",
        ]


async def test_lines_sent_in_one_burst_keep_their_order() -> None:
    async with at_prompt() as person:
        person.send("".join(f"echo 'got' {number}\r" for number in range(20)))
        await person.wait_for("got 19")
        got = [line for line in person.display if line.startswith("got ")]
        assert got == [f"got {number}" for number in range(20)][-len(got) :]
        await person.prompt(21)
        assert person.prompts == 21


async def test_what_a_command_never_reads_of_a_large_input_reaches_no_other(home: Path) -> None:
    async with at_prompt() as person:
        await running(person, "stty -echo; mkfifo go; read -r x <go; stty echo")
        person.send(": '" + LINE * 60)
        await person.read_up()
        person.send("' echo all of it\r")
        person.send("echo nothing e''lse\r")
        await person.read_up()
        (home / "go").write_text("go\n")
        await person.wait_for("nothing else")
        assert not any("command not found" in line for line in person.display)


async def test_an_arrow_typed_ahead_acts_as_an_arrow(home: Path) -> None:
    async with at_prompt() as person:
        await running(person, "mkfifo go; read -r x <go")
        person.send("echo ac\x1b[Db")
        await person.see("echo ac^[[Db")
        (home / "go").write_text("go\n")
        await person.wait_for(lambda: person.has_mode(2004) and person.line.endswith("echo ab"))
        person.send(ENTER)
        await person.wait_for("abc")


async def test_typing_during_the_check_of_a_line_is_put_after_it() -> None:
    async with at_prompt() as person:
        person.send("echo 'one'; (exit 3)\recho $? 'two'\r")
        await person.wait_for("3 two")
        assert person.prompts >= 2


# Completion.


async def completed(person: Person, typed: str, becomes: str) -> None:
    person.send(typed)
    await person.see(typed)
    before = person.line
    await person.press(TAB, lambda: person.line != before, f"an answer to {typed!r}")
    await person.wait_for(
        lambda: (
            person.line.partition(" ")[2].partition(" ")[2] == becomes
            or person.line.endswith(f" {becomes}")
        ),
        f"{typed!r} to become {becomes!r}",
    )
    person.send(CTRL["U"])
    await person.wait_for(lambda: person.is_at_prompt)


async def test_commands_paths_variables_and_users_are_completed(home: Path) -> None:
    (home / "a directory with blanks").mkdir()
    (home / "a directory with blanks" / 'it\'s "here"').touch()
    (home / ".bash_profile").write_text(
        "only_my_function() { :; }\nalias only-my-alias=true\nonly_my_variable=1\n"
        "_mine() { COMPREPLY=($(compgen -W 'alpha beta' -- \"$2\")); }\n"
        'mine() { echo "mine: $*"; }; complete -F _mine mine\n'
        "_here() { local IFS=$'\\n'; compopt -o filenames; COMPREPLY=($(compgen -f -- \"$2\")); }\n"
        "complete -F _here here\n"
    )
    async with at_prompt() as person:
        await completed(person, "only_my_f", "only_my_function ")
        await completed(person, "only-my-a", "only-my-alias ")
        await completed(person, "echo $only_my_v", "echo $only_my_variable")
        await completed(person, "echo ~roo", "echo ~root/")
        await completed(person, "mine al", "mine alpha ")
        await completed(person, "here a", "here a\\ directory\\ with\\ blanks/")
        await completed(person, "ls a\\ dir", "ls a\\ directory\\ with\\ blanks/")
        await completed(person, "ls 'a dir", "ls 'a directory with blanks/")
        await completed(person, 'ls "a dir', 'ls "a directory with blanks/')
        person.send("[ -e a\\ directory\\ with\\ blanks/it")
        whole = 'it\\\'s\\ \\"here\\" '
        await person.press(TAB, lambda: person.line.endswith(whole), whole)
        person.send("] && echo fo''und" + ENTER)
        await person.wait_for("found")


async def test_paths_and_programs_are_completed_in_every_shell(shell: str, home: Path) -> None:
    (home / "own file").touch()
    async with at_prompt() as person:
        await completed(person, "cat ow", "cat own\\ file ")
        await completed(person, "mkfif", "mkfifo ")
        await person.run("mkdir sub; cd sub; touch deep")
        await completed(person, "cat de", "cat deep ")


SLOW = (
    "_slow() { echo asked >>~/asked; sleep 1000; COMPREPLY=(never); }\n"
    'slow() { echo slow: "$@"; }; complete -F _slow slow\nkept=kept\n'
)


async def asked(person: Person, trace: Path) -> None:
    """Press Tab until the shell works on it: it may be interrupted before it has come so far."""
    for _ in range(30):
        person.send(TAB)
        for _ in range(100):
            if trace.exists():
                return
            await asyncio.sleep(0.01)
    raise AssertionError("the shell was never asked")


async def test_a_slow_completion_neither_blocks_typing_nor_the_next_command(home: Path) -> None:
    (home / ".bash_profile").write_text(SLOW)
    async with at_prompt() as person:
        person.send("slow a")
        await asked(person, home / "asked")
        person.send("b")
        await person.wait_for(lambda: person.line.endswith("slow ab"))
        person.send(ENTER)
        await person.wait_for("slow: ab")
        assert not any("completing" in line or "^C" in line for line in person.display)
        await person.prompt(2)
        assert await person.run("echo $kept") == ["kept"]
        for _ in range(3):
            person.send("slow a" + TAB + TAB + CTRL["U"])
        assert (await person.run("echo $kept"))[-1] == "kept"


async def test_a_completion_that_cannot_be_interrupted_costs_the_shell_not_the_session(
    home: Path,
) -> None:
    (home / ".bash_profile").write_text(
        "_stuck() { trap '' INT; touch asked; while :; do :; done; }; complete -F _stuck stuck\n"
    )
    async with at_prompt() as person:
        person.send("stuck a")
        await asked(person, home / "asked")
        person.send(CTRL["U"] + "echo al''ive" + ENTER)
        await person.wait_for("alive")
        await person.see("rshell: the shell ")


async def test_a_completion_that_changes_the_shell_or_prints_harms_nothing(home: Path) -> None:
    (home / ".bash_profile").write_text(
        "_odd() { echo printed; echo bad >&2; cd /; exec 9>&-; set -u; COMPREPLY=(fine); }\n"
        "complete -F _odd odd\n"
    )
    async with at_prompt() as person:
        person.send("odd f" + TAB)
        await person.wait_for(lambda: not person.is_at_prompt)
        person.send(CTRL["U"])
        assert (await person.run("echo al''ive"))[-1] == "alive"
        assert "printed" not in person.display


async def test_candidates_are_listed_and_chosen() -> None:
    home = Path(os.environ["HOME"])
    for name in ("choice-one", "choice-two"):
        (home / name).touch()
    async with at_prompt() as person:

        def is_listed() -> bool:
            return any("choice-two" in line for line in person.display)

        person.send("ls cho")
        await person.press(TAB, lambda: person.line.endswith("choice-"), "what they share")
        await person.press(TAB, is_listed, "a list")
        person.send(TAB)
        await person.wait_for(lambda: not person.line.endswith("choice-"))
        person.send(ENTER)  # takes the candidate
        person.send(ENTER)
        await person.prompt(2)
        assert person.output() == [person.display[0].split()[-1]]


async def test_names_that_would_act_on_the_terminal_are_not_shown(home: Path) -> None:
    (home / "evil\x1b]0;owned\x07").touch()
    (home / "evil-not").touch()
    async with at_prompt() as person:
        person.send("ls evi")
        await person.press(TAB, lambda: "evil" in person.line, "an answer")
        assert "owned" not in person.screen.title


async def test_escape_and_enter_inserts_a_line() -> None:
    async with at_prompt() as person:
        person.send("echo o''ne" + ESCAPE + ENTER)
        await person.wait_for(lambda: person.line == "> ")
        person.send("echo t''wo" + ENTER)
        await person.prompt(2)
        assert person.output()[-2:] == ["one", "two"]
