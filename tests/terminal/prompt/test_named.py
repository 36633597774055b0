"""Named shells with real servers, clients and terminals: leaving and coming back."""

from __future__ import annotations

import os
import re
import shutil
import signal
from pathlib import Path

import pytest

from tests.support.commands import ServerProcess, Terminal, argv
from tests.support.execution import is_alive
from tests.support.named import (
    LARGE,
    SMALL,
    WIDE,
    assert_detached,
    back,
    detach,
    left,
    paint,
    painted,
    shells,
    until_idle,
    until_left,
    working,
)
from tests.support.terminal import CTRL, ENTER, PASTE_ON, at_prompt, at_terminal


async def test_a_program_is_left_and_drawn_again_at_the_next_terminals_size(
    server: ServerProcess, painter: str
) -> None:
    async with working(server) as person:
        pid = await paint(person, painter)
        await detach(person, server)
        assert person.screen.columns == 100
    assert is_alive(pid)
    async with at_terminal("-S", "work", server.address, size=LARGE) as person:
        await person.wait_for("painted 120x40")
        assert painted(person) == pid and person.has_mode(1000)
        person.send("hello" + ENTER)
        await person.wait_for("told hello")
        person.send("end" + ENTER)
        await person.wait_for(lambda: person.is_at_prompt)
        assert not person.has_mode(1000)
        assert await person.run("echo $?") == ["7"]
        person.send("exit 3" + ENTER)
        assert await left(person) == 3
    assert shells(server) == {}


async def test_the_same_size_is_drawn_again_too(server: ServerProcess, painter: str) -> None:
    async with working(server) as person:
        pid = await paint(person, painter)
        await detach(person, server)
    async with at_terminal(server.address, "-S", "work") as person:
        await person.wait_for("painted 100x30")
        assert painted(person) == pid


async def test_a_program_survives_its_client_that_is_killed(
    server: ServerProcess, painter: str
) -> None:
    async with working(server, size=LARGE) as person:
        pid = await paint(person, painter)
        person.popen.kill()
        await person.wait()
    assert is_alive(pid)
    async with at_terminal(server.address, "-S", "work", size=SMALL) as person:
        await person.wait_for("painted 70x20")
        assert painted(person) == pid
        person.send("end" + ENTER)
        await person.wait_for(lambda: person.is_at_prompt)


async def test_what_a_stuck_terminal_had_not_shown_comes_at_the_next_one(
    server: ServerProcess,
) -> None:
    """Leaving on purpose counted all that was sent as seen, a mebibyte too much."""
    count = 200_000  # 1.5 MB, more than waits for the terminal in the client
    arguments = argv("rshell", server.address, "-S", "work")
    with Terminal(arguments, SMALL) as first:
        first.expect(PASTE_ON)
        first.type(f"seq 1 {count}\r".encode())
        first.expect(b"1\r\n2\r\n")
        until_idle(server)  # while nobody reads here
        first.type(b"~d")
        assert first.wait() == 0
        assert b"detached from work" in first.seen[-1000:]
    with Terminal(arguments, SMALL) as second:
        second.expect(b"attached to work")
        second.expect(PASTE_ON)
        second.type(b"exit\r")
        second.wait()
    # Up to the mark of a line without an end, or our own; and from behind our own line on.
    shown = re.split(rb"\x1b|rshell: ", first.seen)[0].split()
    came = second.passed.partition(b"attached to work")[2].partition(b"\n")[2].partition(b"\x1b")[0]
    numbers = [b"%d" % number for number in range(3, count + 1)]
    rest = came.split()[1:]  # the first may be the end of a line that was cut
    is_begun, is_ended = shown[:-1] == numbers[: len(shown) - 1], rest == numbers[-len(rest) :]
    assert is_begun and is_ended  # not compared here: the difference would be long
    # A terminal that is slower than we wait for may have shown a little more than we know of.
    assert 0 < len(rest) <= count and len(shown) + 1 + len(rest) >= len(numbers)


@pytest.mark.skipif(shutil.which("vim") is None, reason="needs vim")
async def test_vim_is_left_and_taken_up_elsewhere(server: ServerProcess) -> None:
    file = Path(os.environ["HOME"], "text")
    async with working(server) as person:
        person.send("vim -u NONE -N --cmd 'set laststatus=2 stl=%{&lines}+%{&columns}' text\r")
        await person.wait_for("30+100")
        person.send("ifrom the first" + ENTER)
        await person.wait_for("from the first")
        await detach(person, server)
    async with at_terminal(server.address, "-S", "work", size=SMALL) as person:
        await person.wait_for("20+70")
        await person.wait_for("from the first")
        assert person.has_mode(1049)  # on a screen of its own, as it was there
        person.send("from the second\x1b:wq" + ENTER)
        await person.wait_for(lambda: person.is_at_prompt)
        assert file.read_text() == "from the first\n\nfrom the second\n"


async def test_at_the_prompt_a_key_detaches_and_the_shell_is_as_it_was(
    server: ServerProcess, short_path: Path
) -> None:
    async with working(server) as person:
        await person.run(f"cd '{short_path}'; x=kept; (exit 5)")
        person.send("half a li" + CTRL["X"] + CTRL["D"])
        assert await left(person) == 0
        assert_detached(person, server)
    async with back(server) as person:
        await person.prompt()
        assert await person.run("echo $? $x $PWD") == [f"5 kept {short_path}"]


async def test_the_toolbar_names_the_shell(server: ServerProcess) -> None:
    async with working(server) as person:
        await person.see(" shell work ")


async def test_the_escapes_are_listed_and_detaching_is_one_only_here(
    server: ServerProcess,
) -> None:
    async with working(server) as person:
        person.send("cat" + ENTER)
        await person.wait_for(lambda: not person.has_mode(2004))
        person.send("~?")
        await person.see("~d  detach")
    async with at_prompt(server.address) as person:
        person.send("cat" + ENTER)
        await person.wait_for(lambda: not person.has_mode(2004))
        person.send("~?")
        await person.see("~~  send one ~")
        assert not any("~d" in line for line in person.display)
        person.send("~d" + ENTER)
        await person.wait_for(lambda: person.display.count("~d") == 2)  # typed, and read


async def test_leaving_at_once_leaves_it_alive_too(server: ServerProcess, painter: str) -> None:
    async with working(server) as person:
        pid = await paint(person, painter)
        await detach(person, server, "~.")
    until_left(server)
    assert is_alive(pid)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_leaves_it_alive(
    server: ServerProcess, painter: str, number: signal.Signals
) -> None:
    async with working(server) as person:
        pid = await paint(person, painter)
        person.popen.send_signal(number)
        assert await left(person) == 128 + number
    assert is_alive(pid) and list(shells(server)) == ["work"]


@pytest.mark.parametrize("is_running", [True, False], ids=["running", "idle"])
async def test_a_terminal_that_is_gone_leaves_it_alive(
    server: ServerProcess, is_running: bool
) -> None:
    async with working(server) as person:
        await person.run("x=kept")
        if is_running:
            person.send("cat" + ENTER)
            await person.wait_for(lambda: not person.has_mode(2004))
        person.hang_up()
        assert await person.wait() in (129, 255, -signal.SIGHUP)
    async with back(server) as person:
        if is_running:
            person.send(CTRL["C"])
        await person.prompt()
        assert await person.run("echo $x") == ["kept"]


async def test_ctrl_d_and_exit_end_it(server: ServerProcess) -> None:
    for keys in (CTRL["D"], "exit" + ENTER):
        async with working(server) as person:
            assert await person.run('echo "<$x>"') == ["<>"]  # not the one before
            await person.run("x=1")
            person.send(keys)
            assert await left(person) == 0
        assert shells(server) == {}


# What was printed meanwhile.


async def test_what_was_printed_meanwhile_is_shown_before_the_prompt(
    server: ServerProcess, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    async with working(server) as person:
        person.send(f"until [ -e {gate} ]; do sleep 0.02; done; seq 3; (exit 4)\r")
        await person.wait_for(lambda: not person.has_mode(2004))
        await detach(person, server)
    gate.touch()
    until_idle(server)
    async with back(server, size=WIDE) as person:
        await person.prompt()
        lines = [line for line in person.display if line]
        assert lines[0] == "rshell: attached to work"
        assert lines[1:4] == ["1", "2", "3"]
        await person.see(" status 4 ")


async def test_too_much_is_said_to_be_dropped(server: ServerProcess, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with working(server) as person:
        person.send(f"until [ -e {gate} ]; do sleep 0.02; done; seq 300000\r")
        await person.wait_for(lambda: not person.has_mode(2004))
        await detach(person, server)
    gate.touch()
    until_idle(server)
    lost = sum(len(str(n)) + 2 for n in range(1, 300_001)) - 1024 * 1024
    async with at_terminal("-Swork", server.address) as person:
        await person.prompt()
        assert "300000" in person.display
        told = re.search(rb"\nrshell: (\d+) bytes before this were dropped\r\n", person.begun)
        assert told and lost <= int(told[1]) <= lost + 2  # the echo of a key may be among them
