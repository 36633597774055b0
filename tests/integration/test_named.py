"""Named sessions with real servers, clients and terminals: leaving and coming back."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from rshell.values import TerminalSize
from tests.execution.helpers import is_alive
from tests.support.commands import ServerProcess, elsewhere, only_line, run, serving
from tests.support.commands import until as wait_until
from tests.support.cutting import Cutter
from tests.support.terminal import CTRL, ENTER, Person, at_prompt, at_terminal

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")

SMALL = TerminalSize(columns=70, rows=20)
LARGE = TerminalSize(columns=120, rows=40)
WIDE = TerminalSize(columns=250, rows=30)  # room for a long address

# Draws once at its start and whenever it is told that the size has changed; tells its lines.
PAINTER = """
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGWINCH})
drawn = 0
def draw():
    global drawn
    drawn += 1
    size = os.get_terminal_size()
    print(f"\\x1b[H\\x1b[2J\\x1b[?1000hpid {os.getpid()}", flush=True)
    print(f"painted {size.columns}x{size.lines}", flush=True)
if os.fork():
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGWINCH})
    signal.signal(signal.SIGWINCH, lambda *_: draw())
    draw()
    _, status = os.wait()
    sys.exit(os.waitstatus_to_exitcode(status))
for line in sys.stdin:
    print("told", line.strip(), flush=True)
    if line.strip() == "end":
        sys.exit(7)
"""


@pytest.fixture
def server() -> Iterator[ServerProcess]:
    with serving("--unix", os.environ["XDG_RUNTIME_DIR"] + "/socket") as server:
        yield server


@pytest.fixture
def painter(tmp_path: Path) -> str:
    """A command that paints."""
    path = tmp_path / "painter.py"
    path.write_text(PAINTER)
    return f"{sys.executable} {path}"


def sessions(server: ServerProcess, env: dict[str, str] | None = None) -> dict[str, dict[str, Any]]:
    """Return the list of sessions by name."""
    done = run("--sessions", "--json", server.address, env=env)
    assert done.returncode == 0, done.stderr
    return {session["name"]: session for session in json.loads(done.stdout)["sessions"]}


def until_idle(server: ServerProcess, name: str = "work") -> None:
    wait_until(lambda: sessions(server)[name]["running"] is None, "the command's end")


@asynccontextmanager
async def working(server: ServerProcess, **options: Any) -> AsyncIterator[Person]:
    """Somebody at the prompt of the session "work"."""
    async with at_prompt(server.address, "-S", "work", **options) as person:
        yield person


@asynccontextmanager
async def back(server: ServerProcess, **options: Any) -> AsyncIterator[Person]:
    """Somebody who attaches to the session "work", and sees that, at once at least."""
    async with at_terminal("-Swork", server.address, **options) as person:
        await person.see("rshell: attached to work")
        yield person


async def left(person: Person) -> int:
    """The status, once the client has ended with the terminal as it was."""
    status = await person.wait()
    assert person.modes == person.before
    for mode in (1049, 1000, 1006, 2004, 1):
        assert not person.has_mode(mode), mode
    assert not any("Traceback" in line for line in person.display), "\n".join(person.display)
    return status


async def detach(person: Person, server: ServerProcess, keys: str = "~d") -> None:
    """Leave a command that runs."""
    person.send(ENTER)
    await person.read_up()
    person.send(keys)
    assert await left(person) == 0
    assert_detached(person, server)


def assert_detached(person: Person, server: ServerProcess) -> None:
    """The last line says how to come back."""
    shown = "".join(person.screen.display)  # which may take two lines of the screen
    assert f"rshell: detached from work; rshell {server.address} -S work comes back " in shown


async def paint(person: Person, painter: str) -> int:
    """Start the painter and return its process id."""
    size = person.screen
    person.send(painter + ENTER)
    await person.wait_for(f"painted {size.columns}x{size.lines}")
    return painted(person)


def painted(person: Person) -> int:
    (line,) = (line for line in person.display if line.startswith("pid "))
    return int(line.removeprefix("pid "))


# Leaving and coming back.


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
    assert sessions(server) == {}


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
        person.send("from the second\x1b:wq" + ENTER)
        await person.wait_for(lambda: person.is_at_prompt)
        assert file.read_text() == "from the first\n\nfrom the second\n"


async def test_at_the_prompt_a_key_detaches_and_the_shell_is_as_it_was(
    server: ServerProcess, tmp_path: Path
) -> None:
    async with working(server) as person:
        await person.run(f"cd '{tmp_path}'; x=kept; (exit 5)")
        person.send("half a li" + CTRL["X"] + CTRL["D"])
        assert await left(person) == 0
        assert_detached(person, server)
    async with back(server) as person:
        await person.prompt()
        assert await person.run("echo $? $x $PWD") == [f"5 kept {tmp_path}"]


async def test_the_toolbar_names_the_session(server: ServerProcess) -> None:
    async with working(server) as person:
        await person.see(" session work ")


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
    assert is_alive(pid) and not sessions(server)["work"]["attached"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_leaves_it_alive(
    server: ServerProcess, painter: str, number: signal.Signals
) -> None:
    async with working(server) as person:
        pid = await paint(person, painter)
        person.popen.send_signal(number)
        assert await left(person) == 128 + number
    assert is_alive(pid) and list(sessions(server)) == ["work"]


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
        assert sessions(server) == {}


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


# Others.


async def test_who_attaches_takes_it_and_the_other_is_told(
    server: ServerProcess, painter: str
) -> None:
    async with working(server) as first:
        pid = await paint(first, painter)
        async with at_terminal(server.address, "-S", "work", size=SMALL) as second:
            await second.wait_for("painted 70x20")
            assert painted(second) == pid
            assert await left(first) == 0
            await first.wait_for("rshell: work was attached elsewhere")
            second.send("end" + ENTER)
            await second.wait_for(lambda: second.is_at_prompt)


async def test_at_the_prompt_too(server: ServerProcess) -> None:
    async with working(server) as first:
        await first.run("x=kept")
        async with back(server) as second:
            assert await left(first) == 0
            await first.wait_for("rshell: work was attached elsewhere")
            await second.prompt()
            assert await second.run("echo $x") == ["kept"]


async def test_a_watcher_sees_and_does_not_touch(server: ServerProcess) -> None:
    async with working(server) as person:
        await person.run("x=1")
        async with at_terminal(server.address, "-S", "work", "--share") as watcher:
            await watcher.see("rshell: watching work")
            wait_until(lambda: sessions(server)["work"]["watchers"] == 1, "the watcher")
            assert await person.run("echo se''en") == ["seen"]
            await watcher.wait_for("seen")
            assert "$ echo se''en" in watcher.display
            watcher.send("typed" + ENTER + "~d")
            await watcher.read_up()
            assert await person.run("echo on") == ["on"]
            await watcher.wait_for("on")
            person.resize(LARGE)
            await person.run(":")  # the size is told with the next command
            await watcher.wait_for("rshell: work is 120 by 40, larger than this window")
            watcher.send(CTRL["C"])
            assert await left(watcher) == 0
        async with at_terminal(server.address, "--share", "-Swork", size=LARGE) as watcher:
            await watcher.see("rshell: watching work")
            person.send(CTRL["D"])
            assert await left(person) == 0
            assert await left(watcher) == 0
            await watcher.wait_for("rshell: work has ended")


async def test_a_watcher_sees_the_program_that_runs(server: ServerProcess, painter: str) -> None:
    async with working(server) as person:
        await paint(person, painter)
        async with at_terminal(server.address, "-S", "work", "--share") as watcher:
            await watcher.see("$ ")
            person.resize(SMALL)
            await watcher.wait_for("painted 70x20")
            assert watcher.has_mode(1000)
            assert run("--kill-session", "work", server.address).returncode == 0
            assert await left(watcher) == 0
            await watcher.wait_for("rshell: work has ended")
        assert await left(person) == 255
        assert "rshell: somebody ended this session" in person.display


async def test_listing_and_ending(server: ServerProcess, painter: str) -> None:
    assert run("--sessions", server.address).stdout.split() == [
        *(b"NAME", b"IDENTITY", b"AGE", b"STATE", b"SIZE", b"RUNNING")
    ]
    async with working(server) as person:
        pid = await paint(person, painter)
        shown = sessions(server)["work"]
        assert (shown["attached"], shown["watchers"], shown["running"]) == (True, 0, painter)
        assert (shown["columns"], shown["rows"]) == (100, 30)
        table = run(server.address, "--sessions").stdout.decode().splitlines()
        assert len(table) == 2 and table[1].split()[0] == "work"
        assert "attached" in table[1] and "100x30" in table[1]
        await detach(person, server)
    assert not sessions(server)["work"]["attached"]
    assert b"detached" in run(server.address, "--sessions").stdout
    done = run("--kill-session", "work", server.address)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert not is_alive(pid)
    assert sessions(server) == {}


@needs_openssl
async def test_another_identity_neither_sees_nor_takes_it(tmp_path: Path) -> None:
    there = elsewhere(tmp_path / "there")
    with serving("--port", "0") as server:
        added = run("add", "laptop", "--address", server.address, command="token")
        assert run("--login", input=added.stdout, env=there).returncode == 0
        async with working(server) as person:
            await person.run("x=mine")
            assert sessions(server, there) == {}
            done = run("--kill-session", "work", server.address, env=there)
            assert done.returncode == 255
            assert "there is no session 'work' of yours here" in only_line(done.stderr)
            async with at_terminal(server.address, "-Swork", "--share", env=there) as other:
                assert await left(other) == 255
                await other.see("there is no session 'work' of yours here")
            async with working(server, env=there) as other:  # one of their own
                assert await other.run('echo "<$x>"') == ["<>"]
                assert list(sessions(server)) == list(sessions(server, there)) == ["work"]
            assert await person.run("echo $x") == ["mine"]


@needs_openssl
async def test_a_cut_is_a_pause_for_who_is_attached_and_who_watches() -> None:
    with serving("--port", "0") as server:
        async with (
            Cutter(server.port) as cutter,
            at_prompt(cutter.address, "-S", "work") as person,
            at_terminal(cutter.address, "-S", "work", "--share") as watcher,
        ):
            await watcher.see("rshell: watching work")
            person.send("cat" + ENTER)
            await watcher.wait_for("$ cat")
            await cutter.cut()
            await watcher.wait_for("rshell: the link is back")
            person.send("hello" + ENTER)
            for screen in (person, watcher):
                await screen.wait_for(lambda screen=screen: screen.display.count("hello") == 2)


@needs_openssl
async def test_who_came_back_too_late_is_told_and_may_attach_again() -> None:
    with serving("--port", "0") as server:
        async with Cutter(server.port) as cutter:
            async with at_prompt(cutter.address, "-S", "work", size=WIDE) as person:
                await person.run("x=kept")
                await cutter.refuse()
                await cutter.cut()
                # Its own machine refusing, a client gives up; the server has kept its session
                # for the moment of its lingering only, and the named one for good.
                assert await left(person) == 255
                await person.see("If the server still runs, so does work")
                cutter.let_through()
            wait_until(lambda: not sessions(server)["work"]["attached"], "the end of lingering")
            async with back(server) as person:
                await person.prompt()
                assert await person.run("echo $x") == ["kept"]


def test_what_is_not_there_is_one_line(server: ServerProcess) -> None:
    done = run("--kill-session", "work", server.address)
    assert (done.returncode, done.stdout) == (255, b"")
    assert "there is no session 'work' of yours here" in only_line(done.stderr)


async def test_a_server_that_was_started_anew_is_told_with_what_it_means(tmp_path: Path) -> None:
    path = os.environ["XDG_RUNTIME_DIR"] + "/socket"
    with serving("--unix", path) as first:
        async with at_prompt(first.address, "-S", "work", size=WIDE) as person:
            first.popen.kill()
            first.popen.wait()
            with serving("--unix", path, log=tmp_path / "second.log"):
                assert await left(person) == 255
                await person.see("If it was started anew, work ended with it")
                await person.see(f"rshell {first.address} -S work")
