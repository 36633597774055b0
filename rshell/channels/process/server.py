"""The server's side of a `process` channel.

The channel is the outlet of the command's `PipedProcess`; a task feeds its stdin, and the handler
waits for its end.

Hazard: the handler may be cancelled at any await, when the client goes. A command that still runs
then is ended by a clean-up that the server owns, because it takes up to `kill_grace` seconds.

Hazard: what the audit log has as asked for, it has as ended, too, on every way out, one that
was never started included.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import signal
from collections.abc import Mapping

from rshell.aio import on_failure
from rshell.channels.base import Context, answer_request, give_up, type_notice
from rshell.channels.process.messages import (
    STDERR,
    STDIN,
    STDOUT,
    Notice,
    ProcessEnding,
    ProcessReply,
    ProcessRequest,
    Resize,
    Signal,
    StdinClosed,
)
from rshell.errors import RemoteProtocolError, RshellError, SpawnError
from rshell.execution.piped_process import PipedProcess
from rshell.execution.pipes import PipeSink
from rshell.execution.spawn import Command
from rshell.protocol.codec import Json, read_message
from rshell.transport.channel import Channel
from rshell.values import ExitStatus

_END_OF_FILE = b"\x04"  # what Ctrl-D types, the end of input in a terminal


async def serve_process(channel: Channel, context: Context) -> None:
    """Run the command that the channel's request asks for, and say how it ended."""
    await answer_request(
        channel, ProcessRequest, lambda request: _Run(channel, context, request).serve()
    )


def user_shell(environment: Mapping[str, str]) -> str:
    """Return the user's shell: $SHELL, or that of the user's entry, or else /bin/sh.

    In a container, as a rule, nobody has set SHELL.
    """
    shell = environment.get("SHELL", "")
    if not (shell and os.access(shell, os.X_OK)):
        try:
            shell = pwd.getpwuid(os.getuid()).pw_shell
        except KeyError:
            shell = ""
    return shell if shell and os.access(shell, os.X_OK) else "/bin/sh"


def make_command(context: Context, request: ProcessRequest) -> Command:
    """Return the command that is asked for; without one, it is the user's shell itself."""
    shell = user_shell(context.environment)
    argv = request.argv or (shell,)
    if request.command is not None:
        argv = (shell, "-c", request.command)
    return Command(argv, *context.place(request))


def resolve_signal(name: str) -> signal.Signals:
    """Return the signal called `name`. Raises RemoteProtocolError where there is none."""
    number = getattr(signal, name, None) if name.startswith("SIG") else None
    if not isinstance(number, signal.Signals):
        raise RemoteProtocolError(f"there is no signal {name!r} here")
    return number


class _Run:
    """One command from its start to its ending."""

    def __init__(self, channel: Channel, context: Context, request: ProcessRequest) -> None:
        self._channel = channel
        self._context = context
        self._request = request
        self._piped: PipedProcess | None = None
        self._feeder: asyncio.Task[None] | None = None
        self._environment: Mapping[str, str] = {}
        self._is_reported = False
        self._is_asked = False  # the audit log has it, but not yet how it ended
        self._why = "its client left"
        self._task = asyncio.current_task()
        self._work = context.working(channel)

    async def serve(self) -> None:
        """Start the command, wait for its end, and report it."""
        try:
            try:
                self._piped = piped = await self._start()
            except SpawnError as error:
                self._report_failed_start(error)
                return
            except OSError as error:
                self._why = f"the server can't start a command: {error}"
                self._channel.refuse("failed", self._why)
                return
            self._begin(piped)
            self._finish(_ending(piped, await piped.wait()))
        finally:
            self._release()

    # Starting.

    async def _start(self) -> PipedProcess:
        request, context = self._request, self._context
        command = make_command(context, request)
        self._environment = command.env
        facts = {"argv": list(command.argv), "cwd": command.cwd}
        self._is_asked = True
        self._audit("command", facts | {"terminal": bool(request.terminal)})
        inputs, outputs = {STDIN: request.stdin}, {STDOUT: STDOUT, STDERR: STDERR}
        if request.merge_stderr:
            outputs[STDERR] = STDOUT
        size = None
        if request.terminal is not None:
            inputs, outputs, size = {}, {}, request.terminal.size
        return await PipedProcess.start(
            context.spawner,
            command,
            self._channel,
            context.limits,
            inputs=inputs,
            outputs=outputs,
            terminal=size,
        )

    def _begin(self, piped: PipedProcess) -> None:
        channel = self._channel
        channel.accept(ProcessReply(piped.process.pid).encode())
        if text := type_notice(self._request, self._environment):
            channel.send_message(Notice(text).encode())
        self._work.tell()  # what was said before could not reach it
        channel.on_room = piped.resume
        channel.listen(self._on_message)
        piped.resume()
        if STDIN in piped.sinks:
            self._feeder = asyncio.create_task(self._feed(piped.sinks[STDIN]))
            on_failure(self._feeder, self._give_up)
        if self._request.timeout is not None:
            piped.end_after(self._request.timeout)

    # While it runs.

    async def _feed(self, sink: PipeSink) -> None:
        """Move stdin into the command. Once it stops reading, say so and throw the rest away."""
        reader = self._channel.stream(STDIN)
        try:
            try:
                async for block in reader:
                    await sink.write(block)
                if self._request.terminal is not None:
                    await sink.write(_END_OF_FILE)
                else:
                    sink.close()
            except BrokenPipeError:
                sink.close()
                self._channel.send_message(StdinClosed().encode(), urgent=True)
                async for _ in reader:
                    pass
        except RshellError as error:
            # The channel was cut short, which its handler is told as well. It keeps the error, and
            # with the traceback this frame, which has the channel.
            error.__traceback__ = None

    def _on_message(self, message: Json) -> None:
        piped = self._piped
        assert piped is not None  # it listens only then
        try:
            asked = read_message(message, Signal, Resize)
            if isinstance(asked, Signal):
                piped.process.signal_group(resolve_signal(asked.name))
            elif isinstance(asked, Resize):
                piped.resize(asked.size)
        except RemoteProtocolError as error:
            self._channel.reset("bad-message", str(error))
            self._cancel()

    def _give_up(self, error: BaseException) -> None:
        give_up(self._channel, error)
        self._cancel()

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()  # which ends the command

    # The end.

    def _report_failed_start(self, error: SpawnError) -> None:
        """A command that can't be started ends as it does in a shell: a line and a status."""
        text = f"rshell: {error}\n".encode(errors="surrogateescape")
        stream = STDOUT if self._request.merge_stderr or self._request.terminal else STDERR
        self._channel.accept()
        if not self._channel.is_over:
            self._channel.write_nowait(text, stream)
        counts = {STDOUT: 0, STDERR: 0, stream: len(text)}
        status = ExitStatus(code=error.status)
        self._why = str(error)
        self._finish(ProcessEnding(status, counts[STDOUT], counts[STDERR], duration=0.0))

    def _finish(self, ending: ProcessEnding) -> None:
        self._channel.send_message(ending.encode())
        self._channel.close()
        self._is_reported = True
        self._audit_end(ending.encode())

    def _release(self) -> None:
        """Let go of everything; a command that still runs is ended behind us."""
        self._work.end()
        if self._feeder is not None:
            self._feeder.cancel()
        self._task = self._feeder = None  # they hold what they were doing when they were cancelled
        if self._piped is None:
            if self._is_asked:
                self._audit_end({"cut_short": True})
        elif self._is_reported:
            self._piped.close()
        else:
            self._context.clean_up(self._cut_short(self._piped))
            # Behind its first step: the end of a part of the input must not come before SIGTERM.
            asyncio.get_running_loop().call_soon(self._piped.close)

    async def _cut_short(self, piped: PipedProcess) -> None:
        await piped.end()
        ending = _ending(piped, await piped.wait())
        self._audit_end(ending.encode() | {"cut_short": True})

    def _audit_end(self, facts: Json) -> None:
        self._is_asked = False
        if self._piped is None:
            facts |= {"started": False, "reason": self._why}
        else:
            facts |= {"pid": self._piped.process.pid}
        self._audit("ended", facts)

    def _audit(self, event: str, facts: Json) -> None:
        self._context.audit(event, {"channel": self._channel.number} | facts)


def _ending(piped: PipedProcess, status: ExitStatus) -> ProcessEnding:
    counts = piped.counts
    return ProcessEnding(
        status=status,
        stdout=counts[STDOUT],
        stderr=counts.get(STDERR, 0),
        duration=piped.duration,
        timed_out=piped.is_timed_out,
        held_open=piped.is_held_open,
    )
