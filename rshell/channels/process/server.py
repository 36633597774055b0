"""The server's side of a `process` channel.

Strategy: callbacks move the output from the pipes into the channel, at most as much as there is
room for, without a task or a copy between; one coroutine waits for the end. The end is the
leader's exit and what was in its pipes at that moment: a background child does not hold it up.

Hazard: the handler may be cancelled at any await, when the client goes. Whatever still runs
then is ended by a clean-up that the server owns, because it takes up to `kill_grace` seconds.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path

from rshell.channels.base import Context
from rshell.channels.process.messages import (
    STDERR,
    STDIN,
    STDOUT,
    ProcessEnding,
    ProcessReply,
    ProcessRequest,
    Resize,
    Signal,
    StdinClosed,
)
from rshell.errors import RemoteProtocolError, SpawnError
from rshell.execution.pipes import PipeSink, PipeSource, input_pipe, output_pipe
from rshell.execution.running_process import RunningProcess
from rshell.execution.spawn import Command
from rshell.protocol.codec import Json, read_message
from rshell.terminal.pty import open_pty, set_size
from rshell.transport.channel import Channel
from rshell.values import ExitStatus, TerminalSize

_END_OF_FILE = b"\x04"  # what Ctrl-D types, the end of input in a terminal


async def serve_process(channel: Channel, context: Context) -> None:
    """Run the command that the channel's request asks for, and say how it ended."""
    try:
        request = ProcessRequest.decode(channel.request)
    except RemoteProtocolError as error:
        channel.refuse("bad-request", str(error))
        return
    await _Run(channel, context, request).serve()


def user_shell(environment: Mapping[str, str]) -> str:
    """Return the user's shell: $SHELL where it can be executed, else /bin/sh."""
    shell = environment.get("SHELL", "")
    return shell if shell and os.access(shell, os.X_OK) else "/bin/sh"


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
        self._process: RunningProcess | None = None
        self._sources: dict[int, PipeSource] = {}
        self._sink: PipeSink | None = None
        self._master = -1
        self._feeder: asyncio.Task[None] | None = None
        self._group_gone: asyncio.Event | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timed_out = False
        self._is_reported = False
        self._drained = asyncio.Event()
        self._task = asyncio.current_task()
        self._work = context.working(channel)
        self._started = time.monotonic()

    async def serve(self) -> None:
        """Start the command, wait for its end, and report it."""
        try:
            try:
                self._process = await self._start()
            except SpawnError as error:
                self._report_failed_start(error)
                return
            except OSError as error:
                self._channel.refuse("failed", f"the server can't start a command: {error}")
                return
            self._begin(self._process)
            status = await self._process.wait()
            await self._drained.wait()
            if self._group_gone is not None:
                await self._group_gone.wait()
            self._finish(self._ending(status))
        finally:
            self._release()

    # Starting.

    async def _start(self) -> RunningProcess:
        request, context = self._request, self._context
        environment = {} if request.clear_env else dict(context.environment)
        environment.update(request.env)
        shell = user_shell(context.environment)
        if request.command is not None:
            argv: tuple[str, ...] = (shell, "-c", request.command)
        else:
            argv = request.argv or (shell,)
        cwd = str(Path(context.cwd) / request.cwd) if request.cwd else context.cwd
        self._audit("command", {"argv": list(argv), "cwd": cwd, "terminal": bool(request.terminal)})
        if request.terminal is not None:
            environment["TERM"] = request.terminal.term or environment.get("TERM", "dumb")
            return await self._start_on_terminal(
                Command(argv, cwd, environment), request.terminal.size
            )
        return await self._start_on_pipes(Command(argv, cwd, environment))

    async def _start_on_terminal(self, command: Command, size: TerminalSize) -> RunningProcess:
        master, slave = open_pty(size)
        self._master = master
        try:
            process = await self._context.spawner.spawn(
                command, stdin=slave, stdout=slave, stderr=slave, terminal=True
            )
        except BaseException:
            os.close(master)
            raise
        finally:
            os.close(slave)
        self._sink = PipeSink(os.dup(master))
        self._add_source(STDOUT, master)
        return process

    async def _start_on_pipes(self, command: Command) -> RunningProcess:
        theirs: list[int] = []
        ours: dict[int, int] = {}
        try:
            if self._request.stdin:
                stdin, ours[STDIN] = input_pipe()
            else:
                stdin = os.open(os.devnull, os.O_RDONLY)
            theirs.append(stdin)
            ours[STDOUT], stdout = output_pipe()
            theirs.append(stdout)
            stderr = stdout
            if not self._request.merge_stderr:
                ours[STDERR], stderr = output_pipe()
                theirs.append(stderr)
            process = await self._context.spawner.spawn(
                command, stdin=stdin, stdout=stdout, stderr=stderr
            )
        except BaseException:
            for fd in ours.values():
                os.close(fd)
            raise
        finally:
            for fd in theirs:
                os.close(fd)
        if STDIN in ours:
            self._sink = PipeSink(ours.pop(STDIN))
        for stream, fd in ours.items():
            self._add_source(stream, fd)
        return process

    def _add_source(self, stream: int, fd: int) -> None:
        channel = self._channel

        def send(data: bytes) -> None:
            if not channel.is_over:
                channel.write_nowait(data, stream)

        limits = self._context.limits
        self._sources[stream] = PipeSource(
            fd,
            send,
            self._source_ended,
            block=limits.read_block,
            room=self._room,
            pipe_size=limits.pipe,
        )

    def _begin(self, process: RunningProcess) -> None:
        channel = self._channel
        channel.accept(ProcessReply(process.pid).encode())
        self._work.tell()  # what was said before could not reach it
        channel.on_room = self._resume
        channel.listen(self._on_message)
        self._resume()
        if self._sink is not None:
            self._feeder = asyncio.create_task(self._feed(self._sink))
        if self._request.timeout is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._request.timeout, self._time_out)
        process.on_exit(self._exited)

    # While it runs.

    def _room(self) -> int:
        room = self._channel.room
        if room <= 0:
            self._channel.want_room()
        return room

    def _resume(self) -> None:
        for source in self._sources.values():
            source.resume()

    async def _feed(self, sink: PipeSink) -> None:
        """Move stdin into the command. Once it stops reading, say so and throw the rest away."""
        reader = self._channel.stream(STDIN)
        try:
            async for block in reader:
                await sink.write(block)
            if self._master >= 0:
                await sink.write(_END_OF_FILE)
            else:
                sink.close()
        except BrokenPipeError:
            sink.close()
            self._channel.send_message(StdinClosed().encode(), urgent=True)
            async for _ in reader:
                pass

    def _on_message(self, message: Json) -> None:
        try:
            asked = read_message(message, Signal, Resize)
            if isinstance(asked, Signal):
                number = resolve_signal(asked.name)
                if self._process is not None:
                    self._process.signal_group(number)
            elif isinstance(asked, Resize):
                self._resize(asked.size)
        except RemoteProtocolError as error:
            self._channel.reset("bad-message", str(error))
            if self._task is not None:
                self._task.cancel()  # which ends the command

    def _resize(self, size: TerminalSize) -> None:
        # A command may close its terminal and go on: the number is another descriptor's then.
        if self._master >= 0 and not self._sources[STDOUT].closed:
            set_size(self._master, size)

    def _time_out(self) -> None:
        self._timed_out = True
        self._group_gone = asyncio.Event()
        self._context.clean_up(self._end_in_time(self._group_gone))

    async def _end_in_time(self, gone: asyncio.Event) -> None:
        try:
            if self._process is not None:
                await self._process.end(self._context.limits.kill_grace)
        finally:
            gone.set()

    # The end.

    def _exited(self) -> None:
        if self._timer is not None:
            self._timer.cancel()  # it was in time, however long its output takes
        for source in self._sources.values():
            source.drain_then_end()
        self._source_ended()

    def _source_ended(self) -> None:
        has_exited = self._process is not None and self._process.exit_status is not None
        if has_exited and all(source.closed for source in self._sources.values()):
            self._drained.set()

    def _ending(self, status: ExitStatus) -> ProcessEnding:
        return ProcessEnding(
            status=status,
            stdout=self._bytes_sent(STDOUT),
            stderr=self._bytes_sent(STDERR),
            duration=time.monotonic() - self._started,
            timed_out=self._timed_out,
            held_open=any(source.held_open for source in self._sources.values()),
        )

    def _report_failed_start(self, error: SpawnError) -> None:
        """A command that can't be started ends as it does in a shell: a line and a status."""
        text = f"rshell: {error}\n".encode(errors="surrogateescape")
        stream = STDOUT if self._request.merge_stderr or self._request.terminal else STDERR
        self._channel.accept()
        if not self._channel.is_over:
            self._channel.write_nowait(text, stream)
        counts = {STDOUT: 0, STDERR: 0, stream: len(text)}
        status = ExitStatus(code=error.status)
        self._finish(ProcessEnding(status, counts[STDOUT], counts[STDERR], duration=0.0))

    def _finish(self, ending: ProcessEnding) -> None:
        self._channel.send_message(ending.encode())
        self._channel.close()
        self._is_reported = True
        self._audit("ended", ending.encode())

    def _bytes_sent(self, stream: int) -> int:
        source = self._sources.get(stream)
        return source.bytes_read if source is not None else 0

    def _release(self) -> None:
        """Let go of everything; a command that still runs is ended behind us."""
        self._work.end()
        if self._timer is not None:
            self._timer.cancel()
        if self._feeder is not None:
            self._feeder.cancel()
        if self._sink is not None:
            self._sink.close()
        for source in self._sources.values():
            source.close()
        process = self._process
        if process is not None and not self._is_reported:
            self._context.clean_up(self._end(process))

    async def _end(self, process: RunningProcess) -> None:
        await process.end(self._context.limits.kill_grace)
        ending = self._ending(await process.wait())
        self._audit("ended", ending.encode() | {"cut_short": True})

    def _audit(self, event: str, facts: Json) -> None:
        self._context.audit(event, {"channel": self._channel.number} | facts)
