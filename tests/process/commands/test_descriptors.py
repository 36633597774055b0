"""`rshell -c` with descriptors that are closed, full, left, shared or of the wrong kind.

A table: what each of the three is like decides the status in one way alone. Stdout is the output,
and failing to write it is a failure; stderr decides nothing; input that can't be read ends the
command, and is never its end of file.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import (
    DEADLINE,
    ROOT,
    ServerProcess,
    argv,
    begin,
    only_line,
    read_line,
    run,
    serving,
    until,
)
from tests.support.execution import await_gone

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="of Linux: /dev/full, /proc")

# It reads all, says something on both, and has a status of its own. A mark shows that it got there.
SAYS = "cat >/dev/null && echo out && echo err >&2 && echo more >&2 && touch {mark}; exit 7"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    (tmp_path / "u").mkdir(mode=0o700)
    with serving("--unix", str(tmp_path / "u" / "s")) as started:
        yield started


def left_pipe() -> int:
    """Return the end of a pipe whose reader has left."""
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def non_blocking(at_end: int) -> Callable[[], int]:
    def make() -> int:
        ends = os.pipe()
        os.set_blocking(ends[at_end], False)
        if at_end == 0:
            os.write(ends[1], b"in")
            os.close(ends[1])
        else:
            _kept.append(ends[0])
        return ends[at_end]

    return make


_kept: list[int] = []


def opened(path: str, flags: int) -> Callable[[], int]:
    return lambda: os.open(path, flags | os.O_CREAT * (flags != os.O_RDONLY), 0o600)


# (which descriptor, what it is, what opens it, the status, what is said, whether it ran to its end)
TABLE: list[tuple[int, str, Callable[[], int], int, str, bool]] = [
    (0, "empty", opened("/dev/null", os.O_RDONLY), 7, "", True),
    (0, "write-only", opened("/dev/null", os.O_WRONLY), 255, "can't read stdin: Bad file", False),
    (0, "failing", opened("/proc/self/mem", os.O_RDONLY), 255, "can't read stdin: Input/", False),
    (0, "non-blocking", non_blocking(0), 7, "", True),
    (1, "full", opened("/dev/full", os.O_WRONLY), 255, "can't write stdout: No space", True),
    (1, "left", left_pipe, 141, "", True),
    (1, "read-only", opened("/dev/null", os.O_RDONLY), 255, "can't write stdout: Bad", True),
    (1, "non-blocking", non_blocking(1), 7, "", True),
    (2, "full", opened("/dev/full", os.O_WRONLY), 7, "", True),
    (2, "left", left_pipe, 7, "", True),
    (2, "read-only", opened("/dev/null", os.O_RDONLY), 7, "", True),
    (2, "non-blocking", non_blocking(1), 7, "", True),
]


def test_what_each_descriptor_decides(server: ServerProcess, tmp_path: Path) -> None:
    for options in ([], ["-v"], ["--json"]):
        for fd, kind, make, status, said, ends in TABLE:
            name = ("stdin", "stdout", "stderr")[fd]
            row = f"{' '.join(options)} {name} {kind}"
            mark = tmp_path / row.replace(" ", "_")
            with ExitStack() as opened_here:
                end = make()
                opened_here.callback(os.close, end)
                given: dict[str, Any] = {name: end}
                done = run(*options, "-c", SAYS.format(mark=mark), server.address, **given)
                while _kept:
                    opened_here.callback(os.close, _kept.pop())
            assert done.returncode == status, row
            if options == ["--json"]:
                if fd != 1:
                    shown = json.loads(done.stdout)
                    assert said in (shown["error"] or ""), row
                    assert (shown["outcome"] == "lost") == bool(said), row
                elif said:
                    assert said in only_line(done.stderr), row
            elif fd != 2:
                own = [line for line in done.stderr.decode().splitlines() if "rshell: " in line]
                own = [line for line in own if "connected to" not in line]
                assert len(own) == bool(said) and all(said in line for line in own), row
            if status == 7 and fd == 2 and not options:
                assert done.stdout == b"out\n", row
            # Where stdout fails, the command may be ended before it gets there.
            if ends and fd != 1:
                assert mark.exists(), row
            elif not ends:
                assert not mark.exists(), row


def test_what_needs_no_server_fails_to_be_printed_in_one_line_too() -> None:
    with Path("/dev/full").open("wb") as full:
        for option in ("--help", "--version"):
            done = run(option, stdout=full)
            assert done.returncode == 255 and "No space" in only_line(done.stderr), option
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as left:
        done = run("--help", stdout=left)
        assert (done.returncode, done.stderr) == (141, b"")


def test_a_descriptor_that_is_closed_is_as_dev_null_and_never_a_socket_of_ours(
    server: ServerProcess,
) -> None:
    """The command's output would be written into the link, or break the event loop."""
    command = " ".join(argv("rshell"))
    for how, shown in (("<&-", b"out\n"), (">&-", b""), ("2>&-", b"out\n"), ("<&- >&- 2>&-", b"")):
        done = subprocess.run(
            ["/bin/sh", "-c", f"{command} -v -c 'cat; echo out; exit 7' {server.address} {how}"],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=False,
        )
        said = b"" if "2>&-" in how else b"rshell: connected to"
        assert (done.returncode, done.stdout) == (7, shown), how
        assert done.stderr.startswith(said) and bool(said) == bool(done.stderr), how


def test_a_reader_of_stderr_that_leaves_in_the_midst_ends_nothing(
    server: ServerProcess, tmp_path: Path
) -> None:
    """`rshell -c make 2> >(head -1)` killed make."""
    go, mark = tmp_path / "go", tmp_path / "mark"
    script = f"echo one >&2; until [ -e {go} ]; do sleep 0.01; done; yes | head -c 300000 >&2; "
    with begin(
        argv("rshell", "-c", f"{script} touch {mark}; echo out; exit 3", server.address),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as client:
        assert read_line(client.stderr) == b"one"
        assert client.stderr is not None and client.stdout is not None
        client.stderr.close()
        go.touch()
        assert client.stdout.read() == b"out\n"
        assert client.wait(DEADLINE) == 3
    assert mark.exists()


def test_an_object_on_a_non_blocking_stdout_is_whole(server: ServerProcess) -> None:
    """It was cut after the 64 KiB that a pipe takes at once."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with begin(
        argv("rshell", "--json", "-c", "yes | head -c 400000", server.address), stdout=writing
    ) as client:
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            shown = json.loads(pipe.read())
        assert client.wait(DEADLINE) == 0
    assert len(shown["stdout"]) == 400_000


def has_text(path: Path) -> bool:
    return path.exists() and path.read_text() != ""


def test_a_signal_ends_the_command_and_is_told_in_every_way_of_reporting(
    server: ServerProcess, tmp_path: Path
) -> None:
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGINT):
        for options in ([], ["--json"]):
            pid = tmp_path / f"{number.name}{len(options)}"
            told = tmp_path / f"told{len(options)}"
            script = f"trap 'echo 1 > {told}' INT; echo early; read x; echo $$ > {pid}; "
            script += "while :; do sleep 0.05; done"
            with begin(
                argv("rshell", *options, "-c", script, server.address),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            ) as client:
                assert client.stdin is not None
                client.stdin.write(b"which is sent once it runs\n")
                client.stdin.flush()
                until(partial(has_text, pid), "the command")
                client.send_signal(number)
                if number is signal.SIGINT:  # the first one is for the command
                    until(partial(has_text, told), "the interrupt, there")
                    client.send_signal(number)
                assert client.stdout is not None and client.stderr is not None
                shown, said = client.stdout.read(), client.stderr.read()
                assert client.wait(DEADLINE) == 128 + number, (number, options)
            await_gone(int(pid.read_text()))
            assert said == b"", (number, options)
            if options:
                seen = json.loads(shown)
                assert seen["error"] == f"ended by {number.name}"
                assert seen["outcome"] == "lost" and seen["stdout"] in ("early\n", "")


def test_a_signal_while_we_connect_is_told_too(tmp_path: Path) -> None:
    """`timeout 2 rshell --json` to a server that says nothing: no object."""
    path = tmp_path / "mute"
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(path))
        mute.listen()
        mute.settimeout(DEADLINE)
        for number in (signal.SIGTERM, signal.SIGINT):
            with begin(
                argv("rshell", "--json", "-c", "true", f"unix:{path}"),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            ) as client:
                peer, _ = mute.accept()
                with peer:
                    client.send_signal(number)
                    assert client.stdout is not None and client.stderr is not None
                    told = json.loads(client.stdout.read())
                    assert client.wait(DEADLINE) == 128 + number
                assert (told["outcome"], told["error"]) == ("refused", f"ended by {number.name}")
                assert client.stderr.read() == b""


BUSY = """\
import os, signal, sys

number = getattr(signal, sys.argv.pop())

class Slow:
    def find_spec(self, name, *_):
        if name == "asyncio.events":
            sys.meta_path.remove(self)
            os.kill(os.getpid(), number)

sys.meta_path.insert(0, Slow())
from rshell.cli.rshell import run
run()
"""


def test_a_signal_that_comes_while_we_load_is_told_too(tmp_path: Path) -> None:
    """A busy machine takes longer for the imports than some callers wait."""
    path = tmp_path / "mute"
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(path))
        mute.listen()
        for name in ("SIGTERM", "SIGINT", "SIGQUIT"):
            done = subprocess.run(
                [sys.executable, "-c", BUSY, "--json", "-c", "true", f"unix:{path}", name],
                capture_output=True,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                check=False,
            )
            assert done.returncode == 128 + getattr(signal, name), done.stderr
            assert json.loads(done.stdout)["error"] == f"ended by {name}"


NO_DEVICES = """\
import os

os.devnull = "/no/such/device"
from rshell.cli.rshell import run
run()
"""


def test_a_machine_without_dev_null_needs_it_for_nothing(server: ServerProcess) -> None:
    """A traceback; and a descriptor that is closed then fails, instead of becoming a socket."""
    for how, options, status, said in (
        ("</proc/self/maps", [], 7, b""),
        ("<&-", ["-n"], 7, b""),
        ("<&-", [], 255, b"rshell: can't read stdin: Is a directory\n"),
    ):
        arguments = [sys.executable, "-c", NO_DEVICES, *options, "-c", "cat; exit 7"]
        done = subprocess.run(
            ["/bin/sh", "-c", f'exec "$@" {how}', "sh", *arguments, server.address],
            capture_output=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=False,
        )
        assert (done.returncode, done.stderr) == (status, said), (how, options)


NO_THREADS = """\
import sys, threading

def refuse(thread):
    raise RuntimeError("can't start new thread")

threading.Thread.start = refuse
from rshell.cli.rshell import run
run()
"""


def test_an_error_that_nobody_foresaw_is_one_line_and_255(server: ServerProcess) -> None:
    """A traceback and the status 1; or, where a task that feeds the command died, no end."""
    for options in ([], ["--json"]):
        with begin(
            [sys.executable, "-c", NO_THREADS, *options, "-c", "cat; sleep 100", server.address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as client:
            assert client.stdout is not None and client.stderr is not None
            assert client.wait(DEADLINE) == 255
            out, err = client.stdout.read(), client.stderr.read()
        if options:
            assert "can't start new thread" in json.loads(out)["error"] and err == b""
        else:
            assert "can't start new thread" in only_line(err)
