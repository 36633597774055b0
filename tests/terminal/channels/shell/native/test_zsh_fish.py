"""zsh and fish as the user's own shells: what their hooks report, and what they leave alone."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from rshell.channels.shell.client import ShellLine
from rshell.channels.shell.native import foreground, native_process
from rshell.channels.shell.native.hooks import PROBE, press
from rshell.execution.piped_process import PipedProcess
from rshell.values import TerminalSize
from tests.support.execution import until
from tests.support.session import tls_session


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("ZDOTDIR", "HISTFILE", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    return home


class Said:
    """A line of a shell, and what it printed."""

    def __init__(self, line: ShellLine) -> None:
        self.line = line
        self.reader = line.channel.stream(1)

    async def run(self, text: str) -> tuple[int | None, str]:
        """Return the status and the output."""
        done = await asyncio.wait_for(self.line.run(text), 30)
        return done.status.code, (await self.take(done.stdout)).decode()

    async def take(self, size: int) -> bytes:
        """Read what one command has printed."""
        return await asyncio.wait_for(self.reader.readexactly(size), 30)


@asynccontextmanager
async def shell(name: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Said]:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"there is no {name}")
    monkeypatch.setenv("SHELL", path)
    async with (
        tls_session() as client,
        client.open_line(TerminalSize(80, 24), term="xterm-256color") as line,
    ):
        said = Said(line)
        started = await asyncio.wait_for(line.follow(), 30)
        assert not started.left
        await said.take(started.stdout)
        yield said


async def test_zsh_runs_lines_as_at_its_own_prompt(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = home / "zdot"
    own.mkdir()
    (home / ".zshenv").write_text(f"ZDOTDIR={own}\n${{nothing?it fails}}\n")
    (own / ".zshrc").write_text(
        "setopt prompt_subst hist_verify; alias local=false; precmd_functions=(mine)\n"
        "mine() { last=$? }\n"
        "PS1='$last $? ${(j:,:)pipestatus}> ' RPS1=right\n"
    )
    folder = home / "a folder"
    folder.mkdir()
    async with shell("zsh", monkeypatch) as zsh:
        rows = (
            ("echo $ZDOTDIR $0", 0, f"{own} {zsh.line.program}\r\n"),
            ("false | true | (exit 3)", 3, ""),
            ("echo $pipestatus $?", 0, "1 0 3 3\r\n"),
            (": a b", 0, ""),
            ("echo $_ $PS1", 0, "b $last $? ${(j:,:)pipestatus}> \r\n"),
            ("echo !!:0", 0, "echo echo\r\necho\r\n"),
            ("echo )", 1, "zsh: parse error near `)'\r\n"),
            ("echo 1\necho 2", 0, "1\r\n2\r\n"),
            ("set -x", 0, "+mine:0> last=0 \r\n"),
            ("set +x", 0, f"+{zsh.line.program}:11> set +x\r\n"),
            ("set -eu; setopt ksh_arrays", 0, ""),
            ("x=" + "y" * 200_000 + "; echo ${#x}", 0, "200000\r\n"),
            ("set +eu; unsetopt ksh_arrays; bindkey -v", 0, ""),
        )
        for text, status, output in rows:
            assert await zsh.run(text) == (status, output), text[:50]
        assert zsh.line.prompt is not None and zsh.line.prompt.mode == "vi"
        await zsh.run("false | true")
        prompt = zsh.line.prompt
        assert (prompt.text, prompt.right) == ("0 0 1,0> ", "right")
        await zsh.run("precmd_functions=()")  # its hooks are put back
        assert await zsh.run("readonly PS1; echo here") == (0, "here\r\n")
        await zsh.run("echo again")
        assert (await zsh.run("exit 7"))[0] == 7


async def test_zsh_is_asked_for_candidates_of_its_own_and_of_the_users_completion(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a b", "日本 語"):
        (home / name).touch()
    (home / "dir").mkdir()
    async with shell("zsh", monkeypatch) as zsh:
        await zsh.run("cd; false")
        for _ in range(2):
            for text, start, texts in (
                ("ls ", 3, ("a\\ b ", "dir/", "日本\\ 語 ")),
                ('ls "a', 3, ('"a b" ',)),
                ("ls ~/d", 3, ("~/dir/",)),
                ("x=日; ls d", 8, ("dir/",)),
            ):
                found = await asyncio.wait_for(zsh.line.complete(text), 30)
                assert (found.start, found.texts) == (start, texts), text
            names = await asyncio.wait_for(zsh.line.names(), 30)
            assert {"echo", "while", "ls"} < set(names)
            await zsh.run("autoload -Uz compinit; compinit -D -u; it() { }; compdef _it it")
            await zsh.run("_it() { local -a all=(one:first 'two:the other'); _describe it all }")
        found = await asyncio.wait_for(zsh.line.complete("it "), 30)
        assert (found.texts, found.descriptions) == (("one ", "two "), ("first", "the other"))
        await zsh.run("false")
        await asyncio.wait_for(zsh.line.complete("it "), 30)
        assert await zsh.run("echo $?; whence compadd") == (0, "1\r\ncompadd\r\n")


async def test_fish_shows_what_its_users_hooks_print_and_nothing_of_its_own(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sign stood behind all output, and what a hook printed before it was dropped."""
    monkeypatch.setattr(native_process, "_HURRY_SECONDS", 0.01)
    directory = home / ".config/fish"
    directory.mkdir(parents=True)
    (directory / "config.fish").write_text(
        "set fish_greeting\nfunction fish_title; end\ncomplete -c slow -a '(sleep 60)'\n"
        "function before --on-event fish_preexec; echo before; end\n"
        "function after --on-event fish_postexec; echo -n after; end\n"
    )
    async with shell("fish", monkeypatch) as fish:
        for text in ("true", "printf x"):
            status, output = await fish.run(text)
            assert status == 0 and output.startswith("before\r\n")
            assert output.endswith(("x" if text == "printf x" else "") + "after"), output
        slow = asyncio.create_task(fish.line.complete("slow "))
        await asyncio.sleep(0)
        assert "here\r\n" in (await fish.run("echo here"))[1]  # fish reports no interrupt
        slow.cancel()
        await asyncio.gather(slow, return_exceptions=True)


async def test_zsh_with_plugins_and_marks_of_its_own_prints_what_commands_print(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line drawn again in colours was taken for output."""
    (home / ".zshrc").write_text(
        "zle-line-finish() { region_highlight=('0 4 fg=green') }; zle -N zle-line-finish\n"
        "accept() { zle .accept-line }; zle -N accept-line accept\n"
    )
    async with shell("zsh", monkeypatch) as zsh:
        for text, output in (
            ("echo a\n  echo b", "a\r\nb\r\n"),
            ("setopt prompt_sp; printf c", "c"),
            ("echo d", "d\r\n"),
            ("precmd_functions=()", ""),  # its own prompt is no output
        ):
            assert await zsh.run(text) == (0, output)


async def test_fish_runs_lines_as_at_its_own_prompt(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = home / ".config/fish"
    directory.mkdir(parents=True)
    (directory / "config.fish").write_text(
        "set fish_greeting\nfish_vi_key_bindings\nset -g fish_color_normal\n"
        'function fish_prompt; echo -n "$status $pipestatus> "; end\n'
        "function fish_right_prompt; echo -n right; end\n"
    )
    for name in ("a b", "日本 語"):
        (home / name).touch()
    async with shell("fish", monkeypatch) as fish:
        for text, status, output in (
            ("false | true | false", 1, ""),
            ("echo $pipestatus $status", 0, "1 0 1 1\r\n"),
            ("functions --no-details fish_prompt | string match -q '*pipestatus*'", 0, ""),
            ("echo )", 0, "fish: Unexpected ')'"),
            ("echo 1\necho 2", 0, "1\r\n2\r\n"),
            ("", 0, ""),
            ("cd; false", 1, ""),
        ):
            found = await fish.run(text)
            assert found[0] == status and output in found[1], (text, found)
        await fish.run("false | true")
        prompt = fish.line.prompt
        assert prompt is not None
        assert (prompt.text, prompt.right, prompt.mode) == ("0 1 0> ", "right", "vi")
        for text, start, texts in (("ls a", 3, ("a\\ b ",)), ("ls 日", 3, ("日本\\ 語 ",))):
            candidates = await asyncio.wait_for(fish.line.complete(text), 30)
            assert (candidates.start, candidates.texts) == (start, texts), text
        assert {"echo", "while", "ls"} < set(await asyncio.wait_for(fish.line.names(), 30))
        await fish.run("functions -e __rs_report")  # its hooks are put back
        assert (await fish.run("echo here"))[1].startswith("here\r\n")
        assert (await fish.run("exit 7"))[0] == 7


@pytest.mark.parametrize("lost", (0, 2))
async def test_fish_that_is_interrupted_in_its_prompt_reports_all_the_same(
    home: Path, monkeypatch: pytest.MonkeyPatch, lost: int
) -> None:
    """Also where the probe was pressed too early, and is `lost` so many times."""
    pressed: list[bytes] = []

    def press_late(piped: PipedProcess, keys: bytes) -> None:
        if keys == PROBE:
            pressed.append(keys)
        if keys != PROBE or len(pressed) > lost:
            press(piped, keys)

    monkeypatch.setattr(native_process, "press", press_late)
    if lost:
        monkeypatch.setattr(native_process, "_PROBE_SECONDS", 0.05)
    monkeypatch.setattr(foreground, "_LATER", 0.01)
    async with shell("fish", monkeypatch) as fish:
        at = home / "at"
        # One program does both: a key that comes between two is for nobody.
        program = f"sh -c 'touch {at}; exec sleep 1000'"
        text = f"function fish_prompt; test -e {at}; and return; {program}; end"
        running = asyncio.create_task(fish.run(text))
        await until(at.exists, "the prompt")
        fish.line.write_nowait(b"\x03")
        assert (await running)[0] == 0
        assert (await fish.run("echo here"))[1] == "here\r\n"
