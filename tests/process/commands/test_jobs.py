"""Detached jobs with real servers and clients: what survives whom."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import (
    ServerProcess,
    argv,
    begin,
    elsewhere,
    only_line,
    read_line,
    run,
    serving,
)
from tests.support.commands import until as wait_until
from tests.support.execution import await_gone, is_alive

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")

PIPES: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
MIB = 1024 * 1024


@pytest.fixture
def server() -> Iterator[ServerProcess]:
    with serving("--port", "0") as server:
        yield server


def detach(server: ServerProcess, script: str, *options: str) -> str:
    """Start a job and return its name."""
    done = run("--detach", *options, "-c", script, server.address)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode().removesuffix("\n")


def jobs(server: ServerProcess, env: dict[str, str] | None = None) -> dict[str, dict[str, Any]]:
    """Return the list of jobs by name."""
    done = run("--jobs", "--json", server.address, env=env)
    assert done.returncode == 0, done.stderr
    return {job["name"]: job for job in json.loads(done.stdout)["jobs"]}


def logs(server: ServerProcess, name: str) -> bytes:
    done = run("--logs", name, server.address)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_wait_has_the_jobs_status_and_logs_have_both_streams(server: ServerProcess) -> None:
    name = detach(server, "echo out; echo err >&2; exit 7")
    waited = run("--wait", name, server.address)
    assert (waited.returncode, waited.stdout, waited.stderr) == (7, b"", b"")
    shown = run(server.address, "--logs", name)
    assert (shown.returncode, shown.stdout, shown.stderr) == (0, b"out\n", b"err\n")
    table = run("--jobs", server.address).stdout.decode()
    assert name in table and "exited 7" in table


def test_a_follower_sees_output_live_and_ends_with_the_job(
    server: ServerProcess, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    name = detach(server, f"echo one; until [ -e {gate} ]; do sleep 0.02; done; echo two")
    with begin(argv("rshell", "--logs", name, "-f", server.address), **PIPES) as follower:
        assert read_line(follower.stdout) == b"one"
        assert jobs(server)[name]["state"] == "running"
        gate.touch()
        assert follower.communicate(timeout=60) == (b"two\n", b"")
        assert follower.returncode == 0


def test_kill_ends_it_and_wait_gives_143(server: ServerProcess) -> None:
    name = detach(server, "echo $$; sleep 100 & wait", "--name", "mine.1")
    assert name == "mine.1"
    with begin(argv("rshell", "--wait", name, server.address), **PIPES) as waiter:
        wait_until(lambda: logs(server, name), "the first line")
        pid = int(logs(server, name))
        again = run("--detach", "--name", name, "-c", "true", server.address)
        assert again.returncode == 255 and "it runs" in only_line(again.stderr)
        assert run("--kill-job", name, server.address).returncode == 0
        waiter.communicate(timeout=60)
        assert waiter.returncode == 143
    assert not is_alive(pid)
    assert jobs(server)[name]["ended_by"] == "kill"
    assert run("--kill-job", name, server.address).returncode == 0
    assert detach(server, "exit 3", "--name", name) == name  # free again
    assert run("--wait", name, server.address).returncode == 3


def test_a_job_and_its_output_survive_the_client_that_is_killed(
    server: ServerProcess, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    name = detach(server, f"echo one; until [ -e {gate} ]; do sleep 0.02; done; echo two")
    with begin(argv("rshell", "--logs", name, "-f", server.address), **PIPES) as follower:
        assert read_line(follower.stdout) == b"one"
        follower.kill()
        follower.wait()
    gate.touch()
    assert run("--wait", name, server.address).returncode == 0
    assert logs(server, name) == b"one\ntwo\n"


def test_a_follower_whose_reader_has_left_ends_quietly(server: ServerProcess) -> None:
    name = detach(server, "while echo y; do sleep 0.02; done")
    arguments = argv("rshell", "--logs", name, "-f", server.address)
    with begin(arguments, **PIPES) as follower:
        assert read_line(follower.stdout) == b"y"
        assert follower.stdout is not None and follower.stderr is not None
        follower.stdout.close()
        assert follower.wait(60) == 141
        assert follower.stderr.read() == b""
    assert jobs(server)[name]["state"] == "running"


def test_a_flood_is_bounded_on_the_disk_and_the_missing_part_is_counted(
    server: ServerProcess, tmp_path: Path
) -> None:
    name = detach(server, "echo first >&2; head -c 40000000 /dev/zero; echo; echo last")
    assert run("--wait", name, server.address).returncode == 0
    files = list(tmp_path.rglob(f"{name}/stdout.*"))
    assert 0 < sum(path.stat().st_size for path in files) <= 16 * MIB
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert {stat.S_IMODE(path.parent.stat().st_mode) for path in files} == {0o700}
    shown = run("--logs", name, server.address)
    assert shown.stdout.endswith(b"\0\nlast\n") and len(shown.stdout) > 8 * MIB - 300_000
    first, told = shown.stderr.decode().splitlines()
    missing = 40_000_006 - len(shown.stdout)
    assert first == "first"
    assert told == f"rshell: {missing} bytes of stdout are not kept and missing here"


def test_a_server_that_was_killed_leaves_lost_jobs_with_their_logs(tmp_path: Path) -> None:
    with serving("--port", "0") as server:
        done = detach(server, "exit 7")
        assert run("--wait", done, server.address).returncode == 7
        name = detach(server, "echo $$; exec sleep 100")
        wait_until(lambda: logs(server, name), "the first line")
        pid = int(logs(server, name))
        server.popen.kill()
        server.popen.wait()
    await_gone(pid)
    with serving("--port", "0", log=tmp_path / "second.log") as server:
        listed = jobs(server)
        assert {job["state"] for job in listed.values()} == {"exited", "lost"}
        assert listed[done]["exit_status"] == 7
        assert (listed[name]["state"], listed[name]["exit_status"]) == ("lost", None)
        assert logs(server, name) == b"%d\n" % pid
        assert run("--wait", done, server.address).returncode == 7
        waited = run("--wait", name, server.address)
        assert waited.returncode == 255 and "not known" in only_line(waited.stderr)
        assert server.complaints() == ""


def test_a_server_that_is_stopped_ends_its_jobs_and_says_so_later(tmp_path: Path) -> None:
    with serving("--port", "0") as server:
        name = detach(server, "echo $$; exec sleep 100")
        wait_until(lambda: logs(server, name), "the first line")
        pid = int(logs(server, name))
        assert server.stop() == 0
        assert not is_alive(pid)  # the server waited for it
    with serving("--port", "0", log=tmp_path / "second.log") as server:
        job = jobs(server)[name]
        assert (job["state"], job["signal"], job["ended_by"]) == ("signaled", "SIGTERM", "shutdown")
        assert run("--wait", name, server.address).returncode == 143


def test_another_identity_neither_sees_nor_touches_them(
    server: ServerProcess, tmp_path: Path
) -> None:
    there = elsewhere(tmp_path / "there")
    added = run("add", "laptop", "--address", server.address, command="token")
    assert run("--login", input=added.stdout, env=there).returncode == 0
    name = detach(server, "echo secret; exec sleep 100")
    assert jobs(server, there) == {}
    for option in ("--logs", "--wait", "--kill-job"):
        done = run(option, name, server.address, env=there)
        assert (done.returncode, done.stdout) == (255, b"")
        assert f"there is no job {name!r} of yours here" in only_line(done.stderr)
    assert jobs(server)[name]["state"] == "running"


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden", "-x", "", "a" * 65])
def test_names_with_paths_get_nowhere(name: str) -> None:
    for option in ("--logs", "--wait", "--kill-job", "--name"):
        more = ("--detach", "-c", "true") if option == "--name" else ()
        done = run(f"{option}={name}", *more, "localhost:1")
        assert done.returncode == 255 and "not a job's name" in only_line(done.stderr)
