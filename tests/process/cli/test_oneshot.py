"""`run_oneshot` on descriptors of a child: all of it at once is in tests/process/commands."""

from __future__ import annotations

import subprocess

from tests.support.commands import argv, begin, read_line, run


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
