"""Named shells that others take over, watch, list, end, or can not even see; and cuts."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.support.commands import ServerProcess, elsewhere, only_line, run, serving
from tests.support.commands import until as wait_until
from tests.support.cutting import Cutter
from tests.support.execution import is_alive
from tests.support.named import (
    LARGE,
    SMALL,
    WIDE,
    back,
    detach,
    left,
    paint,
    painted,
    shells,
    until_left,
    working,
)
from tests.support.terminal import CTRL, ENTER, at_prompt, at_terminal

HASTY = {"resume_window": 0.3}
needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")


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
            wait_until(lambda: shells(server)["work"]["watchers"] == 1, "the watcher")
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
            await watcher.wait_for("painted 100x30")  # it is drawn again for who watches
            person.resize(SMALL)
            await watcher.wait_for("painted 70x20")
            assert watcher.has_mode(1000)
            assert run("--kill-shell", "work", server.address).returncode == 0
            assert await left(watcher) == 0
            await watcher.wait_for("rshell: work has ended")
        assert await left(person) == 255
        assert "rshell: somebody ended this shell" in person.display


async def test_listing_and_ending(server: ServerProcess, painter: str) -> None:
    assert run("--shells", server.address).stdout.split() == [
        *(b"NAME", b"IDENTITY", b"AGE", b"STATE", b"SIZE", b"RUNNING")
    ]
    async with working(server) as person:
        pid = await paint(person, painter)
        shown = shells(server)["work"]
        assert (shown["attached"], shown["watchers"], shown["running"]) == (True, 0, painter)
        assert (shown["columns"], shown["rows"]) == (100, 30)
        table = run(server.address, "--shells").stdout.decode().splitlines()
        assert len(table) == 2 and table[1].split()[0] == "work"
        assert "attached" in table[1] and "100x30" in table[1]
        await detach(person, server)
    until_left(server)
    assert b"detached" in run(server.address, "--shells").stdout
    done = run("--kill-shell", "work", server.address)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert not is_alive(pid)
    assert shells(server) == {}


@needs_openssl
async def test_another_identity_neither_sees_nor_takes_it(tmp_path: Path) -> None:
    there = elsewhere(tmp_path / "there")
    with serving("--port", "0") as server:
        added = run("add", "laptop", "--address", server.address, command="token")
        assert run("--login", input=added.stdout, env=there).returncode == 0
        async with working(server) as person:
            await person.run("x=mine")
            assert shells(server, there) == {}
            done = run("--kill-shell", "work", server.address, env=there)
            assert done.returncode == 255
            assert "there is no named shell 'work' of yours here" in only_line(done.stderr)
            async with at_terminal(server.address, "-Swork", "--share", env=there) as other:
                assert await left(other) == 255
                await other.see("there is no named shell 'work' of yours here")
            async with working(server, env=there) as other:  # one of their own
                assert await other.run('echo "<$x>"') == ["<>"]
                assert list(shells(server)) == list(shells(server, there)) == ["work"]
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
            await person.wait_for(lambda: person.display.count("hello") == 2)
            await watcher.wait_for(lambda: watcher.display.count("hello") == 2)


@needs_openssl
async def test_who_came_back_too_late_is_told_and_may_attach_again() -> None:
    with serving("--port", "0") as server:
        async with Cutter(server.port) as cutter:
            async with at_prompt(cutter.address, "-S", "work", size=WIDE, limits=HASTY) as person:
                await person.run("x=kept")
                cutter.refuse()
                await cutter.cut()
                # The server has kept its session for as long as it asked, and the named one for
                # good.
                assert await left(person) == 255
                await person.see("If the server still runs, so does work")
                cutter.let_through()
            until_left(server)
            async with back(server) as person:
                await person.prompt()
                assert await person.run("echo $x") == ["kept"]


def test_what_is_not_there_is_one_line(server: ServerProcess) -> None:
    done = run("--kill-shell", "work", server.address)
    assert (done.returncode, done.stdout) == (255, b"")
    assert "there is no named shell 'work' of yours here" in only_line(done.stderr)


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
