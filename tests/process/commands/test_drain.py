"""SIGTERM at a real server: commands may end by themselves, for a time, and nothing new begins.

Hazard: the limit must be long where a command is to end by itself; one test waits for a short one.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from rshell.values import Address, Bounds
from tests.support.commands import ServerProcess, argv, begin, read_line, serving
from tests.support.commands import until as wait_until
from tests.support.execution import await_gone, is_alive
from tests.support.terminal import ENTER, at_prompt, at_terminal

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")

PIPES: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
NOTICE = "rshell: the server is shutting down; this command is ended in {} s unless it ends before"
GOODBYE = "rshell: the server is shutting down"
BUSY = {"ack_seconds": 0.1}  # the server waits until its last words were acknowledged
WAITS = "until [ -e ~/go ]; do sleep 0.05; done; "


def notice(seconds: float = Bounds().drain_seconds) -> str:
    return NOTICE.format(f"{seconds:g}")


def home() -> Path:
    return Path(os.environ["HOME"])


def is_draining(server: ServerProcess) -> bool:
    return "draining" in server.complaints()


def test_a_command_that_ends_in_time_has_its_own_status_and_whole_output() -> None:
    script = f"echo up; {WAITS}seq 100000; exit 7"
    expected = b"".join(b"%d\n" % number for number in range(1, 100_001))
    with (
        serving("--port", "0") as server,
        begin(argv("rshell", "-c", script, server.address), **PIPES) as client,
    ):
        assert read_line(client.stdout) == b"up"
        server.popen.terminate()
        assert read_line(client.stderr).decode() == notice()
        with pytest.raises(ConnectionRefusedError):  # the time is short: no client for that
            socket.create_connection(("127.0.0.1", Address.parse(server.address).port))
        assert "draining; 1 command runs (SIGTERM or Ctrl-C again" in server.complaints()
        (home() / "go").touch()
        stdout, stderr = client.communicate(timeout=60)
        assert (client.returncode, stderr) == (7, b"")
        assert stdout == expected
        assert server.popen.wait(60) == 0
        assert "Traceback" not in server.complaints()


async def test_what_runs_past_the_limit_is_ended_with_its_group_and_told_so() -> None:
    script = "sleep 1000 & echo $$ $!; wait"
    with (
        serving("--port", "0", limits={"drain_seconds": 2, "kill_grace": 0.3}) as server,
        begin(argv("rshell", "-c", script, server.address), **PIPES) as client,
    ):
        pids = [int(word) for word in read_line(client.stdout).split()]
        async with at_prompt(server.address) as person:
            person.send("echo $$ > pid; echo u''p; sleep 1000" + ENTER)
            await person.wait_for("up")
            pids.append(int((home() / "pid").read_text()))
            began = time.monotonic()
            server.popen.terminate()
            await person.wait_for(notice(2))
            assert await person.wait() == 255
            assert time.monotonic() - began >= 1.9
            await person.wait_for(GOODBYE)
        stdout, stderr = client.communicate(timeout=60)
        assert (client.returncode, stdout) == (255, b"")
        assert stderr.decode().splitlines() == [notice(2), GOODBYE]
        assert server.popen.wait(60) == 0
        assert "2 commands run" in server.complaints()
        assert not any(is_alive(pid) for pid in pids)  # the server waited for them
        assert "Traceback" not in server.complaints()


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_another_signal_stops_at_once(second: signal.Signals) -> None:
    with (
        serving("--port", "0") as server,
        begin(argv("rshell", "-c", "echo $$; sleep 1000", server.address), **PIPES) as client,
    ):
        pid = int(read_line(client.stdout))
        began = time.monotonic()
        server.popen.terminate()
        wait_until(lambda: is_draining(server), "draining")
        assert server.popen.poll() is None
        server.popen.send_signal(second)
        assert server.popen.wait(60) == 0
        assert time.monotonic() - began < Bounds().drain_seconds
        client.communicate(timeout=60)
        assert client.returncode == 255
        await_gone(pid)


async def test_a_server_where_nothing_runs_stops_at_once() -> None:
    with serving("--port", "0") as server:
        async with at_prompt(server.address, limits=BUSY) as person:
            await person.run("sleep 1000 &")
            began = time.monotonic()
            server.popen.terminate()
            assert await person.wait() == 255
            await person.wait_for(GOODBYE)
        assert server.popen.wait(60) == 0
        assert time.monotonic() - began < Bounds().drain_seconds
        assert not is_draining(server)


async def test_a_command_at_the_prompt_ends_in_time_and_then_the_prompt_goes() -> None:
    with serving("--port", "0") as server:
        async with at_prompt(server.address, limits=BUSY) as person:
            person.send(f"printf u'' ; echo up; printf half; {WAITS}echo whole" + ENTER)
            await person.wait_for("half")
            server.popen.terminate()
            await person.wait_for(notice())  # on a line of its own
            (home() / "go").touch()
            await person.wait_for("whole")
            assert await person.wait() == 255
            await person.wait_for(GOODBYE)
            assert person.modes == person.before
        assert server.popen.wait(60) == 0


async def test_on_a_terminal_of_its_own_a_command_is_told_on_a_line_of_its_own() -> None:
    with serving("--port", "0") as server:
        command = f"printf half; {WAITS}echo whole; exit 3"
        async with at_terminal("-t", server.address, command) as person:
            await person.wait_for("half")
            server.popen.terminate()
            await person.wait_for(notice())
            (home() / "go").touch()
            await person.wait_for("whole")
            assert await person.wait() == 3


def test_a_notice_from_the_server_can_do_nothing_to_a_terminal(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys, rshell.server.session_table as d, rshell.cli.server as s;"
        "d.Drain._notice = lambda self: 'a\\nb\\x1b[2J';"
        "sys.exit(s.main(['--unix', sys.argv[1]]))"
    )
    path = f"{os.environ['XDG_RUNTIME_DIR']}/socket"
    server_argv = [*argv("server")[:1], "-c", program, path]
    with begin(server_argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        read_line(server.stdout)
        script = f"echo up; {WAITS}"
        with begin(argv("rshell", "-c", script, f"unix:{path}"), **PIPES) as client:
            read_line(client.stdout)
            server.terminate()
            assert read_line(client.stderr) == b"rshell: a\\x0ab\\x1b[2J"
            (home() / "go").touch()
            assert client.wait(60) == 0
        assert server.wait(60) == 0


def test_a_server_that_nobody_can_hear_starts_and_drains_all_the_same(tmp_path: Path) -> None:
    """A message that can't be written must decide nothing."""
    (tmp_path / "u").mkdir(mode=0o700)
    path = tmp_path / "u" / "s"
    for mute in ("/dev/full", None):  # None: what reads its stdout and stderr has gone
        with contextlib.ExitStack() as stack:
            if mute is None:
                read, out = os.pipe()
                os.close(read)
            else:
                out = os.open(mute, os.O_WRONLY)
            stack.callback(os.close, out)
            server = stack.enter_context(
                begin(argv("server", "-v", "--unix", str(path)), stdout=out, stderr=out)
            )
            wait_until(path.exists, "the socket")
            client = stack.enter_context(
                begin(argv("rshell", "-c", f"echo up; {WAITS}exit 7", f"unix:{path}"), **PIPES)
            )
            assert read_line(client.stdout) == b"up", mute
            server.terminate()
            assert read_line(client.stderr).decode() == notice(), mute
            (home() / "go").touch()
            assert (client.wait(60), server.wait(60)) == (7, 0), mute
            (home() / "go").unlink()
