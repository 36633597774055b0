"""The process of the user's own shell: what it is given, what is taken back, what it leaves."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

from rshell.aio import timeout
from rshell.channels.base import Context
from rshell.channels.shell.messages import ShellPrompt
from rshell.channels.shell.native.native_process import NativeProcess
from rshell.channels.shell.native.startup import native_kind
from rshell.channels.shell.recipe import Report
from rshell.transport.channel import Channel
from rshell.values import ExitStatus, TerminalSize
from tests.support.execution import no_leak
from tests.support.session import tls_session

SIZE = TerminalSize(80, 24)


class Running:
    """A shell, with what it said and a way to wait for more."""

    def __init__(self, shell: NativeProcess) -> None:
        self.shell = shell
        self.said: asyncio.Queue[Report | ExitStatus] = asyncio.Queue()
        self.prompts: list[ShellPrompt] = []
        self.notices: list[str] = []
        shell.on_report = self.said.put_nowait
        shell.on_death = self.said.put_nowait
        shell.on_prompt = self.prompts.append
        shell.on_notice = self.notices.append

    async def run(self, number: int, command: str) -> Report | ExitStatus:
        """Run a command; return what the shell said of it."""
        self.shell.run(number, command, 0)
        return await self.said.get()


async def on_shell(act: Callable[[Running], Awaitable[None]], program: str = "/bin/bash") -> bytes:
    """Let `act` use a shell inside a server; return what the client got."""
    outcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def serve(channel: Channel, context: Context) -> None:
        channel.accept()
        kind = native_kind(program)
        assert kind is not None
        shell = await NativeProcess.start(
            context,
            kind,
            program,
            context.cwd,
            context.environment,
            channel,
            SIZE,
            login=False,
        )
        channel.on_room = shell.resume
        running = Running(shell)
        shell.resume()
        try:
            async with timeout(30):
                await act(running)
        except BaseException as error:
            outcome.set_exception(error)
        else:
            outcome.set_result(None)
        finally:
            shell.close()
            shell.close()
            await shell.process.end(0)
            shell.release()
            shell.release()

    async with (
        tls_session(handlers={"test": serve}) as client,
        client.open_channel("test") as channel,
    ):
        printed = await channel.stream(1).read()
        await outcome
        return printed


async def test_lines_are_run_and_their_ending_and_the_prompt_told(tmp_path: Path) -> None:
    async def act(running: Running) -> None:
        first = await running.said.get()
        assert isinstance(first, Report) and first.number == 0
        assert running.prompts and not running.notices
        done = await running.run(1, f"cd {tmp_path}; echo here; (exit 5)")
        assert isinstance(done, Report)
        assert (done.number, done.status, done.cwd) == (1, 5, str(tmp_path))
        assert await running.run(2, "exit 7") == ExitStatus(code=7)

    with no_leak():
        assert b"here\r\n" in await on_shell(act)


async def test_a_line_that_waits_behind_a_question_can_be_taken_back(tmp_path: Path) -> None:
    async def act(running: Running) -> None:
        await running.said.get()
        asked = tmp_path / "asked"
        os.mkfifo(asked)
        await running.run(1, f"_f() {{ cat {asked}; }}; complete -F _f foo")
        asking = asyncio.create_task(running.shell.ask("complete", 1, "foo a"))
        writer = await asyncio.to_thread(os.open, asked, os.O_WRONLY)  # the question is at work
        running.shell.run(2, f"touch {tmp_path}/ran", 0)
        assert not running.shell.withdraw(1)
        assert running.shell.withdraw(2)
        assert not running.shell.withdraw(2)
        os.close(writer)
        await asking
        done = await running.run(3, "(exit 3)")
        assert isinstance(done, Report) and (done.number, done.status) == (3, 3)
        assert not running.shell.withdraw(3)
        assert not (tmp_path / "ran").exists()

    await on_shell(act)


async def test_signals_and_interrupts_go_to_what_has_the_terminal(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    async def act(running: Running) -> None:
        await running.said.get()
        for number, status in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
            running.shell.run(1, f"sh -c 'echo begun > {fifo}; exec sleep 1000'", 0)
            assert await asyncio.to_thread(fifo.read_bytes) == b"begun\n"
            if number == signal.SIGINT:
                running.shell.interrupt(1)
            else:
                running.shell.signal(number, 1)
            said = await running.said.get()
            assert isinstance(said, Report) and said.status == status

    await on_shell(act)


async def test_a_line_that_an_interrupt_overtakes_is_run_once_all_the_same(tmp_path: Path) -> None:
    async def act(running: Running) -> None:
        await running.said.get()
        pid = running.shell.process.pid
        assert await running.run(1, "true")
        for number in (2, 3):
            os.kill(pid, signal.SIGSTOP)
            running.shell.run(number, f"echo {number} >> {tmp_path}/ran; (exit {number})", 0)
            os.kill(pid, signal.SIGINT)
            os.kill(pid, signal.SIGCONT)
            said = await running.said.get()
            assert isinstance(said, Report) and (said.number, said.status) == (number, number)
        assert (tmp_path / "ran").read_text() == "2\n3\n"

    await on_shell(act)


async def test_what_was_told_before_a_report_is_void_and_a_report_that_is_none_skipped() -> None:
    async def act(running: Running) -> None:
        await running.said.get()
        lines = (
            r"""printf 'go 9\0line\0007\0exit 9\0' >"$__rs_dir/in" """,
            r"""printf 'S\0008\0²\0im\0emacs\0/\0\0\0001\0001\0' >"$__rs_dir/out" """,
            "(exit 3)",
        )
        for number, line in enumerate(lines, 1):
            said = await running.run(number, line)
            assert isinstance(said, Report) and said.status == (3 if number == 3 else 0)

    await on_shell(act)


async def test_a_program_that_is_no_shell_has_the_terminal_and_says_so() -> None:
    async def act(running: Running) -> None:
        assert running.shell.stdin is not None
        await running.shell.stdin.write(b"echoed\n\x04")
        assert await running.said.get() == ExitStatus(code=0)
        assert len(running.notices) == 1 and not running.prompts

    with no_leak():
        assert await on_shell(act, "/bin/cat") == b"echoed\r\nechoed\r\n"


async def test_a_shell_that_is_closed_while_it_starts_leaves_nothing(tmp_path: Path) -> None:
    async def act(running: Running) -> None:
        running.shell.run(1, "echo never", 0)

    with no_leak():
        await on_shell(act)
