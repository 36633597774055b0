"""rshell-get and rshell-put in shells of a real server, with a program that says yes or no."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from rshell import ErrandPlan, Shell, TerminalSize
from rshell.channels.shell.private import places
from tests.support.audit import audited
from tests.support.commands import until as until_it
from tests.support.session import tls_session

SIZE = TerminalSize(80, 24)


class Decider:
    """Answers each errand with the next of `answers`, and keeps what was asked."""

    def __init__(self, *answers: bool) -> None:
        self.answers = list(answers)
        self.asked: list[ErrandPlan] = []
        self.begun = asyncio.Event()

    async def __call__(self, plan: ErrandPlan) -> bool:
        self.asked.append(plan)
        self.begun.set()
        if not self.answers:
            await asyncio.Event().wait()
        return self.answers.pop(0)


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the server's directory; ours, which is the present one, lies beside it."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    there = tmp_path / "there"
    there.mkdir()
    return there


@asynccontextmanager
async def shell_of(
    there: Path, decide: Decider | None, *, terminal: TerminalSize | None = None
) -> AsyncIterator[Shell]:
    async with (
        tls_session(cwd=there) as client,
        client.open_shell(on_errand=decide, terminal=terminal) as shell,
    ):
        yield shell


async def test_files_come_and_go_where_the_answer_is_yes(there: Path) -> None:
    (there / "a b").write_text("from there")
    (there / "tree").mkdir()
    (there / "tree" / "x").write_text("deep")
    Path("mine").write_text("from here")
    Path("link").symlink_to("mine")
    Path("d").mkdir()
    Path("d/one").write_text("1")
    decide = Decider(True, True, True)
    async with shell_of(there, decide) as shell:
        done = await shell.run("rshell-get -r 'a b' tree/")
        assert (done.status.code, done.stderr) == (0, b"")
        done = await shell.run("rshell-put 'm*' link")
        assert (done.status.code, done.stderr) == (0, b"")
        assert (await shell.run("mkdir in; cd in; rshell-put -r -- d")).status.code == 0
    assert Path("a b").read_text() == "from there" and Path("tree/x").read_text() == "deep"
    assert (there / "mine").read_text() == (there / "link").read_text() == "from here"
    assert (there / "in" / "d" / "one").read_text() == "1"
    got, put, _ = decide.asked
    assert (got.verb, got.count, got.bytes, got.target) == ("get", 2, 14, str(Path.cwd()))
    assert [(item.name, item.is_directory) for item in got.items] == [
        ("a b", False),
        ("tree", True),
    ]
    assert [item.path for item in put.items] == [f"{Path.cwd()}/mine"] * 2
    assert (put.count, put.bytes, put.target) == (2, 18, str(there))


async def test_a_no_and_what_can_not_be_asked_are_said_with_a_status(there: Path) -> None:
    (there / "a").write_text("a")
    (there / "d").mkdir()
    (there / "d" / "a").write_text("a")
    decide = Decider(False, False)
    rows = (
        ("rshell-get a", 1, "the answer was no"),
        ("rshell-put nowhere", 1, "the answer was no"),  # and that it is not here, nobody is told
        ("rshell-get none", 1, "none: No such file or directory"),
        ("rshell-get d", 1, "d: it is a directory; those need -r"),
        ("rshell-get a d/a", 1, "two of them are called a; send one after the other"),
        ("rshell-get -r /", 1, "/ can't be sent as a whole; name what is in it"),
        ("rshell-get /dev/null", 1, "/dev/null: it is no file or directory"),
        ("rshell-get", 255, "say which files. See rshell-get --help."),
        ("rshell-put -x", 255, "option -x not recognized. See rshell-put --help."),
        ("env -u RSHELL_CLIENT rshell-get a", 255, "this works in a shell of rshell only"),
        ("RSHELL_CLIENT=/none rshell-get a", 255, "this works in a shell of rshell only"),
    )
    async with shell_of(there, decide) as shell:
        for command, status, text in rows:
            done = await shell.run(command)
            assert done.status.code == status, command
            assert text in done.stderr.decode(), command
        assert (await shell.run("rshell-put --help")).stdout.startswith(b"usage: rshell-put")
    assert len(decide.asked) == 1


async def test_a_client_that_takes_no_errands_is_not_asked(there: Path) -> None:
    (there / "a").write_text("a")
    async with shell_of(there, None) as shell:
        done = await shell.run("rshell-get a")
    assert done.status.code == 255 and b"use rshell-cp" in done.stderr
    assert not Path("a").exists()


async def test_a_command_in_the_background_asks_nobody(there: Path) -> None:
    (there / "a").write_text("a")
    decide = Decider()
    until = "(while ! test -e %s; do sleep 0.01; done)"
    async with shell_of(there, decide) as shell:
        # It is asked while another command runs, and given up when that ends.
        script = "(rshell-get a; echo $? >status) 2>error & " + until % "go"
        asking = asyncio.ensure_future(shell.run(script))
        await decide.begun.wait()
        (there / "go").touch()
        await asking
        done = await shell.run("while ! test -s status; do sleep 0.01; done; cat status error")
        assert done.stdout.startswith(b"255\n") and b"has ended" in done.stdout
        # And not while none does.
        await shell.run(f"({until % 'idle'}; rshell-get a; echo $? >again) 2>error &")
        (there / "idle").touch()
        await asyncio.to_thread(until_it, (there / "again").exists, "the second one's end")
        assert b"while it is the command that runs" in (there / "error").read_bytes()
    assert len(decide.asked) == 1


async def test_an_errand_ends_with_the_command_that_asked(there: Path) -> None:
    (there / "a").write_text("a")
    decide = Decider()
    async with shell_of(there, decide, terminal=SIZE) as shell:
        asking = asyncio.ensure_future(shell.run("rshell-get a"))
        await decide.begun.wait()
        shell.interrupt()
        assert (await asking).status.code == 130
        decide.answers.append(True)
        assert (await shell.run("rshell-get a")).status.code == 0
    events = [(event["event"], event.get("status")) for event in audited("errand", "errand-done")]
    assert events == [("errand", None), ("errand-done", 255), ("errand", None), ("errand-done", 0)]


@pytest.mark.parametrize("kind", ["plain", "native"])
async def test_the_commands_are_the_last_on_the_path_and_go_with_the_shell(
    there: Path, kind: str, tmp_path: Path
) -> None:
    home = Path(os.environ["HOME"])
    (home / ".bash_profile").write_text("PATH=/usr/bin:/bin\n")
    (home / ".bashrc").write_text("PATH=/usr/bin:/bin\n")
    terminal = SIZE if kind == "native" else None
    async with shell_of(there, Decider(), terminal=terminal) as shell:
        done = await shell.run('echo "$PATH:$RSHELL_CLIENT"; stat -c %a "${RSHELL_CLIENT%/*}"')
        path, mode = done.stdout.decode().split()
        *_, last, socket = path.split(":")
        assert Path(socket).parent == Path(last) and mode == "700"
        assert (Path(last) / "rshell-get").exists()
        if kind == "native":
            assert path.startswith("/usr/bin:/bin:/")
    assert not Path(last).exists()
    assert not [each for place in places()[:-1] for each in place.glob("errands-*")]
