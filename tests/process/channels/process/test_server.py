"""Commands on a real server over TLS: how they start, what they get, and every way they end."""

from __future__ import annotations

import asyncio
import hashlib
import os
import pwd
import random
import signal
from pathlib import Path
from typing import NoReturn

import pytest

from rshell import PIPE, ChannelRefused, ChannelReset, ProcessTimeout, TerminalSize
from rshell.channels.process.server import resolve_signal, user_shell
from rshell.client.client import Client
from rshell.errors import RemoteProtocolError
from rshell.transport.channel import Channel
from rshell.values import Bounds, ExitStatus
from tests.support.audit import audited, noted
from tests.support.processes import descriptors, gone, is_running
from tests.support.session import tls_session

MIB = 1024 * 1024
BRIEF = Bounds(kill_grace=0.3)
SIZE = TerminalSize(columns=100, rows=30)
STUBBORN = "trap '' TERM HUP INT; echo $$; while :; do sleep 0.05; done"


async def first_line(process: object) -> bytes:
    stdout = getattr(process, "stdout")  # noqa: B009 - a Process of any reader
    line = await stdout.readline()
    assert isinstance(line, bytes)
    return line


# How it ends.


async def test_the_exit_status_is_the_commands_own() -> None:
    async with tls_session() as client:
        for status in (0, 1, 7, 126, 127, 128, 143, 255):
            done = await client.run(f"exit {status}")
            assert (done.exit_status, done.signal) == (status, None)


async def test_a_signal_is_told_by_name_and_is_no_status() -> None:
    async with tls_session() as client:
        for name in ("SIGTERM", "SIGKILL", "SIGSEGV", "SIGHUP"):
            done = await client.run(f"kill -{name[3:]} $$")
            assert (done.exit_status, done.signal) == (None, name)
            assert done.status.shell_status == 128 + getattr(signal, name)


async def test_an_unknown_command_ends_as_in_a_shell() -> None:
    async with tls_session() as client:
        by_shell = await client.run("no-such-command")
        by_argv = await client.run(["no-such-command", "x"])
        for done in (by_shell, by_argv):
            assert done.exit_status == 127
            assert done.stdout == b""
            assert b"no-such-command" in done.stderr
        assert by_argv.stderr.startswith(b"rshell: ")
        assert by_argv.stderr.count(b"\n") == 1


async def test_what_can_not_be_executed_is_126(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    async with tls_session() as client:
        for argv in ([str(script)], [str(tmp_path)]):
            done = await client.run(argv)
            assert done.exit_status == 126
            assert done.stderr.startswith(b"rshell: ")


async def test_a_directory_that_can_not_be_entered_is_125() -> None:
    async with tls_session() as client:
        for cwd in ("/no/such/directory", "/etc/passwd", "relative/missing"):
            for command in ("pwd", ["pwd"]):
                done = await client.run(command, cwd=cwd)
                assert done.exit_status == 125, cwd
                assert done.stderr.startswith(b"rshell: can't enter ")


async def test_the_line_of_a_failed_start_is_counted_where_it_goes() -> None:
    async with tls_session() as client:
        for merge, pty in ((False, None), (True, None), (False, SIZE), (True, SIZE)):
            command = ["no-such-command"]
            async with client.open_process(command, merge_stderr=merge, terminal=pty) as process:
                stdout, stderr = await process.stdout.read(), await process.stderr.read()
                assert (await process.wait()).code == 127
                assert bool(stdout) is (merge or pty is not None), (merge, pty)
                assert bool(stderr) is not bool(stdout)


async def test_an_empty_command_is_a_whole_reply_at_once() -> None:
    async with tls_session() as client:
        for command in ("", " ", "\n", "\n\n  \n", "# a comment", ":"):
            done = await client.run(command, input=b"unread")
            assert (done.exit_status, done.stdout, done.stderr) == (0, b"", b""), command


async def test_more_commands_than_allowed_end_with_126() -> None:
    async with (
        tls_session(limits=Bounds(processes=1)) as client,
        client.open_process("cat", stdin=PIPE),
    ):
        done = await client.run("true")
        assert done.exit_status == 126
        assert b"as many as this server allows" in done.stderr


# What it gets.


async def test_it_starts_in_the_home_directory_or_where_it_is_told(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    async with tls_session() as client:
        assert (await client.run("pwd -P")).stdout == os.fsencode(Path.home().resolve()) + b"\n"
    async with tls_session(cwd=tmp_path) as client:
        for cwd, where in ((None, tmp_path), ("sub", tmp_path / "sub"), ("/", Path("/"))):
            done = await client.run(["pwd", "-P"], cwd=cwd)
            assert done.stdout == os.fsencode(where.resolve()) + b"\n"


async def test_the_environment_is_the_servers_with_what_is_added(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("INHERITED", "from the server")
    async with tls_session() as client:
        script = 'echo "$INHERITED:$ADDED:${PATH:+path}"'
        done = await client.run(script, env={"ADDED": "é \n"})
        assert done.stdout.decode() == "from the server:é \n:path\n"
        done = await client.run(["/usr/bin/env"], env={"ONLY": "this"}, clear_env=True)
        assert done.stdout == b"ONLY=this\n"


async def test_arguments_of_any_bytes_arrive_as_they_are() -> None:
    odd = bytes(range(1, 256))
    async with tls_session() as client:
        argv = ["printf", "%s|", os.fsdecode(odd), "", "-n", "two words", "*"]
        assert (await client.run(argv)).stdout == odd + b"||-n|two words|*|"
        done = await client.run("printf %s " + os.fsdecode(b"'\xff\xfe'"))
        assert done.stdout == b"\xff\xfe"


async def test_a_nul_byte_is_refused_and_not_cut_off() -> None:
    async with tls_session() as client:
        for command in (["echo", "a\0b"], "echo a\0b"):
            done = await client.run(command)
            assert done.exit_status == 126
            assert done.stdout == b""
            assert done.stderr.startswith(b"rshell: ")
        assert (await client.run("echo", env={"A": "a\0b"})).exit_status == 126
        assert (await client.run("echo", cwd="/a\0b")).exit_status in (125, 126)


async def test_stdin_passes_through_unchanged() -> None:
    data = random.Random(3).randbytes(5 * MIB)
    async with tls_session() as client:
        done = await client.run("cat", input=data)
        assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(data).digest()


async def test_without_input_stdin_is_empty() -> None:
    async with tls_session() as client:
        assert (await client.run("cat; echo end")).stdout == b"end\n"
        assert (await client.run("cat; echo end", input=b"")).stdout == b"end\n"


async def test_without_a_command_the_shell_reads_its_stdin() -> None:
    async with (
        tls_session() as client,
        client.open_process(None, stdin=PIPE) as process,
    ):
        assert process.stdin is not None
        await process.stdin.write(b"x=5\necho $x\nexit $x\n")
        await process.stdin.close()
        assert await process.stdout.read() == b"5\n"
        assert (await process.wait()).code == 5


async def test_a_command_that_closes_its_stdin_breaks_the_pipe_of_the_writer() -> None:
    async with (
        tls_session() as client,
        client.open_process("exec 0<&-; echo closed; exec sleep 100", stdin=PIPE) as process,
    ):
        assert process.stdin is not None
        assert await first_line(process) == b"closed\n"
        with pytest.raises(BrokenPipeError):
            while True:
                await process.stdin.write(bytes(64 * 1024))
        with pytest.raises(BrokenPipeError):
            await process.stdin.write(b"x")
        process.send_signal("SIGTERM")
        assert (await process.wait()).signal == "SIGTERM"


async def test_a_command_that_ignores_its_input_ends_all_the_same() -> None:
    async with tls_session() as client:
        assert (await client.run("true", input=bytes(8 * MIB))).exit_status == 0
        done = await client.run("head -c 10", input=b"x" * 8 * MIB)
        assert done.stdout == b"x" * 10


# Its output.


async def test_a_hundred_megabytes_arrive_unchanged() -> None:
    size = 100_000_000
    digest = hashlib.sha256()
    async with (
        tls_session() as client,
        client.open_process(f"yes rshell | head -c {size}") as process,
    ):
        async for block in process.stdout:
            digest.update(block)
        assert (await process.wait()).code == 0
    whole = (b"rshell\n" * (size // 7 + 1))[:size]
    assert digest.digest() == hashlib.sha256(whole).digest()


async def test_both_streams_flooding_at_once_are_whole_and_separate() -> None:
    script = "yes out | head -c 8000000 & yes err | head -c 8000000 >&2; wait"
    async with tls_session() as client:
        done = await client.run(script)
        assert done.stdout == (b"out\n" * 2_000_000)
        assert done.stderr == (b"err\n" * 2_000_000)


async def test_the_order_within_each_stream_is_kept() -> None:
    script = "i=0; while [ $i -lt 500 ]; do echo o$i; echo e$i >&2; i=$((i+1)); done"
    async with tls_session() as client:
        done = await client.run(script)
        assert done.stdout.split() == [b"o%d" % i for i in range(500)]
        assert done.stderr.split() == [b"e%d" % i for i in range(500)]
        merged = await client.run(script, merge_stderr=True)
        assert merged.stderr == b""
        assert merged.stdout.split() == [
            word for i in range(500) for word in (b"o%d" % i, b"e%d" % i)
        ]


async def test_a_background_child_does_not_hold_the_answer() -> None:
    async with tls_session() as client:
        done = await client.run("sleep 100 & echo $!")
        assert done.exit_status == 0
        assert done.held_open
        sleeper = int(done.stdout)
        assert is_running(sleeper)
        os.kill(sleeper, signal.SIGKILL)
        assert not (await client.run("echo hi")).held_open


async def test_a_reader_that_stops_stops_the_command_and_not_the_session() -> None:
    async with (
        tls_session() as client,
        client.open_process("yes") as process,
    ):
        first = await process.stdout.read(1000)
        assert first == b"y\n" * 500
        for _ in range(20):
            assert (await client.run("echo hi")).stdout == b"hi\n"
        assert process.stdout.size <= Bounds().window


# Its end by others.


TIMES = (0.5, 2.0, 8.0)  # how long a command has, the more the busier the machine


async def timed_out(client: Client, command: str) -> ProcessTimeout:
    """Return how a command, whose last word is "end", ran out of time after it had spoken."""
    for timeout in TIMES:
        with pytest.raises(ProcessTimeout) as caught:
            await client.run(command, timeout=timeout)
        assert caught.value.timeout == timeout
        if b"end\n" in caught.value.stdout:
            break
    return caught.value


async def test_a_timeout_ends_the_group_and_tells_what_there_was() -> None:
    async with tls_session(limits=BRIEF) as client:
        error = await timed_out(client, "sleep 100 & echo err >&2; echo $$ $! end; wait")
        assert isinstance(error, TimeoutError)
        assert error.stderr == b"err\n"
        for pid in error.stdout.split()[:2]:
            await gone(int(pid))


async def test_a_timeout_reaches_a_command_that_ignores_sigterm() -> None:
    async with tls_session(limits=BRIEF) as client:
        error = await timed_out(client, "trap '' TERM HUP INT; echo $$ end; exec sleep 100")
        await gone(int(error.stdout.split()[0]))


async def test_wait_raises_the_timeout_too() -> None:
    async with (
        tls_session(limits=BRIEF) as client,
        client.open_process("exec sleep 100", timeout=0.1) as process,
    ):
        with pytest.raises(ProcessTimeout):
            await process.wait()
        ending = await process.wait_ending()
        assert ending.timed_out
        assert ending.status.signal == "SIGTERM"


async def test_a_command_faster_than_its_timeout_is_not_touched() -> None:
    async with tls_session() as client:
        assert (await client.run("echo hi", timeout=100)).stdout == b"hi\n"


# Its output waits for a reader when it has exited: more than a window, less than window and pipe.
WAITING = Bounds(window=64 * 1024)
MORE = 64 * 1024 + 30_000


async def test_a_command_that_was_in_time_is_not_late_because_its_reader_is() -> None:
    now = asyncio.get_running_loop().time
    async with tls_session(limits=WAITING) as client:
        for timeout in TIMES:
            began = now()
            command = f"head -c {MORE} /dev/zero"
            async with client.open_process(command, timeout=timeout) as process:
                await gone(process.pid)
                if now() - began > timeout / 2 and timeout != TIMES[-1]:
                    continue  # a busy machine: it was hardly in time
                with pytest.raises(ProcessTimeout):  # by then the time of the first has passed too
                    await client.run("exec sleep 100", timeout=timeout)
                assert len(await process.stdout.read()) == MORE
                assert await process.wait() == ExitStatus(code=0)
                return


async def test_a_command_whose_output_nobody_wants_has_its_end_in_the_log() -> None:
    async with tls_session(limits=WAITING) as client:
        async with client.open_process(f"head -c {MORE} /dev/zero; exit 3") as process:
            await gone(process.pid)
            assert (await client.run("true")).exit_status == 0  # the server has seen it, too
        await noted("ended", 2)
        [ended] = [line for line in audited("ended") if "cut_short" in line]
        assert (ended["exit_status"], ended["stdout"] <= MORE) == (3, True)
        assert ended["duration"] > 0


async def test_cancelling_ends_grandchildren_too(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    os.mkfifo(pids)
    script = f"sh -c 'sleep 100 & sleep 100 & echo $$ $! > {pids}; wait' & wait"
    async with tls_session(limits=BRIEF) as client:
        running = asyncio.ensure_future(client.run(script))
        with await asyncio.to_thread(pids.open, "rb") as file:
            found = [int(pid) for pid in (await asyncio.to_thread(file.read)).split()]
        assert len(found) == 2
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        for pid in found:
            await gone(pid)


async def test_leaving_the_block_ends_what_still_runs() -> None:
    async with tls_session(limits=BRIEF) as client:
        async with client.open_process(STUBBORN) as process:
            pid = int(await first_line(process))
            assert process.pid == pid
        await gone(pid)


async def test_a_client_that_goes_takes_its_commands_with_it() -> None:
    async with tls_session(limits=BRIEF) as client:
        pids = []
        for command in ("exec sleep 100", STUBBORN):
            process = await client.open_process("echo $$; " + command, stdin=PIPE)
            pids.append(int(await first_line(process)))
        await client.close()
        for pid in pids:
            await gone(pid)


async def test_a_client_that_goes_amid_a_flood_leaves_nothing() -> None:
    async with tls_session(limits=BRIEF) as client:
        process = await client.open_process("echo $$; exec yes", stdin=PIPE)
        pid = int(await first_line(process))
        assert process.stdin is not None
        writing = asyncio.ensure_future(process.stdin.write(bytes(4 * MIB)))
        await process.stdout.readexactly(4 * MIB)
        await client.close()
        await gone(pid)
        await asyncio.wait([writing])
        assert writing.exception() is not None


async def test_signals_reach_the_whole_group() -> None:
    script = "trap 'echo got it; exit 3' USR1; echo ready; while :; do sleep 0.02; done"
    async with tls_session() as client, client.open_process(script) as process:
        assert await first_line(process) == b"ready\n"
        process.send_signal(signal.SIGUSR1)
        assert await process.stdout.read() == b"got it\n"
        assert (await process.wait()).code == 3
        process.send_signal("SIGTERM")  # harmless now


async def test_a_message_that_makes_no_sense_ends_the_command() -> None:
    async with tls_session(limits=BRIEF) as client:
        for message in (
            {"type": "signal", "name": "SIGNONE"},
            {"type": "signal", "name": "SIG_DFL"},
            {"type": "signal", "name": "Signals"},
            {"type": "signal"},
            {"type": 5},
            {},
        ):
            request = {"command": "echo $$; exec sleep 100"}
            async with client.open_channel("process", request) as channel:
                pid = int(await channel.stream(1).readline())
                channel.send_message(message)
                await channel.wait_closed()
                assert isinstance(channel.error, ChannelReset), message
                assert channel.error.code == "bad-message"
                await gone(pid)
        assert (await client.run("echo hi")).stdout == b"hi\n"


async def test_a_request_that_makes_no_sense_is_refused() -> None:
    async with tls_session() as client:
        for request in (
            {"command": "true", "argv": ["true"]},
            {"command": 5},
            {"argv": "true"},
            {"argv": [1]},
            {"terminal": {"columns": 0, "rows": 5}},
            {"command": "true", "timeout": -1},
            {"command": "true", "env": {"A": 1}},
            {"command": "true", "stdin": "yes"},
        ):
            with pytest.raises(ChannelRefused) as caught:
                await client.open_channel("process", request)
            assert caught.value.code == "bad-request", request
        assert (await client.run("echo hi")).stdout == b"hi\n"


# Terminals.


async def on_terminal(client: Client, script: str) -> bytes:
    async with client.open_process(script, terminal=SIZE, term="vt100") as process:
        output = await process.stdout.read()
        assert (await process.wait()).code == 0
        assert isinstance(output, bytes)
        return output


async def test_a_terminal_is_one_of_the_right_size_and_type() -> None:
    async with tls_session() as client:
        script = "test -t 0 && test -t 1 && test -t 2 && stty size && echo $TERM && tty"
        lines = (await on_terminal(client, script)).split()
        assert lines[:3] == [b"30", b"100", b"vt100"]
        assert lines[3].startswith(b"/dev/")
        script = "echo yes > /dev/tty; ps -o sid= -p $$ >/dev/null; echo $$"
        assert (await on_terminal(client, script)).startswith(b"yes\r\n")


async def test_a_new_size_is_told_to_the_command() -> None:
    script = "trap 'stty size; exit 0' WINCH; echo ready; while :; do sleep 0.02; done"
    async with tls_session() as client, client.open_process(script, terminal=SIZE) as process:
        assert await first_line(process) == b"ready\r\n"
        process.resize(TerminalSize(columns=132, rows=50))
        assert await process.stdout.read() == b"50 132\r\n"


async def test_ctrl_c_is_a_byte_that_interrupts() -> None:
    async with (
        tls_session() as client,
        client.open_process("echo ready; exec sleep 100", terminal=SIZE) as process,
    ):
        assert process.stdin is not None
        assert await first_line(process) == b"ready\r\n"
        await process.stdin.write(b"\x03")
        assert (await process.wait()).signal == "SIGINT"


async def test_the_end_of_input_is_the_end_of_file_in_a_terminal_too() -> None:
    async with tls_session() as client, client.open_process("cat", terminal=SIZE) as process:
        assert process.stdin is not None
        await process.stdin.write(b"typed\n")
        await process.stdin.close()
        assert await process.stdout.read() == b"typed\r\ntyped\r\n"
        assert (await process.wait()).code == 0


async def test_resizing_a_terminal_that_its_command_has_closed_harms_nobody() -> None:
    script = (
        "trap 'exit 4' TERM; echo $$; exec </dev/null >/dev/null 2>&1; while :; do sleep 0.02; done"
    )
    async with tls_session() as client, client.open_process(script, terminal=SIZE) as process:
        assert (await first_line(process)).strip().isdigit()
        # Sooner or later the server reads the end of the terminal, and must not use it then.
        for _ in range(20):
            await client.run("true")
            process.resize(TerminalSize(columns=132, rows=50))
        assert (await client.run("echo hi")).stdout == b"hi\n"
        process.send_signal("SIGTERM")
        assert (await process.wait()).code == 4


# Leaks, and small pieces.


async def test_fifty_commands_leave_no_descriptor() -> None:
    async with tls_session() as client:
        await client.run("true")
        before = descriptors()
        for number in range(10):
            await client.run("echo x", input=b"y")
            await client.run(["no-such-command"])
            await client.run("true", cwd="/no/such/directory")
            await on_terminal(client, f"echo {number}")
            async with client.open_process("exec sleep 100") as process:
                process.send_signal("SIGKILL")
                await process.wait()
        assert descriptors() == before


async def test_a_hundred_commands_at_once() -> None:
    async with tls_session() as client:
        done = await asyncio.gather(*(client.run(f"echo {n}; exit {n}") for n in range(100)))
        assert [(one.stdout, one.exit_status) for one in done] == [
            (b"%d\n" % n, n) for n in range(100)
        ]


async def test_a_command_whose_caller_gives_up_before_it_starts_is_never_left() -> None:
    async with tls_session(limits=BRIEF) as client:
        for passes in range(8):
            running = asyncio.ensure_future(client.run("exec sleep 100"))
            for _ in range(passes):
                await asyncio.sleep(0)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
        assert (await client.run("echo hi")).stdout == b"hi\n"


async def test_the_input_of_a_command_that_is_reset_makes_no_noise(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with tls_session(limits=BRIEF) as client:
        request = {"command": "cat", "stdin": True}
        channel: Channel
        async with client.open_channel("process", request) as channel:
            await channel.write(b"some")
            assert await channel.stream(1).readexactly(4) == b"some"
            channel.reset("cancelled", "changed my mind")
        assert (await client.run("echo hi")).stdout == b"hi\n"
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_the_shell_is_the_users_or_that_of_the_entry_or_sh(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "shell"
    broken.touch(mode=0o600)
    own = tmp_path / "of-the-entry"
    own.touch(mode=0o700)
    entry = pwd.struct_passwd(("me", "x", 1, 1, "", "/", str(own)))
    monkeypatch.setattr(pwd, "getpwuid", lambda _: entry)
    assert user_shell({"SHELL": "/bin/sh"}) == "/bin/sh"
    for shell in ("", "/no/such/shell", str(broken)):
        assert user_shell({"SHELL": shell}) == str(own)
    assert user_shell({}) == str(own)
    own.chmod(0o600)
    assert user_shell({}) == "/bin/sh"

    def nobody(_: int) -> NoReturn:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    assert user_shell({}) == "/bin/sh"


def test_signals_are_found_by_name_alone() -> None:
    assert resolve_signal("SIGINT") is signal.SIGINT
    for name in ("INT", "SIG_IGN", "SIGNONE", "Signals", "", "signal"):
        with pytest.raises(RemoteProtocolError):
            resolve_signal(name)
