"""Ends that nobody planned: clients and servers killed, stopped and interrupted.

The server is really started here, so that what it leaves behind is what a server leaves.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import ServerProcess, argv, begin, only_line, read_line, run, serving
from tests.support.commands import until as wait_until
from tests.support.execution import await_gone, children_of, fields, is_alive

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")

PIPES: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}

# A leader, a child of its group, and a job with a group of its own; each says who it is.
FAMILY = (
    "import os, subprocess, sys\n"
    "child = subprocess.Popen(['sleep', '100'])\n"
    "job = subprocess.Popen(['sleep', '100'], preexec_fn=os.setpgrp)\n"
    "print(os.getppid(), os.getpid(), child.pid, job.pid, flush=True)\n"
    "while True: sys.stdout.write('flood' * 1000)\n"
)


# Clients are witnessed from the start, and what ignores SIGTERM is killed soon.
WITNESSED = {"witness_after": 0.0}
HASTY = {"resume_window": 0.2}
GRACE = {"kill_grace": 0.5}


@pytest.fixture
def server() -> Iterator[ServerProcess]:
    with serving("--port", "0", limits=GRACE, really=True) as server:
        yield server


@pytest.fixture
def family(tmp_path: Path) -> str:
    path = tmp_path / "family.py"
    path.write_text(FAMILY)
    return f"{sys.executable} {path}; true"


def zombies(parent: int) -> list[int]:
    """Return the children of `parent` that have ended and were not waited for."""
    return [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and fields(int(entry.name))[:2] == ["Z", str(parent)]
    ]


def test_a_client_killed_in_mid_output_leaves_nothing_on_the_server(
    server: ServerProcess, family: str
) -> None:
    with begin(argv("rshell", "-c", family, server.address, limits=WITNESSED), **PIPES) as client:
        pids = [int(word) for word in read_line(client.stdout).split()]
        assert len(pids) == 4 and all(is_alive(pid) for pid in pids)
        client.kill()
        client.wait()
        for pid in pids:
            await_gone(pid)
    wait_until(lambda: not zombies(server.pid), "the end of all zombies")
    assert run("-c", "echo next", server.address).stdout == b"next\n"
    assert "Traceback" not in server.complaints()


def test_a_command_that_ignores_sigterm_goes_with_its_client_too(server: ServerProcess) -> None:
    script = "trap '' TERM HUP; echo $$; while :; do sleep 1; done"
    with begin(argv("rshell", "-c", script, server.address, limits=WITNESSED), **PIPES) as client:
        pid = int(read_line(client.stdout))
        client.kill()
        client.wait()
        await_gone(pid)


def test_a_server_killed_leaves_no_orphan_and_its_client_says_so(
    server: ServerProcess, family: str
) -> None:
    with begin(argv("rshell", "-c", family, server.address, limits=HASTY), **PIPES) as client:
        pids = [int(word) for word in read_line(client.stdout).split()]
        server.popen.kill()
        server.popen.wait()
        _, stderr = client.communicate(timeout=60)
        assert client.returncode == 255
        only_line(stderr)
    for pid in pids:
        await_gone(pid)


def test_ctrl_c_at_the_server_tells_clients_ends_groups_and_exits_0(server: ServerProcess) -> None:
    with begin(argv("rshell", "-c", "echo $$; sleep 100", server.address), **PIPES) as client:
        pid = int(read_line(client.stdout))
        assert server.stop() == 0
        assert not is_alive(pid)  # the server waited for it
        _, stderr = client.communicate(timeout=60)
        assert client.returncode == 255
        assert "shutting down" in only_line(stderr)
    assert "Traceback" not in server.complaints()


def test_sigint_interrupts_the_remote_command_whose_status_is_ours(
    server: ServerProcess,
) -> None:
    with begin(argv("rshell", "-c", "echo up; sleep 100", server.address), **PIPES) as client:
        read_line(client.stdout)
        client.send_signal(signal.SIGINT)
        _, stderr = client.communicate(timeout=60)
        assert (client.returncode, stderr) == (130, b"")
    script = "trap 'echo INT; exit 5' INT; echo up; while :; do sleep 0.1; done"
    with begin(argv("rshell", "-c", script, server.address), **PIPES) as client:
        read_line(client.stdout)
        client.send_signal(signal.SIGINT)
        stdout, _ = client.communicate(timeout=60)
        assert (client.returncode, stdout) == (5, b"INT\n")


def test_a_second_sigint_leaves_at_once_whatever_the_command_does(server: ServerProcess) -> None:
    script = "trap 'echo heard' INT; echo $$; while :; do sleep 0.1; done"
    with begin(argv("rshell", "-c", script, server.address), **PIPES) as client:
        pid = int(read_line(client.stdout))
        client.send_signal(signal.SIGINT)
        assert read_line(client.stdout) == b"heard"
        client.send_signal(signal.SIGINT)
        assert client.wait(60) == 130
        await_gone(pid)


def test_sigint_before_there_is_a_command_leaves_and_prints_no_traceback() -> None:
    silent = "sh -c 'cat > /dev/null'"
    with begin(argv("rshell", "--via", silent, "-c", "true"), **PIPES) as client:
        wait_until(lambda: bool(children_of(client.pid)), "the start of the program")
        client.send_signal(signal.SIGINT)
        _, stderr = client.communicate(timeout=60)
        assert (client.returncode, stderr) == (130, b"")


def test_a_client_that_stops_reading_costs_the_server_little_and_nobody_else_anything(
    server: ServerProcess,
) -> None:
    assert run("-c", "true", server.address).returncode == 0  # all is imported
    before = server.memory()
    with begin(
        argv("rshell", "-c", "echo $$; exec yes", server.address, limits=WITNESSED),
        stdout=subprocess.PIPE,
    ) as client:
        pid = int(read_line(client.stdout))
        client.send_signal(signal.SIGSTOP)
        wait_until(lambda: is_stalled(pid), "the flood to stand still")
        assert run("-c", "echo other", server.address).stdout == b"other\n"
        assert server.memory() - before < 8 * 2**20
    await_gone(pid)


def is_stalled(pid: int) -> bool:
    """Whether a process that only writes waits for its reader."""
    return fields(pid)[0] == "S" and Path(f"/proc/{pid}/wchan").read_text() in (
        "pipe_write",
        "anon_pipe_write",
    )


def test_a_local_server_ends_with_its_client(tmp_path: Path) -> None:
    with begin(argv("rshell", "--local", "-c", "echo $PPID $$; sleep 100"), **PIPES) as client:
        server, pid = (int(word) for word in read_line(client.stdout).split())
        client.kill()
        client.wait()
        await_gone(server)
        await_gone(pid)
