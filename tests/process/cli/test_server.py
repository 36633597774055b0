"""`rshell-server`: its command line, what it says at its start, and its stdio."""

from __future__ import annotations

import json
import logging
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rshell.cli.server import _Printable, _welcome
from rshell.protocol.frames import FrameType
from rshell.security.files import server_directory
from tests.support.commands import DEADLINE, argv, begin, run, serving, until
from tests.support.proxy import raw_client

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--cert", "x"],
        ["--key", "x"],
        ["--port", "65536"],
        ["--port", "-1"],
        ["--port", "x"],
        ["--stdio", "--port", "0"],
        ["--stdio", "--unix", "x"],
        ["--cwd", "/no/such/directory"],
        ["--no-login"],
        ["extra"],
    ],
)
@pytest.mark.bare
def test_nonsense_is_refused_before_anything_is_made(arguments: list[str]) -> None:
    done = run(*arguments, command="server")
    assert done.returncode == 2 and b"rshell-server: error:" in done.stderr
    assert not server_directory().exists()


@pytest.mark.parametrize(
    ("addresses", "here"),
    [
        (["127.0.0.1:7000", "[::1]:7000"], "localhost:7000"),
        (["0.0.0.0:7001"], "localhost:7001"),
        (["[::]:7001"], "localhost:7001"),
        (["[::1]:7001"], "[::1]:7001"),
        (["192.0.2.7:7001"], "192.0.2.7:7001"),
        (["unix:/run/s"], "unix:/run/s"),
        (["127.0.0.1:7", "unix:/run/s"], "localhost:7"),
    ],
)
def test_it_says_what_to_type(addresses: list[str], here: str) -> None:
    has_tls = not addresses[0].startswith("unix:")
    lines = _welcome(addresses, "SHA256:ff" if has_tls else "")
    assert lines[0].endswith(f"at {', '.join(addresses)}")
    assert f"rshell {here} 'uname -a'" in "\n".join(lines)
    assert any("rshell-token add" in line for line in lines) is has_tls


@needs_openssl
def test_own_certificate_and_both_kinds_of_address(tmp_path: Path) -> None:
    directory = tmp_path / "u"
    directory.mkdir(mode=0o700)
    with serving("--host", "127.0.0.1", "--port", "0"):
        pass
    cert, key = server_directory() / "cert.pem", server_directory() / "key.pem"
    state = str(tmp_path / "state")
    with serving(
        *("--host", "127.0.0.1", "--port", "0", "--unix", str(directory / "s")),
        *("--cert", str(cert), "--key", str(key), "--state", state),
    ) as server:
        assert len(server.addresses) == 2 and server.fingerprint
        assert run("-c", "echo hi", server.addresses[1]).stdout == b"hi\n"
        line = (Path(state) / "local-token").read_text()
        env = {"RSHELL_TOKEN": line}
        assert run("-c", "echo hi", server.address, env=env).stdout == b"hi\n"
    assert not (Path(state) / "key.pem").exists()


@needs_openssl
def test_a_key_that_does_not_fit_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text("nonsense")
    (tmp_path / "key.pem").write_text("nonsense")
    pair = ("--cert", str(tmp_path / "cert.pem"), "--key", str(tmp_path / "key.pem"))
    done = run("--port", "0", *pair, command="server")
    assert done.returncode == 1 and done.stderr.count(b"\n") == 1
    assert done.stderr.startswith(b"rshell-server: can't use the certificate")


def test_a_server_on_its_stdio_ends_with_its_input_and_keeps_a_log() -> None:
    done = run("--stdio", command="server", input=b"")
    assert done.returncode == 0 and done.stderr == b""
    log = (server_directory() / "audit.jsonl").read_text().splitlines()
    assert json.loads(log[-1])["event"] == "stopped"


def test_a_server_on_its_stdio_serves_without_a_log_where_it_can_keep_none(tmp_path: Path) -> None:
    loose = tmp_path / "loose"
    loose.mkdir(mode=0o755)
    command = " ".join(argv("server", "--stdio", "--state", str(loose)))
    done = run("--via", command, "-c", "echo hi")
    assert done.stdout == b"hi\n" and b"no audit log" in done.stderr


def test_a_server_on_its_stdio_takes_no_files_for_a_link(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w+b") as file:
        done = run("--stdio", command="server", stdin=file, stdout=file)
    assert done.returncode == 1
    assert done.stderr.count(b"\n") == 1 and b"pipes or sockets" in done.stderr


def test_a_server_on_its_stdio_is_deaf_to_ctrl_c_and_its_commands_are_not() -> None:
    with begin(argv("server", "--stdio"), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None and server.stdout.read(4)  # its HELLO
        server.send_signal(signal.SIGINT)
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 128 + signal.SIGTERM
    shown = run("--local", "-c", "grep SigIgn /proc/self/status").stdout.split()
    ignored = int(shown[1], 16)
    assert not ignored & (1 << (signal.SIGINT - 1) | 1 << (signal.SIGQUIT - 1))


def test_a_stray_print_of_a_server_on_its_stdio_can_not_damage_the_link() -> None:
    program = "import sys; from rshell.cli.server import _serve_stdio as s, _parse; import asyncio;"
    program += "from rshell.values import Bounds;"
    program += "import rshell.transport.stdio as t; real = t.take_stdio;"
    program += "t.take_stdio = lambda: (real(), print('stray', flush=True))[0];"
    program += "sys.exit(asyncio.run(s(_parse(['--stdio']), Bounds())))"
    command = shlex.join([sys.executable, "-c", program])
    done = run("--via", command, "-c", "echo hi")
    assert (done.stdout, done.stderr) == (b"hi\n", b"stray\n")


@needs_openssl
def test_a_hangup_reopens_the_log_and_sigusr1_asks_for_one_line_of_status() -> None:
    path = server_directory() / "audit.jsonl"
    with serving("--port", "0") as server:
        with raw_client(server.port) as peer:
            peer.send(b"\0\0\0\1\1\0\0\0\0{")
            peer.rest()
        assert run("-c", "echo on", server.address).stdout == b"on\n"
        path.rename(path.with_name("moved"))
        server.popen.send_signal(signal.SIGHUP)
        until(path.exists, "the new log")
        assert run("-c", "echo on", server.address).stdout == b"on\n"
        server.popen.send_signal(signal.SIGUSR1)
        until(lambda: server.complaints().endswith("\n"), "the status")
        assert server.complaints() == (
            "rshell-server: sessions 0 (0 without a link), links 0 (0 not logged in), "
            "commands 0, jobs 0, named shells 0; turned away: violation 1\n"
        )
        assert server.stop() == 0
    before, after = (at.read_text() for at in (path.with_name("moved"), path))
    assert before.count('"command"') == after.count('"command"') == 1
    assert '"violation": 1' in after


def test_a_server_on_its_stdio_outlives_sigusr1_and_ends_at_a_hangup() -> None:
    with begin(
        argv("server", "--stdio"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as server:
        assert server.stdout is not None and server.stderr is not None
        server.stdout.read(1)  # it speaks, and hears signals
        server.send_signal(signal.SIGUSR1)
        assert server.stderr.readline().startswith(b"rshell-server: sessions 0")
        server.send_signal(signal.SIGHUP)
        assert server.wait(DEADLINE) == 128 + signal.SIGTERM


NASTY = "\x1b]0;owned\x07\nrshell-server: all is well\x9b2J\r\u2028"


@needs_openssl
def test_what_strangers_say_forges_no_line_of_the_log_and_moves_no_terminal() -> None:
    with serving("--port", "0", "-v") as server:
        for say in (
            lambda peer: peer.say(FrameType.GOODBYE, code=NASTY, reason=NASTY),
            lambda peer: peer.say(FrameType.HELLO, 0, versions=NASTY, implementation=NASTY),
            lambda peer: peer.say(FrameType.OPEN, 1, kind=NASTY),
            lambda peer: (
                peer.say_hello(mechanisms=[NASTY]),
                peer.say(FrameType.AUTH, mechanism=NASTY, data=NASTY),
            ),
        ):
            with raw_client(server.port) as peer:
                say(peer)
                peer.rest()
        assert server.stop() == 0
        shown = server.log.read_bytes()
    assert shown.count(b"rshell-server: no login from 127.0.0.1: ") == 4 and b"owned" in shown
    assert shown.count(b"\n") == 5
    assert not set(shown.replace(b"\n", b"")) - set(range(32, 127))


def test_a_traceback_in_the_log_can_not_be_taken_for_a_message() -> None:
    formatter = _Printable("rshell-server: %(message)s")
    try:
        raise ValueError(NASTY)
    except ValueError:
        record = logging.LogRecord("x", 40, "", 1, "it %s", (NASTY,), sys.exc_info())
    first, *rest = formatter.format(record).split("\n")
    assert first.startswith("rshell-server: it \\x1b]0;owned") and len(rest) > 3
    assert all(line.startswith("  ") and line.isprintable() for line in rest)
