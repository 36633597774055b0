"""A server that a person started on a terminal, when the terminal goes away."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
from pathlib import Path

from tests.support.commands import DEADLINE, argv, begin, environment, read_line, until
from tests.support.forked import start_on_terminal


def test_a_server_drains_when_its_terminal_is_closed_and_not_at_another_hangup(
    tmp_path: Path,
) -> None:
    master, slave = pty.openpty()
    socket, log = tmp_path / "s", tmp_path / "log"
    tmp_path.chmod(0o700)
    server = argv("server", "--unix", str(socket), limits={"drain_seconds": 60.0})
    redirect = ["/bin/sh", "-c", 'exec "$@" >"$0" 2>&1', str(log), *server]
    popen = start_on_terminal(redirect, os.ttyname(slave), really=True, env=environment())
    try:
        until(lambda: log.exists() and "from here" in log.read_text(), "the start")
        script = "echo begun; read x; echo done-$x"
        client = argv("rshell", "-c", script, f"unix:{socket}")
        with begin(client, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
            assert read_line(running.stdout) == b"begun"
            popen.send_signal(
                signal.SIGHUP
            )  # of a tool that has moved the log; the terminal is there
            popen.send_signal(signal.SIGUSR1)
            until(lambda: "commands 1," in log.read_text(), "the status")
            os.close(slave)
            os.close(master)
            master = slave = -1
            until(lambda: "draining; 1 command runs" in log.read_text(), "the drain")
            popen.send_signal(signal.SIGHUP)  # the shell's, when it ends behind its terminal
            popen.send_signal(signal.SIGUSR1)  # which is heard of later
            until(lambda: log.read_text().count("commands 1,") == 2, "the second status")
            stdout, _ = running.communicate(b"x\n", timeout=DEADLINE)
            assert (stdout, running.returncode) == (b"done-x\n", 0)
        assert popen.wait(DEADLINE) == 0
    finally:
        popen.kill()
        popen.wait()
        for fd in (master, slave):
            if fd >= 0:
                os.close(fd)
