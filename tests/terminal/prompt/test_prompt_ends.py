"""Leaving the interactive prompt, by choice and otherwise: the terminal is as it was found."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
import termios
from pathlib import Path

import pytest

from tests.support.commands import ServerProcess, Terminal, argv, serving
from tests.support.commands import until as wait_until
from tests.support.execution import await_gone
from tests.support.terminal import (
    CTRL,
    ENTER,
    PASTE_ON,
    SIZE,
    TAB,
    Person,
    at_prompt,
    at_terminal,
)

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")

HASTY = {"resume_window": 0.2}  # nobody waits for a server that is gone

# Everything that a program may leave on.
MESS = r"printf '\033[?1049h\033[?1000h\033[?1006h\033[?2004h\033[?25l\033[?1h\033=\033[31m\150alf'"


def unix_server() -> tuple[str, str]:
    path = os.environ["XDG_RUNTIME_DIR"] + "/socket"
    return path, f"unix:{path}"


async def left(person: Person) -> int:
    """The status, once the client has ended with the terminal as it was."""
    status = await person.wait()
    assert person.modes == person.before
    for mode in (1049, 1000, 1006, 2004, 1):
        assert not person.has_mode(mode), mode
    assert not person.screen.cursor.hidden
    assert not any("Traceback" in line for line in person.display), "\n".join(person.display)
    return status


@pytest.mark.parametrize(
    ("keys", "status"),
    [
        ("exit\r", 0),
        ("exit 5\r", 5),
        ("logout\r", 0),
        (CTRL["D"], 0),
        ("(exit 3); exit\r", 3),
        ("false\r" + CTRL["D"], 1),
        ("alias exit='echo shadowed'; false\r" + CTRL["D"], 1),
        ("f() { exit 7; }; f\r", 7),
        ("exec true\r", 0),
        ("exec sh -c 'exit 4'\r", 4),
        ("set -e\rexit 4\r", 4),
    ],
)
async def test_leaving_by_choice_has_the_shells_status(keys: str, status: int) -> None:
    async with at_prompt() as person:
        person.send(keys)
        assert await left(person) == status


async def test_ctrl_d_on_a_line_that_is_not_empty_leaves_nothing() -> None:
    async with at_prompt() as person:
        person.send("echo" + CTRL["D"] + " still here\r")
        await person.wait_for("still here")


async def test_stopped_jobs_are_mentioned_before_the_shell_leaves() -> None:
    async with at_prompt() as person:
        person.send("sh -c 'echo u''p; exec sleep 100'\r")
        await person.wait_for("up")
        person.send(CTRL["Z"])
        await person.prompt(2)
        await person.run("exit")
        assert any("stopped jobs" in line for line in person.display)
        person.send("exit 6\r")
        assert await left(person) == 6


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("command", ["", MESS + "; sleep 100"], ids=["idle", "running"])
async def test_a_signal_leaves_the_terminal_as_it_was(number: int, command: str) -> None:
    async with at_prompt() as person:
        if command:
            person.send(command + ENTER)
            await person.see("half")
        person.popen.send_signal(number)
        assert await left(person) == 128 + number


@pytest.mark.parametrize("command", ["", "cat"], ids=["idle", "running"])
async def test_a_terminal_that_is_gone_ends_client_and_shell(command: str) -> None:
    pid = Path(os.environ["HOME"], "pid")
    async with at_prompt("--local") as person:
        await person.run("echo $$ > pid")
        if command:
            person.send(command + ENTER)
            await person.wait_for(lambda: not person.has_mode(2004))
        person.hang_up()
        assert await person.wait() in (129, 255, -signal.SIGHUP)
        await_gone(int(pid.read_text()))


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT], ids=["killed", "stopped"])
@pytest.mark.parametrize("command", ["", MESS + "; sleep 100"], ids=["idle", "running"])
async def test_a_server_that_ends_is_told_in_one_line(end: int, command: str) -> None:
    path, address = unix_server()
    with serving("--unix", path) as server:
        async with at_prompt(address, limits=HASTY) as person:
            if command:
                person.send(command + ENTER)
                await person.see("half")
            server.popen.send_signal(end)
            assert await left(person) == 255
            *before, line = (line for line in person.display if "rshell: " in line)
            assert line.startswith("rshell: ")
            # Whoever waits for a command, and has no toolbar, was told of the cut.
            assert all("the link was cut" in each for each in before) and len(before) <= 1


@needs_openssl
async def test_a_link_lost_in_mid_command_shows_what_had_come() -> None:
    with serving("--port", "0") as server:
        async with at_prompt(server.address, limits=HASTY) as person:
            await flood_and_kill(person, server)
            assert await left(person) == 255


async def flood_and_kill(person: Person, server: ServerProcess) -> None:
    person.send("seq 200000; sleep 100\r")
    await person.wait_for("200000")
    server.popen.kill()


async def test_the_shell_goes_with_its_client_once_nobody_may_come_back() -> None:
    path, address = unix_server()
    with serving("--unix", path):
        async with at_prompt("--resume-window", "0.3", address) as person:
            person.send("echo $$ > pid; echo u''p; sleep 1000\r")
            await person.wait_for("up")
            person.popen.kill()
            await_gone(int(Path(os.environ["HOME"], "pid").read_text()))


async def test_a_server_that_refuses_is_told_and_the_terminal_untouched() -> None:
    async with at_terminal("unix:/nowhere/at/all") as person:
        assert await left(person) == 255
        assert person.display[0].startswith("rshell: ")


async def test_a_program_that_is_no_shell_is_told_and_how_it_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SHELL", "/bin/false")
    async with at_terminal("--local") as person:
        assert await left(person) == 1  # what it has the terminal for, it says with its status
        notice, line = filter(None, person.display)
        assert notice.startswith("rshell: this program takes no lines")
        assert line == "rshell: the shell exited with status 1 as soon as it was started"


async def test_a_program_that_leaves_modes_on_is_put_right() -> None:
    async with at_prompt() as person:
        person.send(MESS + ENTER)
        await person.prompt(3)  # 2 is the program's own
        for mode in (1049, 1000, 1006, 1):
            assert not person.has_mode(mode), mode
        assert not person.screen.cursor.hidden
        assert await person.run("echo plain") == ["plain"]
        assert person.cells("plain")[0].fg == "default"


async def test_a_program_killed_in_raw_mode_leaves_a_usable_terminal() -> None:
    async with at_prompt() as person:
        await person.run("sh -c 'stty raw -echo; kill -9 $$'")
        person.send("echo u''p; cat\r")
        await person.wait_for("up")
        person.send("seen twice\r")
        await person.wait_for(lambda: person.display.count("seen twice") == 2)
        person.send(CTRL["C"])
        await person.prompt(3)


async def test_both_ends_keep_nothing_of_a_session_that_left() -> None:
    path, address = unix_server()
    with serving("--unix", path) as server:
        for _ in range(2):
            async with at_prompt(address) as person:
                person.send("exit\r")
                assert await left(person) == 0
        directory = Path(f"/proc/{server.pid}/fd")
        count = len(list(directory.iterdir()))
        async with at_prompt(address) as person:
            person.send("exit\r")
            assert await left(person) == 0
        wait_until(lambda: len(list(directory.iterdir())) <= count, "the end of all descriptors")
        assert "Traceback" not in server.complaints()


def test_a_terminal_that_takes_nothing_does_not_keep_who_is_told_to_leave() -> None:
    with Terminal(argv("rshell", "--local"), SIZE) as terminal:
        terminal.expect(PASTE_ON)
        terminal.type(b"printf '\\033[?1000h'; yes\r")
        terminal.expect(b"y\r\ny")
        terminal.popen.send_signal(signal.SIGTERM)  # and nobody reads on
        assert terminal.popen.wait(60) == 128 + signal.SIGTERM


# Stopped from outside, and what fails here.


async def test_what_was_stopped_takes_the_terminal_back_and_draws_again() -> None:
    async with at_prompt() as person:
        raw = person.modes

        async def stopped() -> None:
            """Stop the client; its shell makes the terminal its own, and then lets it go on."""
            person.popen.send_signal(signal.SIGSTOP)
            stat = Path(f"/proc/{person.popen.pid}/stat")
            await asyncio.to_thread(wait_until, lambda: ") T " in stat.read_text(), "the stop")
            termios.tcsetattr(person._slave, termios.TCSANOW, person.before)
            person.screen.reset()
            person.popen.send_signal(signal.SIGCONT)
            await person.wait_for(lambda: person.modes == raw, "the terminal's mode")

        person.send("echo ha''lf")
        await person.see("ha''lf")
        await stopped()
        await person.see("echo ha''lf")
        person.send(ENTER)
        await person.wait_for("half")
        await person.prompt(2)
        draws = "trap 'echo drawn' WINCH; echo ready; while :; do sleep 0.01; done"
        person.send(f'sh -c "{draws}"{ENTER}')
        await person.wait_for("ready")
        await stopped()
        await person.wait_for("drawn")
        await person.interrupt(3)


async def test_what_fails_in_the_editor_is_one_line_and_the_prompt_goes_on() -> None:
    code = (
        "import sys\n"
        "from rshell.cli import rshell\n"
        "from rshell.cli.prompt import candidates\n"
        "async def fails(self, document):\n"
        "    raise KeyError('gone')\n"
        "candidates.Completing._complete = fails\n"
        "rshell.run()\n"
    )
    with (
        tempfile.TemporaryDirectory(prefix="r") as directory,
        serving("--unix", f"{directory}/s") as server,
    ):
        person = Person([sys.executable, "-c", code, server.address], {}, SIZE, True)
        try:
            await person.prompt()
            person.send("ls" + TAB)
            await person.wait_for(
                "rshell: an error that was not foreseen: KeyError: 'gone' (<string>, line 5)"
            )
            person.send(CTRL["U"])
            person.send("echo al''ive" + ENTER)
            await person.wait_for("alive")
        finally:
            await person.leave()
