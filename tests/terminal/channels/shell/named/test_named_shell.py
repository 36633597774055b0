"""A named shell: who is attached, who watches, and what each of them gets to see."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import rshell
from rshell import ChannelReset
from rshell.aio import timeout
from rshell.server.server import Server
from rshell.values import Bounds, ExitStatus, TerminalSize
from tests.support.audit import audited, unpaired
from tests.support.commands import until
from tests.support.cutting import Cutter
from tests.support.guests import (
    BRIEF,
    MORTAL,
    SIZE,
    Guest,
    attach,
    die,
    guest,
    inn,
    until_listed,
    until_none,
    watch,
)
from tests.support.processes import gone, is_running
from tests.support.session import DEADLINE

# Says its size at the start and whenever it is told of a new one, as an editor draws.
EDITOR = """
import os, signal, sys
def draw(*_):
    print("size", *os.get_terminal_size(), flush=True)
signal.signal(signal.SIGINT, signal.SIG_DFL)
signal.signal(signal.SIGWINCH, draw)
draw()
for line in sys.stdin:
    print("got", line, end="", flush=True)
"""


async def hold(condition: Callable[[], object]) -> None:
    """Wait until a condition holds that no event tells of."""
    await asyncio.to_thread(until, condition, "what was waited for")


async def settled(server: Server) -> None:
    """Wait until the server knows that all it sent has arrived."""
    await hold(lambda: all(kept.live.is_settled for kept in server._sessions))


async def test_a_named_shell_is_made_and_goes_on_without_its_client() -> None:
    async with inn() as server, guest(server) as client:
        first = await attach(client)
        assert not first.joined.attached
        assert (first.joined.number, first.joined.running, first.joined.size) == (0, "", SIZE)
        assert (first.joined.kept, first.joined.dropped, first.joined.last) == (0, 0, None)
        done = await first.run("cd /; x=5; echo one")
        assert (done.status, done.stdout) == (ExitStatus(0), 5)
        assert await first.see(b"one\r\n")
        first.channel.close()
        await until_listed(client, attached=False)
        second = await attach(client)
        assert second.joined.attached and second.channel.reply["cwd"] == "/"
        assert (second.joined.number, second.joined.kept, second.joined.last) == (1, 0, None)
        assert (await second.run("echo $x")).number == 2
        assert await second.see(b"5\r\n") == b"5\r\n"


async def test_what_happens_while_nobody_is_attached_is_told_to_the_next(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    async with inn() as server, guest(server) as client:
        first = await attach(client)
        await first.run(":")
        first.begin(f"read -r x < '{fifo}'; echo \"got $x\"; (exit 3)")
        shell = await until_listed(
            client, running=f"read -r x < '{fifo}'; echo \"got $x\"; (exit 3)"
        )
        assert shell["attached"]
        first.channel.close()
        await until_listed(client, attached=False)
        await asyncio.to_thread(fifo.write_text, "it\n")
        await until_listed(client, running=None)
        second = await attach(client)
        last = second.joined.last
        assert last is not None and second.joined.running is None
        assert (last.number, last.status, last.stdout) == (2, ExitStatus(3), 0)
        assert (second.joined.number, second.joined.kept) == (2, len(b"got it\r\n"))
        assert await second.see(b"it\r\n") == b"got it\r\n"
        done = await second.run("echo on")
        assert (done.number, done.stdout) == (3, len(b"got it\r\non\r\n"))
        second.channel.close()
        await until_listed(client, attached=False)
        assert (await attach(client)).joined.last is None  # told once


async def test_a_second_client_takes_the_place_of_the_first() -> None:
    async with inn() as server, guest(server) as one, guest(server) as two:
        first = await attach(one)
        first.begin('echo begun; read -r x; echo "got $x"')
        await first.see(b"begun\r\n")
        await settled(server)
        second = await attach(two)
        await first.message("moved")
        await first.channel.wait_closed()
        assert first.channel.error is None
        assert second.joined.running == 'echo begun; read -r x; echo "got $x"'
        assert (second.joined.number, second.joined.kept) == (1, 0)
        await second.channel.write(b"yes\r")
        assert await second.see(b"got yes\r\n") == b"yes\r\ngot yes\r\n"
        done = await second.done()
        assert (done.number, done.stdout, done.taken) == (1, len(b"yes\r\ngot yes\r\n"), 4)
        names = [
            line["event"] for line in audited("shell-started", "shell-attached", "shell-moved")
        ]
        assert names == ["shell-started", "shell-attached", "shell-moved", "shell-attached"]
        commands = audited("command", "ended")
        assert [line["session"] for line in commands] == [
            line["session"] for line in audited("shell-attached")
        ]


async def test_a_command_that_runs_when_its_shell_is_ended_has_its_end_in_the_log() -> None:
    async with inn() as server, guest(server) as one, guest(server) as two:
        first = await attach(one)
        first.begin("echo begun; sleep 100")
        await first.see(b"begun\r\n")
        await two.end_named_shell("work")
    assert not unpaired()
    [ended] = audited("ended")
    assert (ended["number"], ended["cut_short"], ended["signal"]) == (1, True, "SIGHUP")


async def test_a_command_that_no_shell_can_be_told_does_not_wedge_the_named_shell() -> None:
    async with inn() as server, guest(server) as one, guest(server) as two:
        first = await attach(one)
        first.begin("echo \ud800")  # half a character, of which no bytes can be made
        await first.channel.wait_closed()
        assert isinstance(first.channel.error, ChannelReset)
        second = await attach(two)
        assert second.joined.running is None
        assert (await second.run("exit 3")).status.code == 3


async def test_what_a_client_that_died_may_not_have_seen_is_sent_again() -> None:
    async with inn() as server, guest(server, MORTAL) as one, guest(server) as two:
        first = await attach(one)
        await first.run("echo one; (exit 4)")
        await first.see(b"one\r\n")
        die(one)
        await until_listed(two, attached=False)
        second = await attach(two)
        assert (second.joined.kept, second.joined.dropped) == (5, 0)
        assert second.joined.last is not None and second.joined.last.status == ExitStatus(4)
        assert await second.see(b"one\r\n") == b"one\r\n"


async def test_what_a_client_that_died_had_surely_read_is_not_sent_again() -> None:
    size = 3_000_000
    async with inn() as server, guest(server, MORTAL) as one, guest(server) as two:
        first = await attach(one)
        first.begin(f"seq 1000000 | head -c {size} | tr '\\n' .; sleep 1000")
        whole = await first.output.readexactly(size)
        die(one)
        await until_listed(two, attached=False)
        second = await attach(two)
        assert 0 <= second.joined.kept < 1_000_000 and second.joined.dropped == 0
        assert (
            await second.output.readexactly(second.joined.kept)
            == whole[size - second.joined.kept :]
        )


async def test_what_does_not_fit_is_dropped_and_counted() -> None:
    size = 100_000
    limits = replace(BRIEF, named_output=10_000)
    async with inn(limits) as server, guest(server, MORTAL) as one, guest(server) as two:
        first = await attach(one)
        first.begin(f"seq 1000000 | head -c {size} | tr '\\n' .")
        die(one)
        await until_listed(two, attached=False, running=None)
        second = await attach(two)
        assert (second.joined.kept, second.joined.dropped) == (10_000, size - 10_000)
        whole = b"".join(b"%d." % number for number in range(1, 30_000))[:size]
        assert await second.output.readexactly(10_000) == whole[-10_000:]
        assert (await second.run(":")).stdout == 10_000


async def test_who_detaches_gets_later_what_was_not_sent() -> None:
    """And nothing twice: it was the client's own wish."""
    size = 200_000
    narrow = Bounds(window=64 * 1024)
    async with inn() as server, guest(server, narrow) as client:
        first = await attach(client)
        first.begin(f"seq 1000000 | head -c {size} | tr '\\n' .")
        await hold(lambda: first.output.size == 64 * 1024)
        before = first.output.take()
        first.channel.reset("cancelled", "enough")
        await until_listed(client, attached=False, running=None)
        second = await attach(client)
        assert second.joined.kept == size - len(before)
        after = await second.output.readexactly(size - len(before))
        assert before + after == b"".join(b"%d." % number for number in range(1, 50_000))[:size]


async def test_an_attached_client_that_does_not_read_holds_the_command_up() -> None:
    size = 5_000_000
    async with inn() as server, guest(server) as client:
        first = await attach(client)
        first.begin(f"head -c {size} /dev/zero | tr '\\0' x")
        await hold(lambda: first.output.size == 1024 * 1024)
        assert len(await first.output.readexactly(size)) == size
        assert (await first.done()).stdout == size


async def test_a_program_is_told_of_a_size_when_somebody_attaches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rshell.channels.shell.named.named_shell._NUDGE", 1.0)  # for a slow machine
    editor = tmp_path / "editor.py"
    editor.write_text(EDITOR)
    async with inn() as server, guest(server, MORTAL) as one, guest(server) as two:
        first = await attach(one)
        first.begin(f"{sys.executable} '{editor}'")
        await first.see(b"size 80 24\r\n")
        die(one)
        await until_listed(two, attached=False)
        second = await attach(two)  # of the same size
        assert second.joined.kept == len(b"size 80 24\r\n")
        drawn = await second.see(b"size 80 23\r\nsize 80 24\r\n")
        assert drawn == b"size 80 24\r\nsize 80 23\r\nsize 80 24\r\n"
        await second.channel.write(b"x\r")
        await second.see(b"got x\r\n")
        third = await attach(two, terminal=TerminalSize(100, 30))
        assert third.joined.size == TerminalSize(100, 30)
        await third.see(b"size 100 30\r\n")
        third.say("resize", columns=7, rows=5)
        await third.see(b"size 7 5\r\n")
        assert (await until_listed(two, columns=7))["rows"] == 5
        third.say("cancel")
        assert (await third.done()).status.shell_status == 130


async def test_modes_that_a_program_set_are_told_to_who_comes_later() -> None:
    async with inn() as server, guest(server) as one, guest(server) as two:
        first = await attach(one)
        assert first.joined.modes == ""
        first.begin("printf '\\033[?1049h\\033[?1000hup'; read x; printf '\\033[?25l'; read x")
        await first.see(b"up")
        assert (await watch(two)).joined.modes == "\x1b[?1049h\x1b[?1000h"
        await first.channel.write(b"\r")
        await first.see(b"\x1b[?25l")
        second = await attach(two)
        assert second.joined.modes == "\x1b[?1049h\x1b[?1000h\x1b[?25l"
        await second.channel.write(b"\r")
        await second.done()
        assert (await attach(one)).joined.modes == ""


async def test_a_server_that_stops_waits_until_who_is_attached_has_the_whole_reply() -> None:
    narrow = Bounds(window=64 * 1024, window_smallest=16 * 1024, window_largest=64 * 1024)
    patient = Bounds(drain_seconds=100.0, kill_grace=0.5)
    async with inn(patient) as server, guest(server) as one, guest(server, narrow) as two:
        first = await attach(one)
        first.begin("seq 1 60000")
        first.channel.close()
        await until_listed(two, attached=False, running=None)
        second = await attach(two)
        assert second.joined.kept > 300_000
        second.begin("(exit 7)")
        await hold(lambda: server.commands == 1)  # as long as its reply is not with the client
        draining = asyncio.create_task(server.drain())
        assert len(await second.output.readexactly(second.joined.kept)) == second.joined.kept
        await second.message("notice")
        assert (await second.done()).status == ExitStatus(7)
        await draining


async def test_numbers_go_on_across_channels() -> None:
    async with inn() as server, guest(server) as client:
        first = await attach(client)
        await first.run(":")
        second = await attach(client)
        second.say("run", number=1, command="echo again")
        await second.channel.wait_closed()
        assert isinstance(second.channel.error, ChannelReset)
        assert second.channel.error.code == "bad-message"
        third = await attach(client)
        third.begin("sleep 100")
        third.begin("echo both")
        await third.channel.wait_closed()
        assert isinstance(third.channel.error, ChannelReset)
        await until_listed(client, attached=False, running="sleep 100")


# Watching.


async def test_a_watcher_sees_what_happens_from_then_on() -> None:
    async with inn() as server, guest(server) as one, guest(server) as two:
        first = await attach(one)
        await first.run("echo before")
        second = await watch(two)
        assert second.joined.attached and second.joined.kept == 0
        assert (await until_listed(two, watchers=1))["attached"]
        done = await first.run("cd /; echo seen")
        started = await second.message("command")
        assert (started["number"], started["command"]) == (2, "cd /; echo seen")
        assert await second.see(b"seen\r\n") == b"seen\r\n"
        assert await second.done() == done.replace(stdout=6, taken=0)
        first.say("resize", columns=90, rows=20)
        assert await second.message("resized") == {"type": "resized", "columns": 90, "rows": 20}
        second.channel.close()
        await until_listed(two, watchers=0)


async def test_a_watcher_has_no_say() -> None:
    async with inn() as server, guest(server) as one, guest(server) as two:
        first = await attach(one)
        second = await watch(two)
        assert (await until_listed(one, watchers=1))["attached"]
        first.begin('read -r x; echo "got $x"')
        await second.message("command")
        for _ in range(40):
            await second.channel.write(b"theirs\r" * 10_000)  # more than any window
        await first.channel.write(b"mine\r")
        assert (await first.done()).stdout == len(b"mine\r\ngot mine\r\n")
        second.begin("echo theirs")
        await second.channel.wait_closed()
        assert isinstance(second.channel.error, ChannelReset)
        assert second.channel.error.code == "bad-message"
        await until_listed(one, watchers=0, attached=True)


async def test_a_watcher_that_does_not_read_misses_something_and_is_told() -> None:
    size = 3_000_000
    narrow = Bounds(window=64 * 1024)
    async with inn() as server, guest(server) as one, guest(server, narrow) as two:
        first = await attach(one)
        second = await watch(two)
        first.begin(f"seq 1000000 | head -c {size} | tr '\\n' .")
        assert len(await first.output.readexactly(size)) == size
        assert (await first.done()).stdout == size
        skipped, done, got = 0, None, 0
        await second.message("command")
        reading = asyncio.ensure_future(count(second))
        while done is None:
            message = await second.channel.receive_message()
            assert message is not None
            if message["type"] == "skipped":
                skipped += message["bytes"]
            else:
                done = message
        second.channel.close()
        got = await reading
        assert skipped > 0
        assert done["stdout"] == got == size - skipped


async def count(guest: Guest) -> int:
    return sum([len(block) async for block in guest.output])


# The end.


async def test_a_shell_that_leaves_closes_its_channels() -> None:
    async with inn() as server, guest(server) as one, guest(server) as two:
        first = await attach(one)
        second = await watch(two)
        done = await first.run("echo bye; exit 3")
        assert done.left and done.status == ExitStatus(3)
        await first.channel.wait_closed()
        assert (await first.output.read()).startswith(b"bye\r\n")
        await second.message("command")
        assert (await second.done()).left
        await second.channel.wait_closed()
        assert (first.channel.error, second.channel.error) == (None, None)
        await until_none(one)
        assert not (await attach(one)).joined.attached


@pytest.mark.parametrize("program", ["bash", "dash"])
async def test_who_attaches_late_gets_all_of_a_shell_that_leaves(
    program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"no {program} here")
    monkeypatch.setenv("SHELL", path)
    size = 200_000
    narrow = Bounds(window=64 * 1024)
    async with inn() as server, guest(server, MORTAL) as one, guest(server, narrow) as two:
        first = await attach(one)
        first.begin(f"head -c {size} /dev/zero | tr '\\0' x")
        die(one)
        await until_listed(two, attached=False, running=None)
        second = await attach(two)
        assert second.joined.kept == size
        second.begin("exit 3")
        await hold(lambda: second.output.size == 64 * 1024)
        whole = await second.output.read()
        done = await second.done()
        assert whole.startswith(b"x" * size) and done.stdout == len(whole)
        assert done.left and done.status == ExitStatus(3)
        assert second.channel.error is None


async def test_a_shell_that_leaves_while_nobody_is_attached() -> None:
    async with inn() as server, guest(server) as client:
        first = await attach(client)
        pid = int((await shown(first, "echo $$")).split()[0])
        first.begin("sleep 0.05; exit")
        await until_listed(client, running="sleep 0.05; exit")
        first.channel.close()
        await until_none(client)
        await gone(pid)
        assert audited("shell-ended")[0]["reason"] == "its shell left"


async def shown(guest: Guest, command: str) -> str:
    """Run a command and return what it printed."""
    done = await guest.run(command)
    return (await guest.output.readexactly(done.stdout)).decode()


async def test_a_shell_that_dies_is_replaced_and_its_name_goes_on() -> None:
    async with inn() as server, guest(server) as client:
        first = await attach(client)
        done = await first.run("kill -9 $$")
        assert done.restarted and not done.left
        assert await shown(first, "echo on") == "on\r\n"


async def test_nobody_attached_for_too_long_ends_it() -> None:
    limits = replace(BRIEF, named_seconds=0.2)
    async with inn(limits) as server, guest(server) as client:
        first = await attach(client)
        second = await watch(client)
        pid = int(await shown(first, "sleep 0.4; echo $$"))
        await until_listed(client, attached=True)
        first.channel.close()
        await gone(pid)
        await second.message("command")
        await second.done()
        await second.channel.wait_closed()
        assert isinstance(second.channel.error, ChannelReset)
        assert second.channel.error.code == "killed"
        await until_none(client)


async def test_the_end_of_the_server_is_the_end_of_its_named_shells() -> None:
    async with inn() as server, guest(server) as client:
        first = await attach(client)
        pid = int(await shown(first, "echo $$"))
        (await attach(client, "other")).channel.close()
        await server.close()
        assert not is_running(pid)


async def test_a_client_that_is_cut_off_is_not_waited_for() -> None:
    """Its session still is kept; what it was sent last is sent to who takes its place."""
    async with (
        timeout(DEADLINE),
        rshell.serve("127.0.0.1", 0, limits=BRIEF) as server,
        Cutter(server.addresses[0].port) as cutter,
        rshell.connect(cutter.address, token=server.token_line) as one,
        rshell.connect(server.addresses[0]) as two,
    ):
        first = await attach(one)
        await first.run("echo one")
        await settled(server)
        cutter.refuse()
        await cutter.cut()
        await hold(lambda: audited("detach"))
        second = await attach(two)
        assert second.joined.kept == 5
        cutter.let_through()
        await first.message("moved")
        await first.channel.wait_closed()
        await second.see(b"one\r\n")
