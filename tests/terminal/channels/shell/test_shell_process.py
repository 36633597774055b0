"""One shell process and its pipes: reports after output, death, and what it leaves behind.

And which process is behind a shell, and how one is ended.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from rshell.channels.base import Context
from rshell.channels.shell.messages import ShellRequest
from rshell.channels.shell.native.native_process import NativeProcess
from rshell.channels.shell.recipe import Report, ShellRecipe
from rshell.channels.shell.shell_process import ShellProcess, end_process, start_process
from rshell.errors import SpawnError
from rshell.transport.channel import Channel
from rshell.values import ExitStatus, TerminalSize
from tests.support.session import tls_session

MIB = 1024 * 1024


class Running:
    """A shell process, with what it said and a way to wait for more."""

    def __init__(self, shell: ShellProcess, recipe: ShellRecipe) -> None:
        self.shell = shell
        self.recipe = recipe
        self.said: asyncio.Queue[Report | ExitStatus] = asyncio.Queue()
        shell.on_report = self.said.put_nowait
        shell.on_death = self.said.put_nowait

    async def run(self, number: int, command: str) -> Report | ExitStatus:
        """Run a command; return what the shell said of it."""
        self.shell.say(self.recipe.run(number, command, 0))
        return await self.said.get()


Act = Callable[[Running, Channel], Awaitable[None]]


async def on_shell(act: Act, *, stdin: bool = False) -> tuple[bytes, bytes]:
    """Let `act` use a shell inside a server; return what the client got on both streams."""
    outcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def serve(channel: Channel, context: Context) -> None:
        channel.accept()
        recipe = ShellRecipe.choose(context.environment["SHELL"], terminal=False)
        shell = await ShellProcess.start(
            context,
            recipe,
            context.cwd,
            context.environment,
            channel,
            stdin=stdin,
            terminal=None,
        )
        channel.on_room = shell.resume
        shell.resume()
        running = Running(shell, recipe)
        try:
            first = await running.said.get()
            assert isinstance(first, Report)
            assert (first.number, first.status, first.cwd) == (0, 0, context.cwd)
            await act(running, channel)
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
        stdout = asyncio.ensure_future(channel.stream(1).read())
        stderr = await channel.stream(2).read()
        await outcome
        return await stdout, stderr


async def test_a_report_comes_after_the_output_before_it(program: str) -> None:
    async def act(running: Running, channel: Channel) -> None:
        report = await running.run(1, f"head -c {3 * MIB} /dev/zero; echo err >&2; (exit 5)")
        assert isinstance(report, Report)
        assert (report.number, report.status) == (1, 5)
        assert running.shell.counts == {1: 3 * MIB, 2: 4}

    assert await on_shell(act) == (bytes(3 * MIB), b"err\n")


async def test_a_background_job_that_goes_on_printing_can_not_hold_the_report(
    program_with_jobs: str,
) -> None:
    async def act(running: Running, channel: Channel) -> None:
        report = await running.run(1, "while :; do echo x; done & echo $!")
        assert isinstance(report, Report)
        assert report.status == 0
        killed = await running.run(2, "kill -9 $!")
        assert isinstance(killed, Report)

    stdout, _ = await on_shell(act)
    assert stdout


async def test_the_death_comes_after_the_last_output(program: str) -> None:
    async def act(running: Running, channel: Channel) -> None:
        assert await running.run(1, "echo last words; exit 7") == ExitStatus(code=7)
        assert running.shell.counts[1] == len(b"last words\n")
        assert running.shell.process.exit_status == ExitStatus(code=7)
        running.shell.say(b"echo nobody reads this\n")

    stdout, _ = await on_shell(act)
    assert stdout == b"last words\n"


async def test_a_shell_that_is_closed_while_it_is_interrupted_interrupts_nothing_later(
    program_with_jobs: str,
) -> None:
    """Its pipes stay open until it has ended, and its report may still come."""

    async def act(running: Running, channel: Channel) -> None:
        await running.run(1, "sleep 100 &")  # what an interrupt would go after, again and again
        shell = running.shell
        shell.signal(signal.SIGINT, 1)
        shell.close()
        shell._receive_report(b"130 2 hi /\0")
        assert shell._rest_timer is None

    await on_shell(act)


async def test_an_interrupt_is_reported_under_its_number(program: str, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    async def act(running: Running, channel: Channel) -> None:
        # The child itself tells that it runs: a signal between its fork and exec would be lost.
        command = f"sh -c 'echo begun > {fifo}; exec sleep 100'; echo not reached"
        running.shell.say(running.recipe.run(1, command, 0))
        assert await asyncio.to_thread(fifo.read_bytes) == b"begun\n"
        running.shell.interrupt(1)
        report = await running.said.get()
        assert isinstance(report, Report)
        assert report.number == 1
        assert report.status != 0
        after = await running.run(2, "echo on")
        while isinstance(after, Report) and after.number == 1:
            after = await running.said.get()  # it is asked twice, and may answer twice
        assert isinstance(after, Report)
        assert (after.number, after.status) == (2, 0)

    assert (await on_shell(act))[0] == b"on\n"


async def test_input_goes_to_commands_and_not_to_the_shell(program: str) -> None:
    async def act(running: Running, channel: Channel) -> None:
        assert running.shell.stdin is not None
        await running.shell.stdin.write(b"exit 9\n")
        report = await running.run(1, 'read -r line; echo "<$line>"')
        assert isinstance(report, Report)
        assert report.status == 0
        assert running.shell.take_unread() == b""

    assert (await on_shell(act, stdin=True))[0] == b"<exit 9>\n"


async def test_closing_amid_a_flood_leaves_nothing(program: str) -> None:
    async def act(running: Running, channel: Channel) -> None:
        assert running.shell.stdin is None
        running.shell.say(running.recipe.run(1, "while :; do echo flood; done", 0))
        running.shell.say(b"x" * MIB)  # more than the pipe takes: the writer still waits

    await on_shell(act)


async def test_a_signal_ends_the_shell_whose_death_tells_which(program: str) -> None:
    async def act(running: Running, channel: Channel) -> None:
        running.shell.signal(signal.SIGKILL, 0)
        death = await running.said.get()
        assert isinstance(death, ExitStatus)
        assert death.signal == "SIGKILL"

    await on_shell(act)


async def test_a_directory_that_is_missing_is_a_spawn_error() -> None:
    failed: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()

    async def serve(channel: Channel, context: Context) -> None:
        recipe = ShellRecipe.choose("/bin/sh", terminal=False)
        with pytest.raises(SpawnError) as caught:
            await ShellProcess.start(
                context,
                recipe,
                "/no/such",
                context.environment,
                channel,
                stdin=False,
                terminal=None,
            )
        failed.set_result(caught.value)
        channel.refuse("failed", "as it should")

    async with tls_session(handlers={"test": serve}) as client:
        with pytest.raises(Exception, match="as it should"):
            await client.open_channel("test")
        assert isinstance(await failed, SpawnError)


SIZE = TerminalSize(80, 24)


@pytest.mark.parametrize(
    ("program", "size", "kind"),
    [
        ("/bin/bash", SIZE, NativeProcess),
        ("/bin/bash", None, ShellProcess),
        ("/bin/sh", SIZE, ShellProcess),
        ("/bin/cat", SIZE, NativeProcess),  # it has the terminal as it is
    ],
)
async def test_the_users_own_shell_is_for_terminals_alone(
    program: str, size: TerminalSize | None, kind: type
) -> None:
    async def serve(channel: Channel, context: Context) -> None:
        channel.accept()
        shell = await start_process(
            context, ShellRequest(), program, "/", context.environment, channel, size
        )
        shell.resume()
        is_right = isinstance(shell, kind)
        shell.close()
        status = await end_process(shell, 5.0)
        channel.write_nowait(f"{is_right} {shell.process.exit_status == status}".encode(), 1)
        channel.close()

    async with (
        tls_session(handlers={"test": serve}) as client,
        client.open_channel("test") as channel,
    ):
        assert await channel.stream(1).read() == b"True True"
