"""The shell that stays, between two processes: nothing runs twice, and all is counted."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from rshell import ProcessTimeout, Shell
from rshell.channels.shell.client import ShellLine
from rshell.values import Bounds, TerminalSize
from tests.support.commands import until
from tests.support.processes import gone
from tests.support.session import tls_session

SIZE = TerminalSize(80, 24)

BRIEF = Bounds(kill_grace=0.5)


async def kill(shell: Shell) -> None:
    """Kill the idle shell; its server may or may not have noticed yet."""
    pid = int((await shell.run("echo $$")).stdout)
    os.kill(pid, signal.SIGKILL)
    await gone(pid)


async def test_a_command_that_comes_while_the_shell_is_started_anew_runs_once(
    program: str, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    async with tls_session(limits=BRIEF) as client, client.open_shell() as shell:
        for number in range(10):
            await kill(shell)
            for _ in range(number * 3):
                await asyncio.sleep(0)  # another moment of the start each time
            result = await shell.run(f"echo {number} >> '{log}'; echo {number}")
            # It was told before the death was noticed, and is not told again.
            assert result.stdout == (b"" if result.restarted else b"%d\n" % number)
        lines = log.read_text().split()
        assert lines == sorted(set(lines), key=int)


async def test_what_a_job_printed_before_the_shell_died_is_counted_and_not_lost(
    program: str, tmp_path: Path
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    async with tls_session(limits=BRIEF) as client, client.open_shell() as shell:
        job = f"(read -r x < '{fifo}'; echo \"job $x\"; kill -9 $$) &"
        assert (await shell.run(job)).stdout == b""
        pid = int((await shell.run("echo $$")).stdout)
        await asyncio.to_thread(fifo.write_bytes, b"done\n")
        await gone(pid)
        first = await shell.run("echo on")
        second = await shell.run("echo on")
        assert first.stdout.replace(b"on\n", b"") == b"job done\n"
        assert second.stdout == b"on\n"


async def test_on_a_terminal_it_is_counted_too(program: str, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    async with tls_session(limits=BRIEF) as client, client.open_shell(terminal=SIZE) as shell:
        await shell.run(f"(read -r x < '{fifo}'; echo \"job $x\"; kill -9 $$) &")
        pid = int((await shell.run("echo $$")).stdout.split()[-1])
        await asyncio.to_thread(fifo.write_bytes, b"done\n")
        await gone(pid)
        first = await shell.run("echo on")
        second = await shell.run("echo on")
        assert b"job done" in first.stdout
        assert second.stdout == b"on\r\n"


async def test_a_command_that_is_cancelled_before_the_new_shell_is_there_does_not_run(
    program: str, tmp_path: Path
) -> None:
    async with tls_session(limits=BRIEF) as client, client.open_shell() as shell:
        for number in range(8):
            await kill(shell)
            running = asyncio.ensure_future(shell.run("sleep 100"))
            for _ in range(2 + number * 3):
                await asyncio.sleep(0)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            assert (await shell.run("echo on")).stdout == b"on\n"


async def test_a_shell_that_is_closed_while_it_is_started_anew_is_not_waited_for() -> None:
    for passes in range(0, 30, 3):
        async with tls_session(limits=BRIEF) as client, client.open_shell() as shell:
            await kill(shell)
            for _ in range(passes):
                await asyncio.sleep(0)


async def test_a_shell_without_its_directory_starts_in_the_servers(
    program: str, tmp_path: Path
) -> None:
    directory = tmp_path / "directory"
    directory.mkdir()
    async with tls_session(limits=BRIEF) as client, client.open_shell(cwd=str(directory)) as shell:
        assert shell.cwd == str(directory)
        directory.rmdir()
        await kill(shell)
        await shell.run(":")
        assert (await shell.run("pwd")).stdout == os.fsencode(Path.home()) + b"\n"


@pytest.fixture
def bash(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have bash for the user's shell."""
    if not Path("/bin/bash").exists():
        pytest.skip("needs bash")
    monkeypatch.setenv("SHELL", "/bin/bash")


STUCK = (
    "_f() { trap '' INT; : > asked; until [ -e go ]; do sleep 0.05; done; trap - INT; }\n"
    "complete -F _f foo\n"
)


def terminate(line: ShellLine) -> None:
    line.signal("SIGTERM")


def press_ctrl_c(line: ShellLine) -> None:
    line.write_nowait(b"\x03")


@pytest.mark.parametrize("stop", [terminate, press_ctrl_c])
async def test_a_command_that_is_stopped_while_the_shell_is_taken_back_does_not_run(
    stop: Callable[[ShellLine], None], bash: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It must not pass before the shell has asked and is deaf.
    monkeypatch.setattr("rshell.channels.shell.native.hooks._ANSWER_SECONDS", 20.0)
    home = Path(os.environ["HOME"])
    (home / ".bash_profile").write_text(STUCK)
    async with tls_session() as client, client.open_line(SIZE, term="xterm") as line:
        await line.run(":")
        asking = asyncio.create_task(line.complete("foo a"))
        await asyncio.to_thread(until, (home / "asked").exists, "the question")
        asking.cancel()
        running = asyncio.create_task(line.run("echo > ran"))
        await asyncio.sleep(0)  # it is said before what stops it
        stop(line)
        await client.run("true")  # the server has heard both
        (home / "go").touch()
        assert (await running).status.signal == "SIGINT"
        assert not (home / "ran").exists()
        assert (await line.run("(exit 3)")).status.code == 3


async def test_the_time_limit_of_a_dead_shell_does_not_hit_the_next_one(bash: None) -> None:
    home = Path(os.environ["HOME"])
    (home / ".bash_profile").write_text("[ -e again ] && sleep 1.5\n: > again\nloaded=whole\n")
    async with tls_session() as client, client.open_line(SIZE, term="xterm") as line:
        done = await line.run("kill -9 $$", timeout=1.2)  # passes while the next one starts
        assert (done.status.signal, done.restarted) == ("SIGKILL", True)
        assert not done.timed_out
        assert (await line.run('[ "$loaded" = whole ]')).status.code == 0


async def test_a_shell_that_ends_at_a_failure_survives_a_completion(bash: None) -> None:
    async with tls_session() as client, client.open_line(SIZE, term="xterm") as line:
        await line.run("set -e; kept=yes")
        await line.complete("no-such-command arg")
        done = await line.run('[ "$kept" = yes ]')
        assert (done.status.code, done.restarted) == (0, False)


async def test_a_program_of_another_user_that_can_not_be_interrupted_costs_the_shell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As with sudo: the signal is refused, and the time limit was never kept."""
    real = os.killpg

    def killpg(group: int, number: int) -> None:
        if number == signal.SIGINT:
            raise PermissionError
        real(group, number)

    monkeypatch.setattr(os, "killpg", killpg)
    async with tls_session(limits=BRIEF) as client, client.open_shell(terminal=SIZE) as shell:
        with pytest.raises(ProcessTimeout):
            await shell.run("sleep 1000", timeout=0.5)
        assert b"on" in (await shell.run("echo on")).stdout


async def test_keys_that_no_frame_can_hold_come_back_whole(tmp_path: Path) -> None:
    keys = b"\x1bOA\xff" * 40_000
    async with tls_session() as client, client.open_line(SIZE, term="xterm") as line:
        held = f"cd '{tmp_path}'; stty raw -echo; : > up; until [ -e go ]; do sleep 0.05; done"
        running = asyncio.create_task(line.run(held))
        await asyncio.to_thread(until, (tmp_path / "up").exists, "the command")
        line.write_nowait(keys)
        (tmp_path / "go").touch()
        done = await running
        assert done.unread.encode(errors="surrogateescape") == keys
        assert (await line.run("stty sane; (exit 3)")).status.code == 3
