"""Many clients at once, and those who are no clients at all."""

from __future__ import annotations

import shutil
import socket
import subprocess
from contextlib import ExitStack

import pytest

from tests.support.commands import DEADLINE, argv, begin, run, serving
from tests.support.proxy import raw_client, reset

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")


def test_fifty_clients_at_once_get_their_own_output_and_status() -> None:
    with serving("--port", "0") as server, ExitStack() as stack:
        clients = [
            stack.enter_context(
                begin(
                    argv(
                        "rshell", "-c", f"read x; echo {number}-$x; exit {number}", server.address
                    ),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                )
            )
            for number in range(50)
        ]
        for number, client in enumerate(clients):
            stdout, _ = client.communicate(b"x%d\n" % number, timeout=DEADLINE)
            assert (stdout, client.returncode) == (b"%d-x%d\n" % (number, number), number)
        assert "Traceback" not in server.complaints()


def test_rubbish_silence_and_resets_harm_nobody() -> None:
    rubbish = [
        b"",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01" + b"\xff" * 200,
        b"\0" * 1000,
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ]
    with serving("--port", "0", "-v") as server, ExitStack() as stack:
        for number in range(30):
            sock = socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE)
            stack.callback(sock.close)
            sock.sendall(rubbish[number % len(rubbish)])
            if number % 3 == 0:
                reset(sock)
        assert run("-c", "echo served", server.address).stdout == b"served\n"
        for garbage in (b"\xff" * 100, b"\0\0\0\1\1\0\0\0\0{", b"GET / HTTP/1.1\r\n\r\n"):
            with raw_client(server.port) as peer:
                peer.send(garbage)
        assert run("-c", "echo served", server.address).stdout == b"served\n"
        assert server.stop() == 0
        shown = server.complaints()
    assert "Traceback" not in shown and "no login from 127.0.0.1" in shown
