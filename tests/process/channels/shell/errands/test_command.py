"""rshell-get and rshell-put as a process of their own, with a server that a test plays."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

from rshell.channels.shell.errands import command

ARGV = (sys.executable, "-I", "-S", command.__file__, "rshell-get")


def test_it_says_what_it_is_told_and_nothing_of_it_is_lost(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    rows = (
        (b"0 \n", 0, b"\n", b""),
        (b"1 rshell-get: no\n", 1, b"", b"rshell-get: no\n"),
        (b"0 " + b"x" * 300_000, 0, b"x" * 300_000, b""),
        (b"130 ", -signal.SIGINT, b"", b""),  # or a loop would ask again
        (b"", 255, b"", b"rshell-get: the server gave no answer; it may have ended\n"),
        (b"\x1b[31m ", 255, b"", b"rshell-get: the server gave no answer; it may have ended\n"),
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(path)
        server.listen()
        for answer, status, out, err in rows:
            asking = subprocess.Popen(
                (*ARGV, "-r", b"a\xff\n"),
                cwd=tmp_path,
                env={"RSHELL_CLIENT": path},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            with server.accept()[0] as connection:
                wanted = b"4\0rshell-get\0%s\0-r\0a\xff\n\0" % bytes(tmp_path)
                assert connection.recv(65536) == wanted
                connection.sendall(answer)
            assert (*asking.communicate(), asking.wait()) == (out, err, status), answer[:20]
    done = subprocess.run(ARGV, env={"RSHELL_CLIENT": path}, capture_output=True)
    assert done.returncode == 255 and b"use rshell-cp" in done.stderr  # nobody listens
