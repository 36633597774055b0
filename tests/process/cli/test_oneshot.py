"""`run_oneshot` on descriptors of a child: all of it at once is in tests/process/commands."""

from __future__ import annotations

import subprocess

from rshell.channels.process.messages import ProcessEnding
from rshell.cli.oneshot import TIMEOUT_STATUS, _status
from rshell.cli.report import BROKEN_PIPE_STATUS
from rshell.values import ExitStatus
from tests.support.commands import argv, begin, read_line, run


def test_the_status_to_exit_with() -> None:
    for status, timed_out, expected in (
        (ExitStatus(code=0), False, 0),
        (ExitStatus(code=255), False, 255),
        (ExitStatus(signal="SIGTERM", signal_number=15), False, 143),
        (ExitStatus(signal="SIGTERM", signal_number=15), True, 124),
        (ExitStatus(code=0), True, 124),
    ):
        ending = ProcessEnding(status, 0, 0, duration=1.0, timed_out=timed_out)
        assert _status(ending) == expected
    assert (TIMEOUT_STATUS, BROKEN_PIPE_STATUS) == (124, 141)


def test_output_that_came_before_the_end_is_written_before_we_leave() -> None:
    done = run("--local", "-c", "head -c 3000000 /dev/zero; echo last >&2; exit 2")
    assert (len(done.stdout), done.stderr, done.returncode) == (3_000_000, b"last\n", 2)


def test_input_is_passed_on_as_it_comes() -> None:
    with begin(
        argv("rshell", "--local", "-c", "while read x; do echo got $x; done"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as client:
        assert client.stdin is not None
        for word in (b"one", b"two"):
            client.stdin.write(word + b"\n")
            client.stdin.flush()
            assert read_line(client.stdout) == b"got " + word
        client.stdin.close()
        assert client.wait(60) == 0


def test_a_command_that_ends_while_we_wait_for_input_is_not_held_up() -> None:
    with begin(
        argv("rshell", "--local", "-c", "exit 6"), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as client:
        assert client.wait(60) == 6
