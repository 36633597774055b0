"""`rshell-server`: its command line, what it says at its start, and its stdio."""

from __future__ import annotations

import json
import logging
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from rshell.cli.server import _Printable, _welcome
from rshell.protocol.frames import FrameType
from rshell.security.files import server_directory
from rshell.server.state import Listening
from rshell.values import Address
from tests.support.commands import DEADLINE, argv, begin, environment, run, serving, until
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


def test_it_says_what_to_type_of_where_it_listens() -> None:
    name = socket.gethostname()
    for host, texts, here, elsewhere in (
        ("localhost", ["127.0.0.1:7000", "[::1]:7000"], "localhost:7000", None),
        ("127.0.0.1", ["127.0.0.1:7001"], "127.0.0.1:7001", None),
        ("127.0.0.2", ["127.0.0.2:7001"], "127.0.0.2:7001", None),
        ("::1", ["[::1]:7001"], "[::1]:7001", None),
        ("0.0.0.0", ["0.0.0.0:7001"], "127.0.0.1:7001", f"{name}:7001"),
        ("::", ["[::]:7001"], "[::1]:7001", f"{name}:7001"),
        ("10.9.8.7", ["10.9.8.7:7001"], "10.9.8.7:7001", "10.9.8.7:7001"),
        ("web.lan", ["10.9.8.7:7001"], "10.9.8.7:7001", "web.lan:7001"),
        ("127.0.0.1", ["127.0.0.1:7", "unix:/run/s"], "127.0.0.1:7", None),
    ):
        addresses = [Address.parse(text) for text in texts]
        listening = Listening.of(host, addresses, "SHA256:ff")
        assert listening == ("SHA256:ff", here, elsewhere), host
        first, _, from_here, from_elsewhere = _welcome(addresses, listening, None)
        assert first.endswith(f"at {', '.join(texts)}")
        assert from_here.endswith(f"rshell {here} 'uname -a'")
        assert ("local-token" in from_here) is (not Address.parse(here).is_loopback)
        if elsewhere is None:
            assert "--host" in from_elsewhere and "rshell-token" not in from_elsewhere
        else:
            assert "rshell-token add NAME (there" in from_elsewhere
            assert from_elsewhere.endswith(f"rshell {elsewhere})")
    unix = Address.parse("unix:/run/a b")
    assert _welcome([unix], None, None)[1].endswith("rshell 'unix:/run/a b' 'uname -a'")


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
    (tmp_path / "key.pem").chmod(0o600)
    pair = ("--cert", str(tmp_path / "cert.pem"), "--key", str(tmp_path / "key.pem"))
    done = run("--port", "0", *pair, command="server")
    assert done.returncode == 1 and done.stderr.count(b"\n") == 1
    assert done.stderr.startswith(b"rshell-server: can't use the certificate")


@pytest.mark.skipif(sys.platform != "linux", reason="needs prctl")
def test_a_server_that_holds_tokens_can_not_be_dumped_and_its_commands_can() -> None:
    look = "import ctypes; print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), flush=True)"
    program = f"""
import asyncio, subprocess, sys
from rshell.cli import server
def instead(serving):
    serving.close()
    {look}
    subprocess.run([sys.executable, "-c", {look!r}], check=True)
asyncio.run = instead
server.main(["--stdio"])
"""
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, check=True
    )
    assert done.stdout.split() == [b"0", b"1"]


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
