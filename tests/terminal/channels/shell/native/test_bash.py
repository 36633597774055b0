"""bash as the user's own shell: what its hooks report, and what they leave alone."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from rshell.channels.shell.messages import Completions
from rshell.channels.shell.native import foreground, native_process
from rshell.channels.shell.native.hooks import PROBE, TAKE, press
from rshell.execution.piped_process import PipedProcess
from tests.terminal.channels.shell.native.test_zsh_fish import Said, home, shell

__all__ = ["home"]


async def ask(bash: Said, text: str) -> Completions:
    return await asyncio.wait_for(bash.line.complete(text), 30)


async def test_bash_runs_lines_as_at_its_own_prompt(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / ".profile").write_text("echo not this one\n")
    (home / ".bash_profile").write_text(
        "alias local=false printf=false; set -e; false; set +e\n"
        "PROMPT_COMMAND='last=$?'; PS1='$last $?> '; (exit 3); return 4\n"
    )
    (home / "a folder").mkdir()
    async with shell("bash", monkeypatch) as bash:
        rows = (
            ("false | true | (exit 3)", 3, ""),
            ("echo ${PIPESTATUS[@]} $?", 0, "1 0 3 3\r\n"),
            (": a b; (exit 5)", 5, ""),
            ("echo $_ $? $PS1", 0, "b 5 $last $?>\r\n"),
            ("echo !!:0", 0, "echo echo\r\necho\r\n"),
            ("echo )", 2, "bash: syntax error near unexpected token `)'\r\n"),
            ("echo 1\necho 2", 0, "1\r\n2\r\n"),
            ("cat <<X\n\there $((40 + 2))\nX", 0, "\there 42\r\n"),
            (
                "echo ${ENV-} ${RSHELL_DIR-} $POSIXLY_CORRECT $HISTFILE",
                0,
                f"{home}/.bash_history\r\n",
            ),
            (
                "shopt -o posix; shopt inherit_errexit",
                1,
                "posix          \toff\r\ninherit_errexit\toff\r\n",
            ),
            ("set -eu -o vi", 0, ""),
            ("x=" + "y" * 50_000 + "; echo ${#x}", 0, "50000\r\n"),
            ("set +eu -o emacs; PROMPT_COMMAND+=(:); (exit 2)", 2, ""),
            ("readonly PROMPT_COMMAND", 0, ""),
            ("set -x", 0, "++ :\r\n"),
            ("echo x", 0, "+ echo x\r\nx\r\n++ :\r\n"),
            ("set +x", 0, "+ set +x\r\n"),
            ("PS1=$(seq -s. 5000)", 0, ""),  # longer than can be told
            ("echo y", 0, "y\r\n"),
        )
        for text in ("PROMPT_COMMAND=(: :)", "unset PROMPT_COMMAND"):  # they are put back
            await bash.run(text)
        for text, status, output in rows:
            assert (text[:50], *await bash.run(text)) == (text[:50], status, output)
        assert (await bash.run("exit 7"))[0] == 7


async def test_bash_says_what_it_can_not_expand_and_keeps_the_prompt(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The prompt's freed memory was shown once the expansion of a line had failed."""
    (home / ".bash_profile").write_text("PS1='$?> '; (exit 3)\n")
    async with shell("bash", monkeypatch) as bash:
        for _ in range(2):
            status, output = await bash.run("!nosuch")
            assert status == 0
            assert output.startswith("bash: !nosuch: event not found\r\n")
            assert await bash.run("echo $PS1") == (0, "$?>\r\n")
        assert await bash.run("history | wc -l") == (0, "3\r\n")
        assert bash.line.prompt is not None and bash.line.prompt.text == "0> "


async def test_bash_is_left_alone_where_a_text_wants_more(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The probe for lost hooks was a syntax error there, and an empty line was run.

    A second one, a moment later, was pressed into what the user had typed by then.
    """
    pressed: list[bytes] = []

    def note(piped: PipedProcess, keys: bytes) -> None:
        pressed.append(keys)
        press(piped, keys)

    monkeypatch.setattr(native_process, "press", note)
    monkeypatch.setattr(native_process, "_PROBE_SECONDS", 30.0)
    monkeypatch.setattr(foreground, "_SOON", 0.0)
    (home / ".bash_profile").write_text("PS2='more '\n")
    async with shell("bash", monkeypatch) as bash:
        for text, rest, output in (
            ('echo "one', 'two"', "one\r\ntwo"),
            ("echo a |", "cat", "a"),
            ("echo x\\", "y", "xy"),
            ("cat <<E", "b\rE", "b"),
            ("echo !!:0 `", "echo c`", "cat c"),
        ):
            pressed.clear()
            running = asyncio.create_task(bash.line.run(text))
            seen = b""
            while not seen.endswith(b"\r\x1b[K\rmore "):  # drawn again by the probe
                seen += await bash.take(1)
            assert pressed == [TAKE, PROBE]
            bash.line.write_nowait(rest.encode() + b"\r")
            done = await asyncio.wait_for(running, 30)
            assert done.status.code == 0
            last = (await bash.take(done.stdout - len(seen))).decode()
            assert last.rpartition("\x1b[?2004l\r")[2] == output + "\r\n", text


async def test_bash_completes_in_its_own_editor(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / ".bash_profile").write_text(
        "two() { echo printed; compopt -o nospace; COMPREPLY=(one= two=); }; complete -F two two\n"
        "load() { complete -W 'late later' $1; return 124; }\n"
        "slow() { sleep 60; }; complete -F slow slow\n"
        "fails() { false; COMPREPLY=($nothing done); false; }; complete -F fails fails\n"
        # As bash-completion does it.
        "files() { local IFS=$'\\n'; compopt -o filenames; COMPREPLY=('a b'); }\n"
        "complete -F files files\n"
    )
    for name in ("a b", "日本 語"):
        (home / name).touch()
    (home / "dir").mkdir()
    async with shell("bash", monkeypatch) as bash:
        await bash.run("cd; set -x; set -u; set -e; (exit 3) || :")
        for text, start, texts in (
            ("ls a", 3, ("a\\ b ",)),
            ('ls "a', 3, ('"a b" ',)),
            ("ls ~/d", 3, ("~/dir/",)),
            ("x=日; ls 日", 8, ("日本\\ 語 ",)),
            ("two ", 4, ("one=", "two=")),
            ("fails ", 6, ("done ",)),
            ('files "a', 6, ('"a b" ',)),
            ("nothing-like-it x", 16, ()),
        ):
            found = await ask(bash, text)
            assert (found.start, found.texts) == (start, texts), text
        names = await asyncio.wait_for(bash.line.names(), 30)
        assert {"echo", "while", "ls", "two"} < set(names)
        assert not any(name.startswith("__rs") for name in names)
        assert set("eux") < set((await bash.run("echo $-"))[1].splitlines()[-1])
        await bash.run("set +xeu; complete -D -F load; (exit 4)")
        assert (await ask(bash, "new l")).texts == ("late ", "later ")
        said = "4 load\r\ncompopt is a shell builtin\r\n"
        assert await bash.run("echo $? $_; type compopt") == (0, said)
        # A line that overtakes a question interrupts it.
        slow = asyncio.create_task(ask(bash, "slow "))
        await asyncio.sleep(0)
        assert await bash.run("echo here") == (0, "here\r\n")
        slow.cancel()
        await asyncio.gather(slow, return_exceptions=True)
        assert (await ask(bash, "two ")).texts == ("one=", "two=")


async def test_no_key_of_ours_is_pressed_in_a_shell_that_took_the_place_of_bash(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / ".bash_profile").write_text("readonly PROMPT_COMMAND='pc=$?'; PS1='$pc> '\n")
    async with shell("bash", monkeypatch) as bash:
        assert await bash.run("(exit 3)") == (3, "")  # its hooks were there before it
        assert bash.line.prompt is not None and bash.line.prompt.text == "3> "
        running = asyncio.create_task(bash.line.run("exec bash --norc"))
        seen = b""
        while not seen.endswith(b"# ") and not seen.endswith(b"$ "):
            seen += await asyncio.wait_for(bash.reader.read(1024), 30)
        bash.line.write_nowait(b"exit 5\r")
        done = await asyncio.wait_for(running, 30)
        assert (done.status.code, done.left) == (5, True)
        seen += await bash.take(done.stdout - len(seen))
        assert b"exit 5" in seen and b"777" not in seen and b"~" not in seen
