"""The prompts that people have, in the shells that they have, as they see them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.support.own_prompt import OWN, enter, ours
from tests.support.terminal import CTRL, ENTER, TAB, Person, at_terminal

# Two lines, the second one coloured by whether the last command failed.
BASH = r"""
PS1='\[\e[1;34m\]\w\[\e[0m\] on box\n\[\e[$(($? ? 31 : 32))m\]>\[\e[0m\] '
"""
ZSH = r"""
PROMPT='%B%F{blue}%~%f%b on box'$'\n''%(?.%F{green}.%F{red})>%f '
RPROMPT='%F{yellow}right%f'
"""
FISH = r"""
function fish_prompt
    set -l sign green
    test $status -ne 0; and set sign red
    set_color -o blue; echo -n (prompt_pwd); set_color normal; echo ' on box'
    set_color $sign; echo -n '>'; set_color normal; echo -n ' '
end
function fish_right_prompt
    set_color yellow; echo -n right; set_color normal
end
"""
_FILES = {
    "bash": ("HOME", ".bash_profile"),
    "zsh": ("HOME", ".zshrc"),
    "fish": ("XDG_CONFIG_HOME", "fish/config.fish"),
}
_PROMPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


@pytest.fixture(params=[name for name in _FILES if shutil.which(name)])
def own(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A shell with a prompt of its user's own; its name."""
    name = str(request.param)
    monkeypatch.setenv("SHELL", shutil.which(name) or "")
    place, path = _FILES[name]
    file = Path(os.environ[place], path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(_PROMPTS[name])
    return name


def has_right(person: Person) -> bool:
    """Whether the right prompt is where it belongs, at the end of the line that is edited."""
    cells = person.screen.buffer[person.screen.cursor.y]
    shown = "".join(cells[x].data for x in range(person.screen.columns)).rstrip()
    return shown.endswith("right") and len(shown) > person.screen.columns - 3


async def test_lines_colours_and_the_right_prompt_are_the_users(own: str) -> None:
    async with at_terminal(*OWN) as person:
        await person.wait_for(lambda: person.line == "> ", "the prompt")
        first = person.cells("~ on box")
        assert first[0].fg in ("blue", "brightblue") and first[2].fg == "default"
        if own != "bash":
            await person.wait_for(lambda: has_right(person), "the right prompt")
            assert person.cells("right")[0].fg == "brown"
        assert person.cells("> ")[0].fg == "green"
        await enter(person, "false", "> ")
        assert person.cells("> ")[0].fg == "red"
        await person.see(" status 1 ")
        await enter(person, "cd /usr", "> ")
        assert person.display[person.screen.cursor.y - 1] == "/usr on box"
        await person.see(" status 0 ")


async def test_ours_is_shown_where_it_is_asked_for(own: str) -> None:
    async with at_terminal("--local", "--prompt", "rshell") as person:
        await person.prompt()
        assert person.line == ours("~")
        await person.run("cd /usr")
        assert person.line == ours("/usr")
        assert not any("on box" in line or "right" in line for line in person.display)


async def test_lines_are_edited_completed_and_dropped_at_it(own: str) -> None:
    Path(os.environ["HOME"], "some file").touch()
    async with at_terminal(*OWN) as person:
        await person.wait_for(lambda: person.line == "> ", "the prompt")
        person.send("ls som")
        await person.press(TAB, lambda: person.line == "> ls some\\ file ", "the file's name")
        count = person.prompts + 1
        person.send(CTRL["C"])
        await person.wait_for(lambda: person.prompts >= count and person.line == "> ", "a new one")
        person.send("echo 'one" + ENTER)
        await person.wait_for(lambda: person.line == "> " and person.prompts == count, "a line")
        await enter(person, "two'", "> ")
        at = person.display.index("one")
        assert person.display[at + 1] == "two"
        await enter(person, "echo $((6 * 7))" if own != "fish" else "math 6 '*' 7", "> ")
        assert "42" in person.display


async def test_vi_in_the_shell_shows_its_modes(own: str) -> None:
    async with at_terminal(*OWN) as person:
        await person.wait_for(lambda: person.line == "> ", "the prompt")
        switch = {"bash": "set -o vi", "zsh": "bindkey -v", "fish": "fish_vi_key_bindings"}
        await enter(person, switch[own], "> ")
        await person.see(" insert ")
        person.send("xecho one")
        await person.wait_for(lambda: person.line == "> xecho one", "the line")
        person.send("\x1b")
        await person.see(" normal ")
        person.send("0x")
        await person.wait_for(lambda: "> echo one" in "\n".join(person.display), "without its x")
        await enter(person, "", "> ")
        assert "one" in person.display
