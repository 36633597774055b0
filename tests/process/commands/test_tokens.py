"""Tokens from hand to hand: `rshell-token`, `rshell --login`, and what a revocation does."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from rshell.security.tokens import TokenLine
from tests.support.commands import (
    argv,
    begin,
    elsewhere,
    environment,
    only_line,
    read_line,
    run,
    serving,
    until,
)

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")


def test_a_token_line_lets_another_machine_in_until_it_is_revoked(tmp_path: Path) -> None:
    there = elsewhere(tmp_path / "there")
    with serving("--port", "0") as server:
        added = run("add", "laptop", "--address", server.address, command="token")
        line = TokenLine.parse(added.stdout.decode())
        assert (str(line.address), line.fingerprint) == (server.address, server.fingerprint)
        assert run("-c", "echo hi", server.address, env=there).returncode == 255
        stored = run("--login", input=added.stdout, env=there)
        assert stored.returncode == 0 and line.token not in (stored.stdout + stored.stderr).decode()
        credentials = Path(there["XDG_STATE_HOME"]) / "rshell" / "credentials"
        assert stat.S_IMODE(credentials.stat().st_mode) == 0o600
        assert run("-c", "echo hi", server.address, env=there).stdout == b"hi\n"
        listed = run("list", command="token").stdout.decode()
        assert "laptop" in listed and "local" in listed and line.token not in listed
        with begin(
            argv("rshell", "-c", "echo up; sleep 100", server.address),
            env=there,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as client:
            read_line(client.stdout)
            assert run("revoke", "laptop", command="token").returncode == 0
            _, stderr = client.communicate(timeout=60)
            assert client.returncode == 255 and "revoked" in only_line(stderr)
        assert run("-c", "echo hi", server.address, env=there).returncode == 255
        assert run("-c", "echo hi", server.address).stdout == b"hi\n"  # others are not touched
        assert server.complaints() == ""
        log = (Path(os.environ["XDG_STATE_HOME"]) / "rshell/server/audit.jsonl").read_text()
        assert line.token not in log
        events = [json.loads(text)["event"] for text in log.splitlines()]
        assert {"login", "command", "ended", "end", "login-failed"} <= set(events)


def test_a_revocation_ends_jobs_where_it_is_told_to_and_says_what_may_be_left() -> None:
    job = "trap '' HUP; echo up; exec sleep 100"
    with serving("--port", "0", limits={"kill_grace": 0.3}) as server:
        for name in ("laptop", "other"):
            line = run("add", name, command="token").stdout.decode()
            for job_name in ("first", "second"):
                started = ("--detach", "--name", job_name, "-c", job, server.address)
                assert run(*started, env={"RSHELL_TOKEN": line}).returncode == 0
        done = run("revoke", "laptop", command="token")
        assert done.returncode == 0 and b"its jobs, which --kill ends" in done.stderr
        assert b"Made since it was: other." in done.stderr
        done = run("revoke", "--kill", "laptop", command="token")  # an afterthought
        assert done.returncode == 0 and b"named shells and jobs within a second" in done.stderr
        assert run("revoke", "laptop", command="token").returncode == 1
        log = Path(os.environ["XDG_STATE_HOME"]) / "rshell/server/audit.jsonl"

        def ended() -> list[tuple[str, str]]:
            events = [json.loads(text) for text in log.read_text().splitlines()]
            return [(e["identity"], e["ended_by"]) for e in events if e["event"] == "job-ended"]

        until(lambda: len(ended()) >= 2, "the end of both jobs")
        assert ended() == [("laptop", "revoked")] * 2
        listed = run("--jobs", server.address, env={"RSHELL_TOKEN": line}).stdout
        assert listed.count(b"running") == 2
        # A new token of the same name sees how they ended, and may start others.
        line = run("add", "laptop", command="token").stdout.decode()
        listed = run("--jobs", server.address, env={"RSHELL_TOKEN": line}).stdout
        assert listed.count(b"(revoked)") == 2


def test_login_takes_no_token_from_the_command_line(tmp_path: Path) -> None:
    """Every user of the machine could read it there."""
    token = run("add", "laptop", "--address", "localhost", command="token").stdout.decode().strip()
    there = elsewhere(tmp_path / "there")
    done = run("--login", token, env=there)
    assert done.returncode == 255
    assert token.split()[-1] not in only_line(done.stderr)
    assert not (Path(there["XDG_STATE_HOME"]) / "rshell" / "credentials").exists()


def test_what_is_no_token_line_is_refused_and_not_repeated(tmp_path: Path) -> None:
    done = run("--login", input=b"hunter2 is my token\n")
    assert done.returncode == 255
    assert "hunter2" not in only_line(done.stderr)


def test_token_command_refuses_what_makes_no_sense() -> None:
    assert run("add", "laptop", "--address", "unix:/x", command="token").returncode == 1
    for name in ("", "a\nb", "../x", "-x"):
        assert run("add", "--", name, command="token").returncode == 1
    assert run("add", "laptop", "--address", "h", command="token").returncode == 0
    again = run("add", "laptop", "--address", "h", command="token")
    assert again.returncode == 1 and b"already" in again.stderr and again.stdout == b""
    assert run("revoke", "nobody", command="token").returncode == 1
    assert run("list", command="token").stdout.decode().split("\t")[0] == "laptop"


def test_one_token_for_two_starts_of_the_server() -> None:
    directory = Path(os.environ["XDG_STATE_HOME"]) / "rshell/server"
    with serving("--port", "0"):
        first = (directory / "local-token").read_bytes()
        assert stat.S_IMODE((directory / "local-token").stat().st_mode) == 0o600
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    with serving("--port", "0") as server:
        assert (directory / "local-token").read_bytes() == first
        assert run("-c", "echo hi", server.address).stdout == b"hi\n"


def test_no_secret_is_in_any_argv_or_environment_of_a_command() -> None:
    """What the server inherits, its commands inherit."""
    with serving("--port", "0", really=True) as server:
        directory = Path(os.environ["XDG_STATE_HOME"]) / "rshell/server"
        line = (directory / "local-token").read_text().strip()
        env = {"RSHELL_TOKEN": line}
        done = run("-c", "env; cat /proc/$PPID/cmdline", server.address, env=env, really=True)
        assert done.returncode == 0
        assert line.split()[-1].encode() not in done.stdout


def test_second_server_on_a_unix_path_is_refused_and_the_first_serves_on(tmp_path: Path) -> None:
    directory = tmp_path / "u"
    directory.mkdir(mode=0o700)
    path = directory / "s"
    with serving("--unix", str(path)) as server:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        second = run("--unix", str(path), command="server")
        assert second.returncode == 1 and b"another server" in second.stderr
        assert second.stderr.count(b"\n") == 1
        assert run("-c", "echo hi", f"unix:{path}").stdout == b"hi\n"
        server.popen.kill()
        server.popen.wait()
    assert path.exists()  # left by the kill
    with serving("--unix", str(path)) as server:
        assert run("-c", "echo hi", f"unix:{path}").stdout == b"hi\n"
        assert server.stop() == 0
    assert not path.exists()


def test_a_server_says_what_to_type_and_it_works(tmp_path: Path) -> None:
    there = elsewhere(tmp_path / "there")

    def type_it(text: str) -> bytes:
        # The commands are not installed here: functions stand in for them.
        functions = "".join(
            f'{name}() {{ {" ".join(argv(command))} "$@"; }}\n'
            for name, command in (("rshell", "rshell"), ("rshell_token", "token"))
        )
        script = functions + text.replace("rshell-token", "rshell_token")
        shell = ["/bin/sh", "-c", script]
        done = subprocess.run(shell, capture_output=True, env=environment(), timeout=60)
        assert done.returncode == 0, (text, done.stderr)
        return done.stdout

    # The usual directory first: its token must not be taken for that of the others.
    with serving("--port", "0") as first:
        shown = type_it(first.welcome[2].partition(":")[2])
        assert shown.split()[1].decode() == os.uname().nodename
        assert "no way" in first.welcome[3]
        state = str(tmp_path / "other state")
        for host in ("localhost", "127.0.0.2", "0.0.0.0"):
            log = tmp_path / "log"
            with serving("--host", host, "--port", "0", "--state", state, log=log) as server:
                words = server.welcome[2].partition(":")[2]
                assert type_it(words).split()[1].decode() == os.uname().nodename, words
                if host == "0.0.0.0":
                    add = server.welcome[3].partition(":")[2].partition(" (there")[0]
                    line = type_it(add.replace("NAME", "laptop")).decode()
                    address = TokenLine.parse(line).address
                    assert server.welcome[3].endswith(f"then rshell {address})")
                    assert address.port == server.port
                    assert run("--login", input=line.encode(), env=there).returncode == 0
                    done = run(str(address), "-c", "echo hi", env=there)
                    assert done.stdout == b"hi\n", done.stderr


def test_commands_start_in_the_directory_that_was_asked_for(tmp_path: Path) -> None:
    with serving("--port", "0", "--cwd", str(tmp_path)) as server:
        assert run("-c", "pwd", server.address).stdout.decode().strip() == str(tmp_path)
    with serving("--port", "0") as server:
        assert run("-c", "pwd", server.address).stdout.decode().strip() == os.environ["HOME"]
