"""Starting commands: descriptors, environment, directories, terminals, and each way to fail."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from rshell.errors import SpawnError
from rshell.execution.pipes import output_pipe
from rshell.execution.spawn import Command, spawn
from rshell.values import ExitStatus, TerminalSize
from tests.support.execution import (
    DEADLINE,
    Output,
    command,
    finish,
    no_leak,
    on_terminal,
    piped,
    script,
)


def refused(what: Command, *, terminal: bool = False) -> SpawnError:
    with no_leak(), pytest.raises(SpawnError) as caught:
        if terminal:
            master, slave = os.openpty()
        else:
            master, slave = os.pipe()
        try:
            spawn(what, stdin=slave, stdout=slave, stderr=slave, terminal=terminal)
        finally:
            os.close(master)
            os.close(slave)
    return caught.value


async def test_output_directory_environment_and_status(tmp_path: Path) -> None:
    with no_leak():
        what = command(
            "/bin/sh", "-c", 'pwd; echo "$A"; exit 7', cwd=str(tmp_path), env={"A": "1 2"}
        )
        async with piped(what) as (process, source, output):
            assert await finish(process, source, output) == ExitStatus(code=7)
            assert output.text == f"{tmp_path}\n1 2\n".encode()
            assert source.bytes_read == len(output.text)
            assert not source.held_open


async def test_the_command_leads_its_own_session_and_group() -> None:
    async with piped(script("echo go; sleep 100")) as (process, _, output):
        await output.until(b"go")
        assert os.getsid(process.pid) == os.getpgid(process.pid) == process.pid


async def test_only_the_passed_descriptors_are_open_in_the_command() -> None:
    ours, theirs = output_pipe()
    extra, other = os.pipe()
    output = Output()
    source = output.source(ours)
    os.set_inheritable(other, True)
    null = os.open(os.devnull, os.O_RDWR)
    process = spawn(
        command("ls", "/proc/self/fd"),
        stdin=null,
        stdout=theirs,
        stderr=null,
        pass_fds=[extra],
    )
    for fd in (theirs, null):
        os.close(fd)
    await finish(process, source, output)
    names = set(output.text.split())
    # `ls` itself opens one for the listing.
    assert {b"0", b"1", b"2", str(extra).encode()} <= names
    assert len(names) == 5
    assert str(other).encode() not in names
    os.close(extra)
    os.close(other)


async def test_a_relative_program_is_found_from_the_commands_directory(tmp_path: Path) -> None:
    tool = tmp_path / "tool"
    tool.write_text("#!/bin/sh\necho found\n")
    tool.chmod(0o755)
    for what in (
        command("./tool", cwd=str(tmp_path)),
        command("tool", cwd=str(tmp_path), env={"PATH": ""}),
        command("tool", cwd="/", env={"PATH": f"/nowhere:{tmp_path}"}),
    ):
        async with piped(what) as (process, source, output):
            assert await finish(process, source, output) == ExitStatus(code=0)
            assert output.text == b"found\n"


@pytest.mark.parametrize("terminal", [False, True])
async def test_each_failure_has_the_status_a_shell_would_give(
    tmp_path: Path, terminal: bool
) -> None:
    plain = tmp_path / "plain"
    plain.write_text("echo no\n")
    broken = tmp_path / "broken"
    broken.write_text("#!/no/such/interpreter\n")
    broken.chmod(0o755)
    expected = [
        (command("no-such-program-anywhere"), 127),
        (command("/no/such/program"), 127),
        (command(""), 127),
        (Command((), None, {}), 127),
        (command(str(plain)), 126),
        (command(str(tmp_path)), 126),
        (command(f"{plain}/x"), 127),
        (command("nul\0byte"), 126),
        (command("true", "nul\0byte"), 126),
        (command("true", "lone \ud800 surrogate"), 126),
        (command("true", env={"A=B": "1", "PATH": os.environ["PATH"]}), 126),
        (command("true", cwd="/no/such/directory"), 125),
        (command("true", cwd=str(plain)), 125),
        (command("true", "x" * 10_000_000), 126),
    ]
    if not terminal:
        expected.append((command(str(broken)), 126))
    for what, status in expected:
        error = refused(what, terminal=terminal)
        assert error.status == status, f"{what.argv[:1]}: {error}"


async def test_a_script_without_an_interpreter_line_says_so(tmp_path: Path) -> None:
    tool = tmp_path / "tool"
    tool.write_text("echo no\n")
    tool.chmod(0o755)
    error = refused(command(str(tool)))
    assert error.status == 126
    assert "#!" in str(error)


async def test_the_slave_becomes_the_controlling_terminal() -> None:
    with no_leak():
        what = script("tty; stty size; echo via-dev-tty >/dev/tty; exit 3")
        size = TerminalSize(columns=101, rows=37)
        async with on_terminal(what, size) as (process, source, output, _):
            assert await finish(process, source, output) == ExitStatus(code=3)
            lines = output.text.decode().split()
            assert lines[0].startswith("/dev/")
            assert lines[1:] == ["37", "101", "via-dev-tty"]


async def test_control_c_on_the_terminal_is_sigint() -> None:
    async with on_terminal(script("echo go; exec sleep 100")) as (process, source, output, master):
        await output.until(b"go")
        os.write(master, b"\x03")
        assert await finish(process, source, output) == ExitStatus(
            signal="SIGINT", signal_number=signal.SIGINT
        )


@pytest.mark.parametrize("name", ["SIGHUP", "SIGINT", "SIGQUIT", "SIGTSTP"])
async def test_a_signal_ignored_here_is_not_ignored_in_commands(name: str) -> None:
    """nohup, and & in a script, start a program so: no Ctrl-C would ever reach its commands."""
    number = signal.Signals[name]
    before = signal.signal(number, signal.SIG_IGN)
    try:
        for context in (piped, on_terminal):
            async with context(command("grep", "SigIgn", "/proc/self/status")) as running:
                process, source, output = running[:3]
                await finish(process, source, output)
                ignored = int(output.text.split()[-1], 16)
                assert not ignored >> (number - 1) & 1
        assert signal.getsignal(number) is signal.SIG_IGN  # here it still is
    finally:
        signal.signal(number, before)


async def test_a_terminal_keeps_variables_that_sh_would_drop() -> None:
    env = {"PATH": os.environ["PATH"], "a.b": "1", "BASH_FUNC_f%%": "() { echo x\n}", "C": "é"}
    async with on_terminal(command("env", env=env)) as (process, source, output, _):
        assert await finish(process, source, output) == ExitStatus(code=0)
        lines = output.text.decode().splitlines()
        assert {"a.b=1", "BASH_FUNC_f%%=() { echo x", "C=é"} <= set(lines)


async def test_a_hangup_of_the_master_ends_the_program_on_the_terminal() -> None:
    async with on_terminal(script("echo go; exec sleep 100")) as (process, source, output, master):
        await output.until(b"go")
        source.close()
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, master)  # the last descriptor of the master is gone
        os.close(null)
        async with asyncio.timeout(DEADLINE):
            assert (await process.wait()).signal == "SIGHUP"


async def test_the_program_sees_its_own_name_and_arguments() -> None:
    for context in (piped, on_terminal):
        what = command("printf", "%s|", "a b", "-c", "", "$HOME", "é")
        async with context(what) as running:
            process, source, output = running[:3]
            await finish(process, source, output)
            assert output.text == "a b|-c||$HOME|é|".encode()
