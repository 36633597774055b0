"""`rshell -c` against a real server: what comes back is the command's, byte for byte."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.commands import ROOT, argv, begin, elsewhere, only_line, read_line, run, serving
from tests.support.execution import await_gone

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")

SAYS = "echo out; echo err >&2; exit 7"
# Whoever finds that nothing listens tries on for a while.
HASTY = {"resume_local": 0.2}
STDIO = f"{sys.executable} -m rshell.cli.server --stdio"


def check_said(done: subprocess.CompletedProcess[bytes]) -> None:
    assert (done.stdout, done.stderr, done.returncode) == (b"out\n", b"err\n", 7)


@pytest.mark.bare
def test_first_start_needs_no_setup_and_every_address_is_reached() -> None:
    with serving("--port", "0", really=True) as server:
        assert server.address.rpartition(":")[0] == "127.0.0.1"
        for address in server.addresses:
            check_said(run("-c", SAYS, address, really=True))
            assert address in server.welcome[0]


def test_unix_socket_needs_no_token(tmp_path: Path) -> None:
    (tmp_path / "u").mkdir(mode=0o700)
    path = tmp_path / "u" / "s"
    with serving("--unix", str(path)) as server:
        assert server.addresses == [f"unix:{path}"]
        check_said(run("-c", SAYS, f"unix:{path}", env=elsewhere(tmp_path / "none")))


@pytest.mark.parametrize("way", [["--local"], ["--via", STDIO], ["--via", f"env A=1 {STDIO}"]])
def test_a_child_process_serves_without_any_server(way: list[str]) -> None:
    check_said(run(*way, "-c", SAYS))
    assert run(*way, "-c", "cat", input=b"in\0\xff").stdout == b"in\0\xff"


@pytest.mark.parametrize(
    ("command", "status"),
    [
        ("exit 7", 7),
        ("exit 255", 255),
        ("kill -TERM $$", 143),
        ("kill -KILL $$", 137),
        ("no-such-command-here", 127),
        ("/", 126),
        ("true", 0),
    ],
)
def test_status_is_the_commands(command: str, status: int) -> None:
    assert run("--local", "-c", command).returncode == status


def test_a_timeout_is_124_and_its_group_is_gone(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"echo $$ >> {pids}; (echo $BASHPID >> {pids}; exec sleep 100) & sleep 100"
    with serving("--port", "0") as server:
        done = run("--timeout", "1", "-c", script, server.address)
    assert done.returncode == 124
    found = [int(line) for line in pids.read_text().split()]
    assert len(found) == 2
    for pid in found:
        await_gone(pid)


def test_words_are_joined_by_blanks_and_options_stand_before_the_host() -> None:
    with serving("--port", "0") as server:
        host, _, port = server.address.rpartition(":")
        assert run("-p", port, host, "echo", "a  b", "$((1+1))").stdout == b"a b 2\n"
        # As `rsync -e rshell` calls its shell; what follows the host is the command's.
        called = run("-p", port, host, "echo", "--server", "-vlogDtpre.iLsfxCIvu", ".", "-n")
        assert called.stdout == b"--server -vlogDtpre.iLsfxCIvu . -n\n"
        assert run(f"{host}:{port}", "exit 3").returncode == 3


def test_a_user_name_is_refused_rather_than_ignored() -> None:
    for arguments in (["-l", "root", "host", "id"], ["root@host", "id"]):
        done = run(*arguments)
        assert done.returncode == 255
        assert "user" in only_line(done.stderr)


def test_a_script_on_stdin_runs_in_the_remote_shell() -> None:
    with serving("--port", "0") as server:
        script = b"A=5\ncd /\npwd\necho $((A + 1))\nexit 9\necho never\n"
        done = run(server.address, input=script)
    assert (done.stdout, done.stderr, done.returncode) == (b"/\n6\n", b"", 9)


def test_empty_and_odd_commands_answer_at_once() -> None:
    with serving("--port", "0") as server:
        for command in ("", " ", "\t\n", "\n\n", ":", "#"):
            done = run("-c", command, server.address)
            assert (done.stdout, done.returncode) == (b"", 0), command
        assert run("-c", "\n\necho a\n\necho b\n", server.address).stdout == b"a\nb\n"


def test_a_background_child_that_holds_the_output_does_not_hold_up_the_answer(
    tmp_path: Path,
) -> None:
    pid = tmp_path / "pid"
    with serving("--port", "0") as server:
        done = run("-c", f"sleep 100 & echo $! > {pid}; echo hi", server.address)
        assert (done.stdout, done.returncode) == (b"hi\n", 0)
        os.kill(int(pid.read_text()), 9)  # it lives on, as after ssh


def test_n_leaves_stdin_to_the_loop_around_it_and_without_it_stdin_is_eaten(
    tmp_path: Path,
) -> None:
    lines = b"".join(b"%d\n" % number for number in range(3))
    with serving("--port", "0") as server:
        for option, expected in (("-n", b"0\n1\n2\n"), ("-v", b"0\n")):
            command = " ".join([*argv("rshell"), option, "-c", "'read x; true'", server.address])
            loop = f"while read n; do echo $n; {command}; done"
            done = subprocess.run(
                ["/bin/sh", "-c", loop],
                input=lines,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                check=True,
            )
            assert done.stdout == expected


def test_stdin_ends_where_it_ends_and_all_of_it_arrives() -> None:
    data = bytes(range(256)) * 5000
    assert run("--local", "-c", "cat", input=data).stdout == data
    assert run("--local", "-c", "cat; echo end").stdout == b"end\n"


def test_a_reader_that_leaves_ends_an_endless_command_quietly(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    with (
        serving("--port", "0") as server,
        begin(
            argv("rshell", "-c", f"echo $$ > {pid}; yes", server.address),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as client,
    ):
        assert [read_line(client.stdout) for _ in range(2)] == [b"y", b"y"]
        assert client.stdout is not None and client.stderr is not None
        client.stdout.close()
        assert client.wait(60) == 141
        assert client.stderr.read() == b""
        await_gone(int(pid.read_text()))


def report(*arguments: str) -> tuple[dict[str, object], int]:
    done = run("--json", *arguments, limits=HASTY)
    assert done.stderr == b""
    shown: dict[str, object] = json.loads(done.stdout)
    assert set(shown) >= {"outcome", "exit_status", "signal", "duration", "error"}
    return shown, done.returncode


def test_json_says_how_it_ended() -> None:
    with serving("--port", "0") as server:
        where = server.address
        shown, status = report("-c", "printf 'a\\xff'; echo err >&2; exit 3", where)
        assert (shown["outcome"], shown["exit_status"], status) == ("exited", 3, 3)
        assert (shown["stdout_base64"], shown["stderr"]) == ("Yf8=", "err\n")
        assert "stdout" not in shown
        shown, status = report("-c", "kill -TERM $$", where)
        assert (shown["outcome"], shown["signal"], status) == ("signaled", "SIGTERM", 143)
        assert shown["exit_status"] is None
        shown, status = report("--timeout", "1", "-c", "echo early; sleep 100", where)
        assert (shown["outcome"], status) == ("timeout", 124)
        assert shown["stdout"] == "early\n"
        shown, status = report("-c", f"echo early; kill -9 {server.pid}; sleep 100", where)
        assert (shown["outcome"], status) == ("lost", 255)
        assert shown["stdout"] in ("early\n", "") and shown["error"]
    shown, status = report("-c", "true", where)
    assert (shown["outcome"], status) == ("refused", 255)
    assert "nothing listens" in str(shown["error"])


def test_json_keeps_stdin_for_the_command() -> None:
    done = run("--local", "--json", "-c", "cat", input=b"text")
    assert json.loads(done.stdout)["stdout"] == "text"


def test_verbose_says_why() -> None:
    with serving("--port", "0") as server:
        done = run("-v", "-c", "true", server.address)
        assert f"connected to {server.address} as local" in only_line(done.stderr)


def test_host_comes_from_the_environment_and_then_from_the_config_file(tmp_path: Path) -> None:
    with serving("--port", "0") as server:
        directory = tmp_path / "config" / "rshell"
        directory.mkdir(parents=True)
        (directory / "config.toml").write_text(f'default_host = "{server.address}"\n')
        configured = {"XDG_CONFIG_HOME": str(tmp_path / "config")}
        assert run("-c", "echo hi", env=configured).stdout == b"hi\n"
        assert run("-c", "echo hi", env={"RSHELL_HOST": server.address}).stdout == b"hi\n"
        nobody = {**configured, "RSHELL_HOST": f"127.0.0.1:{free_port()}"}
        assert run("-c", "echo hi", env=nobody).returncode == 255


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])
