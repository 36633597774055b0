"""Starting commands: descriptors, environment, directories, terminals, and each way to fail.

And the queue: the fairness of starts, the bound on their number, and cancelled turns. And arguments
and texts near the limits of the system, and beyond them.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import rshell.execution.spawn as spawn_module
from rshell.aio import timeout
from rshell.errors import SpawnError
from rshell.execution.pipes import output_pipe
from rshell.execution.running_process import RunningProcess
from rshell.execution.spawn import Command, SpawnQueue, in_pieces, spawn
from rshell.values import ExitStatus, TerminalSize
from tests.support.execution import (
    DEADLINE,
    Output,
    command,
    finish,
    no_leak,
    on_terminal,
    piped,
    placed,
    script,
)


def refused(what: Command, *, terminal: bool = False) -> SpawnError:
    with no_leak(), pytest.raises(SpawnError) as caught:
        master, slave = os.openpty() if terminal else os.pipe()
        try:
            if terminal:
                spawn(what, {}, terminal=slave)
            else:
                spawn(what, dict.fromkeys((0, 1, 2), slave))
        finally:
            os.close(master)
            os.close(slave)
    return caught.value


async def test_output_directory_environment_and_status(tmp_path: Path) -> None:
    with no_leak():
        what = command(
            "/bin/sh", "-c", 'pwd; echo "$A"; exit 7', cwd=str(tmp_path), env={"A": "1 2"}
        )
        async with piped(what) as (process, source, output):
            assert await finish(process, source, output) == ExitStatus(code=7)
            assert output.text == f"{tmp_path}\n1 2\n".encode()
            assert source.bytes_read == len(output.text)
            assert not source.held_open


async def test_the_command_leads_its_own_session_and_group() -> None:
    async with piped(script("echo go; sleep 100")) as (process, _, output):
        await output.until(b"go")
        assert os.getsid(process.pid) == os.getpgid(process.pid) == process.pid


async def test_only_the_passed_descriptors_are_open_in_the_command() -> None:
    ours, theirs = output_pipe()
    extra, other = os.pipe()
    output = Output()
    source = output.source(ours)
    os.set_inheritable(other, True)
    null = os.open(os.devnull, os.O_RDWR)
    fds = {0: null, 1: theirs, 2: null, 9: extra}
    process = spawn(command("ls", "/proc/self/fd"), fds)
    for fd in (theirs, null):
        os.close(fd)
    await finish(process, source, output)
    names = set(output.text.split())
    # `ls` itself opens one for the listing.
    assert {b"0", b"1", b"2", b"9"} <= names
    assert len(names) == 5
    assert str(other).encode() not in names
    os.close(extra)
    os.close(other)


async def test_a_relative_program_is_found_from_the_commands_directory(tmp_path: Path) -> None:
    tool = tmp_path / "tool"
    tool.write_text("#!/bin/sh\necho found\n")
    tool.chmod(0o755)
    for what in (
        command("./tool", cwd=str(tmp_path)),
        command("tool", cwd=str(tmp_path), env={"PATH": ""}),
        command("tool", cwd="/", env={"PATH": f"/nowhere:{tmp_path}"}),
    ):
        async with piped(what) as (process, source, output):
            assert await finish(process, source, output) == ExitStatus(code=0)
            assert output.text == b"found\n"


async def test_each_failure_has_the_status_a_shell_would_give(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("echo no\n")
    broken = tmp_path / "broken"
    broken.write_text("#!/no/such/interpreter\n")
    broken.chmod(0o755)
    expected = [
        (command("no-such-program-anywhere"), 127),
        (command("/no/such/program"), 127),
        (command(""), 127),
        (Command((), None, {}), 127),
        (command(str(plain)), 126),
        (command(str(tmp_path)), 126),
        (command(f"{plain}/x"), 127),
        (command("nul\0byte"), 126),
        (command("true", "nul\0byte"), 126),
        (command("true", "lone \ud800 surrogate"), 126),
        (command("true", env={"A=B": "1", "PATH": os.environ["PATH"]}), 126),
        (command("true", cwd="/no/such/directory"), 125),
        (command("true", cwd=str(plain)), 125),
        (command("true", "x" * 10_000_000), 126),
    ]
    for what, status in [*expected, (command(str(broken)), 126)]:
        error = refused(what)
        assert error.status == status, f"{what.argv[:1]}: {error}"
    for what, status in expected:
        error = refused(what, terminal=True)
        assert error.status == status, f"on a terminal: {what.argv[:1]}: {error}"


async def test_a_missing_interpreter_or_loader_is_named_and_nothing_is_guessed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "tool"
    loader = Path(sys.executable).read_bytes().replace(b"/lib", b"/bil", 1)
    rows = [
        (b"#! /no/such/interpreter -x\n", "line is missing: /no/such/interpreter"),
        (b"#!\xff/none\n", "line is missing: \udcff/none"),
        (loader, "the loader that this program asks for is missing here"),
    ]
    for content, expected in rows:
        tool.write_bytes(content)
        tool.chmod(0o755)
        error = refused(command(str(tool)))
        assert error.status == 126 and str(error).endswith(expected), content[:20]
    # What goes away between our look and the start is not an interpreter.
    monkeypatch.setattr(spawn_module, "_find_program", lambda _: str(tmp_path / "gone"))
    assert str(refused(command("gone"))).endswith(f"{tmp_path / 'gone'}: No such file or directory")
    monkeypatch.setattr(spawn_module, "_find_program", lambda _: "/bin/true")
    error = refused(command("true", cwd=str(tmp_path / "gone")))
    assert (error.status, str(error)) == (
        125,
        f"can't enter {tmp_path / 'gone'}: No such file or directory",
    )


async def test_our_own_directory_may_be_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server is often started in a directory that does not stay."""
    (tmp_path / "start").mkdir()
    tool = tmp_path / "tool"
    tool.write_text("#!/bin/sh\necho found\n")
    tool.chmod(0o755)
    monkeypatch.chdir(tmp_path / "start")
    (tmp_path / "start").rmdir()
    for what in (
        command("echo", "found", cwd=None),
        command("/bin/echo", "found", cwd="/"),
        command("./tool", cwd=str(tmp_path)),
        command("tool", cwd=str(tmp_path), env={"PATH": "."}),
    ):
        async with piped(what) as (process, source, output):
            assert await finish(process, source, output) == ExitStatus(code=0)
            assert output.text == b"found\n"
        async with on_terminal(what) as (process, source, output, _):
            assert await finish(process, source, output) == ExitStatus(code=0)
    error = refused(command("./tool", cwd="relative"))
    assert (error.status, str(error)) == (125, "can't enter relative: No such file or directory")
    assert refused(command("./tool", cwd=None)).status == 127


async def test_a_script_without_an_interpreter_line_says_so(tmp_path: Path) -> None:
    tool = tmp_path / "tool"
    tool.write_text("echo no\n")
    tool.chmod(0o755)
    error = refused(command(str(tool)))
    assert error.status == 126
    assert "#!" in str(error)


async def test_the_slave_becomes_the_controlling_terminal() -> None:
    with no_leak():
        what = script("tty; stty size; echo via-dev-tty >/dev/tty; exit 3")
        size = TerminalSize(columns=101, rows=37)
        async with on_terminal(what, size) as (process, source, output, _):
            assert await finish(process, source, output) == ExitStatus(code=3)
            lines = output.text.decode().split()
            assert lines[0].startswith("/dev/")
            assert lines[1:] == ["37", "101", "via-dev-tty"]


async def test_control_c_on_the_terminal_is_sigint() -> None:
    async with on_terminal(script("echo go; exec sleep 100")) as (process, source, output, master):
        await output.until(b"go")
        os.write(master, b"\x03")
        assert await finish(process, source, output) == ExitStatus(
            signal="SIGINT", signal_number=signal.SIGINT
        )


async def test_signals_ignored_here_are_not_ignored_in_commands() -> None:
    """nohup, and & in a script, start a program so: no Ctrl-C would ever reach its commands."""
    numbers = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        for context in (piped, on_terminal):
            async with context(command("grep", "SigIgn", "/proc/self/status")) as running:
                process, source, output = running[:3]
                await finish(process, source, output)
                ignored = int(output.text.split()[-1], 16)
                assert not [number for number in numbers if ignored >> (number - 1) & 1]
        for number in numbers:
            assert signal.getsignal(number) is signal.SIG_IGN, number  # here it still is
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


async def test_a_terminal_keeps_variables_that_sh_would_drop() -> None:
    env = {"PATH": os.environ["PATH"], "a.b": "1", "BASH_FUNC_f%%": "() { echo x\n}", "C": "é"}
    async with on_terminal(command("env", env=env)) as (process, source, output, _):
        assert await finish(process, source, output) == ExitStatus(code=0)
        lines = output.text.decode().splitlines()
        assert {"a.b=1", "BASH_FUNC_f%%=() { echo x", "C=é"} <= set(lines)


async def test_a_hangup_of_the_master_ends_the_program_on_the_terminal() -> None:
    async with on_terminal(script("echo go; exec sleep 100")) as (process, source, output, master):
        await output.until(b"go")
        source.close()
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, master)  # the last descriptor of the master is gone
        os.close(null)
        async with timeout(DEADLINE):
            assert (await process.wait()).signal == "SIGHUP"


async def test_the_program_sees_its_own_name_and_arguments() -> None:
    for context in (piped, on_terminal):
        what = command("printf", "%s|", "a b", "-c", "", "$HOME", "é")
        async with context(what) as running:
            process, source, output = running[:3]
            await finish(process, source, output)
            assert output.text == "a b|-c||$HOME|é|".encode()


# Descriptors under other numbers than ours.


@contextmanager
def labelled(count: int) -> Iterator[list[int]]:
    """Pipes to read, each holding its own letter and then its end."""
    readers = []
    for letter in "abcdefgh"[:count]:
        reading, writing = os.pipe()
        os.write(writing, letter.encode())
        os.close(writing)
        readers.append(reading)
    try:
        yield readers
    finally:
        for fd in readers:
            os.close(fd)


async def test_each_descriptor_is_found_under_its_number_and_the_old_ones_are_closed() -> None:
    with no_leak(), labelled(4) as fds:
        places = {6 + place: fd for place, fd in enumerate(fds)}
        what = script("ls /proc/self/fd; cat <&6 <&7; cat <&6; cat <&8; cat <&9")
        *numbers, letters = (await placed(what, places))[0].split()
        assert letters == b"bacd"
        assert set(map(int, numbers)) == {0, 1, 2, 3, 6, 7, 8, 9}  # 3 is the listed directory


async def test_numbers_that_are_each_others_targets_do_not_mix() -> None:
    """Each descriptor is to become the number that another one has."""
    text = "import os, sys\nprint(*(os.read(int(fd), 9).decode() for fd in sys.argv[1:]))"
    for order in itertools.permutations(range(3)):
        with labelled(3) as fds:
            places = {fds[index]: fds[order[index]] for index in range(3)}
            what = command(sys.executable, "-I", "-S", "-c", text, *map(str, fds))
            found = (await placed(what, places))[0].decode().split()
            assert found == ["abc"[index] for index in order], order


async def test_a_command_with_descriptors_in_place_is_as_any_other() -> None:
    with no_leak(), labelled(1) as fds:
        places = {6: fds[0]}
        odd = ["", "--", "6=1", "a b", os.fsdecode(b"\xff\n")]
        for name in ("printf", "/usr/bin/printf"):
            found, _ = await placed(command(name, "<%s>", *odd), places)
            assert found == b"<><--><6=1><a b><\xff\n>"
        # Signals have their defaults again.
        found, status = await placed(
            script("yes | head -n 1; kill -PIPE $$; echo not reached"), places
        )
        assert (found, status.signal) == (b"y\n", "SIGPIPE")
        assert await placed(script("exit 7"), places) == (b"", ExitStatus(code=7))
        with pytest.raises(SpawnError) as caught:
            await placed(command("/no/such/program"), places)
        assert caught.value.status == 127


async def test_nothing_of_the_users_python_is_loaded(tmp_path: Path) -> None:
    """PYTHONPATH and the directory hold modules that must not take the place of ours."""
    (tmp_path / "signal.py").write_text("raise SystemExit('hijacked')\n")
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    what = command("/bin/sh", "-c", "echo fine", cwd=str(tmp_path), env=env)
    with labelled(1) as fds:
        assert await placed(what, {6: fds[0]}) == (b"fine\n", ExitStatus(code=0))


async def test_a_terminal_may_stand_elsewhere_than_at_0() -> None:
    """As a shell has it that reads its lines from a pipe, and its commands from the terminal."""
    env = {**os.environ, "odd.name": "kept"}
    for what in (script("cat; tty <&6; tty >/dev/tty </dev/tty"), command("env", env=env)):
        with no_leak(), labelled(1) as fds:
            master, slave = os.openpty()
            name = os.ttyname(slave)
            os.set_blocking(master, False)
            output = Output()
            source = output.source(master)
            process = spawn(what, {0: fds[0], 6: slave}, terminal=slave)
            os.close(slave)
            await finish(process, source, output)
            lines = output.text.decode().splitlines()
            assert lines == [f"a{name}", "/dev/tty"] or "odd.name=kept" in lines


# The queue.


@pytest.fixture
def null() -> Iterator[int]:
    fd = os.open(os.devnull, os.O_RDWR)
    yield fd
    os.close(fd)


async def start(turns: SpawnQueue, null: int, *argv: str) -> RunningProcess:
    return await turns.spawn(command(*argv), dict.fromkeys((0, 1, 2), null))


async def test_a_pass_of_the_loop_starts_one_at_most(null: int) -> None:
    with no_leak():
        turns = SpawnQueue(1000)
        started: list[RunningProcess] = []

        async def one() -> None:
            started.append(await start(turns, null, "true"))

        tasks = [asyncio.ensure_future(one()) for _ in range(50)]
        before = 0
        async with timeout(DEADLINE):
            while len(started) < 50:
                await asyncio.sleep(0)
                assert len(started) - before <= 1
                before = len(started)
            await asyncio.gather(*tasks)
            for process in started:
                await process.wait()
        assert turns.count == 0


async def test_a_free_turn_is_taken_without_a_switch_of_tasks(null: int) -> None:
    turns = SpawnQueue(10)
    coroutine = start(turns, null, "true")
    with pytest.raises(StopIteration) as ended:
        coroutine.send(None)
    process: RunningProcess = ended.value.value
    async with timeout(DEADLINE):
        await process.wait()


async def test_more_than_the_limit_are_refused_at_once(null: int) -> None:
    with no_leak():
        turns = SpawnQueue(2)
        first = await start(turns, null, "sleep", "100")
        second = await start(turns, null, "sleep", "100")
        with pytest.raises(SpawnError) as refused:
            await start(turns, null, "true")
        assert refused.value.status == 126
        await first.end(1000)
        third = await start(turns, null, "true")
        await third.wait()
        await second.end(1000)
        assert turns.count == 0


async def test_a_failed_start_gives_its_place_back(null: int) -> None:
    turns = SpawnQueue(1)
    for _ in range(3):
        with pytest.raises(SpawnError) as refused:
            await start(turns, null, "no-such-program-anywhere")
        assert refused.value.status == 127
    assert turns.count == 0


async def test_a_cancelled_waiter_passes_its_turn_on(null: int) -> None:
    """Cancelled both while it waits and after it was given the turn."""
    with no_leak():
        turns = SpawnQueue(100)
        running: list[RunningProcess] = []
        for passes in range(6):
            tasks = [asyncio.ensure_future(start(turns, null, "true")) for _ in range(4)]
            for _ in range(passes):
                await asyncio.sleep(0)
            tasks[1].cancel()
            tasks[2].cancel()
            async with timeout(DEADLINE):
                results = await asyncio.gather(*tasks, return_exceptions=True)
            running += [result for result in results if isinstance(result, RunningProcess)]
            assert not isinstance(results[0], BaseException)
            assert not isinstance(results[3], BaseException)
        async with timeout(DEADLINE):
            for process in running:
                await process.wait()
        assert turns.count == 0


LONGEST = 32 * os.sysconf("SC_PAGE_SIZE") - 1
SHELLS = [name for name in ("sh", "bash", "dash", "zsh") if shutil.which(name)]


def padded(text: str, size: int) -> str:
    """Make a script so many bytes long, by what is not cut well everywhere."""
    room = size - len(text.encode()) - 2
    return f"{text}\n#" + "é" * (room // 2) + "x" * (room % 2)


async def test_a_text_of_any_length_is_run_by_each_shell_as_a_short_one() -> None:
    text = 'read -r line; echo $# "$0" "$1" $LINENO "$line"; exit 7'
    for shell in SHELLS:
        said = []
        for size in (100, LONGEST - 1, LONGEST, LONGEST + 1, 2 * LONGEST + 1):
            script = padded(text, size)
            assert len(script.encode()) == size
            async with piped(command(shell, "-c", script, "me", "a b", "c")) as running:
                assert await finish(*running) == ExitStatus(code=7), (shell, size)
                said.append(running[2].text)
        assert len(set(said)) == 1 and b"2 me a b" in said[0], shell
        # The name of a shell that was given none is its own.
        async with piped(command(shell, "-c", padded("echo $# $0", LONGEST + 9))) as running:
            await finish(*running)
            assert running[2].text == f"0 {shell}\n".encode()


async def test_a_long_text_is_run_on_a_terminal_too() -> None:
    script = padded("tty >/dev/null && echo é; exit 3", LONGEST + 9)
    async with on_terminal(command("bash", "-c", script)) as (process, source, output, _):
        assert await finish(process, source, output) == ExitStatus(code=3)
        assert output.text == "é\r\n".encode()


def test_pieces_hold_whole_characters_and_all_of_the_text() -> None:
    for size in range(LONGEST - 3, LONGEST + 4):
        text = "x" * (size % 4) + "é" * size
        found = in_pieces(("/bin/sh", "-c", text, "name", "argument"))
        pieces = [piece for piece in found[4:-1] if isinstance(piece, bytes)]
        assert b"".join(pieces).decode() == text
        assert all(len(piece) <= LONGEST and piece.decode() for piece in pieces)
        assert [found[0], found[1], found[3], found[-1]] == ["/bin/sh", "-c", "name", "argument"]
    binary = os.fsdecode(b"\x80" * (LONGEST + 9))  # no UTF-8, which is cut anywhere
    assert b"".join(map(os.fsencode, in_pieces(("sh", "-c", binary))[4:])) == os.fsencode(binary)
    for argv in (("true", "-c", text), ("sh", "-x", text), ("sh", "-c", "short"), ("sh", "-c")):
        assert in_pieces(argv) == list(argv)


async def test_what_is_too_large_is_named_with_its_limit(tmp_path: Path) -> None:
    env = dict(os.environ)
    stranger = tmp_path / "fish"
    stranger.symlink_to("/bin/true")
    long = "x" * (LONGEST + 1)
    for what, said in (
        (command("true", long), f"an argument of {len(long)} bytes"),
        (command(str(stranger), "-c", long), f"an argument of {len(long)} bytes"),
        (command("true", env=env | {"LONG": long}), f"the variable LONG of {len(long) + 5} bytes"),
        (command("true", *["x" * LONGEST] * 40), "arguments and environment of"),
    ):
        null = os.open(os.devnull, os.O_RDWR)
        try:
            with no_leak(), pytest.raises(SpawnError, match=said) as caught:
                spawn(what, dict.fromkeys((0, 1, 2), null))
        finally:
            os.close(null)
        assert caught.value.status == 126
