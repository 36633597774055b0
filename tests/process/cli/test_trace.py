"""RSHELL_TRACE=1 in the environment of the programs."""

from __future__ import annotations

from tests.support.commands import run, serving, until


def test_both_programs_trace_their_frames_to_stderr_without_what_is_private() -> None:
    asked = {"RSHELL_TRACE": "1"}
    with serving(env=asked) as server:
        done = run(server.address, "-c", "echo private", env=asked)
        assert (done.returncode, done.stdout) == (0, b"private\n")
        until(lambda: " < GOODBYE 0 " in server.complaints(), "the server's last frame")
        logs = {"client": done.stderr.decode(), "server": server.complaints()}
    for role, log in logs.items():
        for part in (f" {role} 1 > HELLO 0 ", f" {role} 1 < HELLO 0 ", '"kind":"process"'):
            assert part in log
        assert "private" not in log
