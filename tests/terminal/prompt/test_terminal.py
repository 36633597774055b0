"""`rshell -t` at a real terminal: it is the remote program's while it runs, and ours after."""

from __future__ import annotations

import shutil
import signal
import sys
import termios
from pathlib import Path

import pytest

from rshell.values import TerminalSize
from tests.support.commands import Terminal, argv, run, serving
from tests.support.execution import await_gone

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")

SIZE = TerminalSize(columns=101, rows=33)
STDIO = f"{sys.executable} -m rshell.cli.server --stdio"


def is_raw(modes: list[object]) -> bool:
    local = modes[3]
    assert isinstance(local, int)
    return not local & (termios.ICANON | termios.ECHO | termios.ISIG)


def test_the_remote_command_has_a_terminal_of_our_size_and_ours_is_restored() -> None:
    script = "tty >/dev/null && echo it is; stty size; echo $TERM; read x; echo got=$x; exit 6"
    with (
        serving("--port", "0") as server,
        Terminal(argv("rshell", "-t", "-c", script, server.address), SIZE) as terminal,
    ):
        before = terminal.modes
        terminal.expect(b"it is\r\n")
        terminal.expect(b"33 101\r\n")
        terminal.expect(b"xterm\r\n")
        assert is_raw(terminal.modes)
        terminal.type(b"keys\r")
        terminal.expect(b"got=keys\r\n")
        assert terminal.wait() == 6
        assert terminal.modes == before


def test_a_resized_window_reaches_the_remote_program() -> None:
    script = "trap 'stty size; exit 0' WINCH; echo up; while :; do sleep 0.1; done"
    with (
        serving("--port", "0") as server,
        Terminal(argv("rshell", "-t", "-c", script, server.address), SIZE) as terminal,
    ):
        terminal.expect(b"up\r\n")
        terminal.resize(TerminalSize(columns=77, rows=22))
        terminal.expect(b"22 77\r\n")
        assert terminal.wait() == 0


def test_ctrl_c_ctrl_d_and_ctrl_z_are_keys_of_the_remote_program() -> None:
    script = "trap 'echo INT' INT; echo up; while ! read x; do echo again; done; cat; exit 4"
    with (
        serving("--port", "0") as server,
        Terminal(argv("rshell", "-t", "-c", script, server.address), SIZE) as terminal,
    ):
        terminal.expect(b"up\r\n")
        terminal.type(b"\x03")
        terminal.expect(b"INT\r\n")
        terminal.type(b"line\r")
        terminal.type(b"\x04")
        assert terminal.wait() == 4


def test_without_a_command_it_is_the_remote_shell_and_keys_typed_ahead_reach_it() -> None:
    with Terminal(argv("rshell", "-t", "--via", STDIO), SIZE) as terminal:
        before = terminal.modes
        terminal.type(b"PS1='rea''dy> '\r")
        terminal.expect(b"ready> ")
        terminal.type(b"A=4; stty size\r")
        terminal.expect(b"33 101\r\n")
        terminal.type(b"exit $A\r")
        assert terminal.wait() == 4
        assert terminal.modes == before


def test_modes_are_restored_after_the_server_was_killed() -> None:
    with serving("--port", "0") as server:
        script = "echo up; sleep 100"
        with Terminal(
            argv("rshell", "-t", "-c", script, server.address, limits={"resume_window": 0.2}), SIZE
        ) as terminal:
            before = terminal.modes
            terminal.expect(b"up\r\n")
            assert is_raw(terminal.modes)
            server.popen.kill()
            assert terminal.wait() == 255
            assert terminal.modes == before
            assert b"rshell: " in terminal.seen


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_modes_are_restored_after_we_were_asked_to_end(number: int) -> None:
    with serving("--port", "0") as server:
        script = "echo $$ up; sleep 100"
        with Terminal(argv("rshell", "-t", "-c", script, server.address), SIZE) as terminal:
            before = terminal.modes
            terminal.expect(b" up\r\n")
            assert is_raw(terminal.modes)
            terminal.popen.send_signal(number)
            assert terminal.wait() == 128 + number
            assert terminal.modes == before


def test_a_client_killed_takes_its_remote_terminal_with_it(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    with serving("--port", "0") as server:
        script = f"echo $$ > {pid}; echo up; sleep 100"
        with Terminal(
            argv("rshell", "-t", "-c", script, server.address, limits={"witness_after": 0.0}), SIZE
        ) as terminal:
            terminal.expect(b"up\r\n")
            terminal.popen.kill()
            await_gone(int(pid.read_text()))


def test_t_without_a_terminal_runs_without_one() -> None:
    done = run("--local", "-t", "-c", "tty; exit 3", input=b"")
    assert (done.stdout, done.returncode) == (b"not a tty\n", 3)


def test_a_tilde_and_a_dot_typed_at_a_line_start_leave_at_once_and_pasted_ones_do_not() -> None:
    script = "echo up; while read line; do echo got=$line; done"
    with (
        serving("--port", "0") as server,
        Terminal(argv("rshell", "-t", "-c", script, server.address), SIZE) as terminal,
    ):
        before = terminal.modes
        terminal.expect(b"up\r\n")
        terminal.type(b"~.\r")  # with more in the same read, as a paste comes
        terminal.expect(b"got=~.\r\n")
        terminal.type(b"~?")
        terminal.expect(b"leave this session at once")
        terminal.type(b"~.")
        assert terminal.wait() == 255
        assert terminal.modes == before


def test_modes_that_a_command_left_on_are_turned_off() -> None:
    script = "printf '\\033[?1049h\\033[?1000h\\033[?25lon'"
    with (
        serving("--port", "0") as server,
        Terminal(argv("rshell", "-t", "-c", script, server.address), SIZE) as terminal,
    ):
        terminal.expect(b"\x1b[?25lon")
        terminal.expect(b"\x1b[?1049l")
        terminal.expect(b"\x1b[?1000l")
        terminal.expect(b"\x1b[?25h")
        assert terminal.wait() == 0
