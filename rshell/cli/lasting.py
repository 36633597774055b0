"""What goes on without us, seen from outside: jobs and named shells.

`--detach`, `--jobs`, `--logs`, `--wait` and `--kill-job` are for jobs; `--shells`,
`--kill-shell` and `-S NAME --share` for named shells, which the prompt attaches to.

Who watches (`--share`) sees what the shell's terminal shows as it is; what is ours to say comes on
lines of its own. Keys do nothing but leave.

What a job wrote comes out as it was, stdout on stdout and stderr on stderr, in order; what is ours
to say about it goes to stderr. Names, directories and commands of a list come from elsewhere and
are shown with their control characters made visible.

Hazard: a program that is watched asks its terminal questions. Who watches has nothing to answer:
the answers would be typed into what has the terminal next.

Hazard: a program that is watched turns modes on in this terminal, too. They are turned off when
its command has ended, and on every way out.
"""

from __future__ import annotations

import time
from typing import Any

from rshell.channels.job.messages import JobInfo
from rshell.channels.shell.messages import CommandBegun, NamedShellInfo, ShellEnding, Skipped
from rshell.channels.shell.named.client import ShellWatch, WatchEvent
from rshell.cli.options import JobOptions, NamedShellOptions, Options
from rshell.cli.report import (
    aligned,
    command_cell,
    format_seconds,
    print_object,
    print_result,
    tell_link,
)
from rshell.cli.standard import line_of_ours
from rshell.cli.streams import Left, OutputDescriptor
from rshell.cli.terminal import Terminal, command_line, notice
from rshell.client.client import Client
from rshell.errors import ChannelReset
from rshell.terminal.answers import Questions
from rshell.terminal.output import printable
from rshell.values import TerminalSize

_LEAVING_KEYS = (b"\x03", b"\x04")  # Ctrl-C, Ctrl-D
_STREAMS = {1: "stdout", 2: "stderr"}


async def run_lasting(client: Client, options: Options, stderr: OutputDescriptor) -> int:
    """Do what was asked and return the status to exit with.

    Raises RshellError, and BrokenPipeError where nobody reads our stdout.
    """
    if options.job is not None:
        return await _run_job(client, options.job, options, stderr)
    assert options.named is not None
    return await _run_named(client, options.named, options.json)


async def _run_job(
    client: Client, job: JobOptions, options: Options, stderr: OutputDescriptor
) -> int:
    as_json = options.json
    name = job.name or ""
    if job.verb == "start":
        name = await client.start_job(options.command or "", name=job.name)
        print_result({"job": name}, name, as_json)
        return 0
    if job.verb == "list":
        infos = await client.jobs()
        print_result({"jobs": [describe_job(info) for info in infos]}, job_table(infos), as_json)
        return 0
    if job.verb == "logs":
        await _print_log(client, name, job.follow, stderr)
        return 0
    if job.verb == "kill":
        info = await client.kill_job(name)
        print_result(describe_job(info), "", as_json)
        return 0
    status = await client.wait_job(name)
    if as_json:
        print_object({"name": name, "exit_status": status.code, "signal": status.signal})
    return status.shell_status


def describe_job(info: JobInfo) -> dict[str, Any]:
    """Return a job as one JSON object, every key in it always."""
    status = info.status
    return {
        "name": info.name,
        "state": info.state,
        "exit_status": None if status is None else status.code,
        "signal": None if status is None else status.signal,
        "started": info.started,
        "ended": info.ended,
        "duration": None if info.duration is None else round(info.duration, 6),
        "stdout_bytes": info.stdout,
        "stderr_bytes": info.stderr,
        "ended_by": info.ended_by or None,
        "held_open": info.held_open,
        "command": info.command,
    }


def job_table(infos: list[JobInfo]) -> str:
    """Return a list for people: name, state, start (local time), duration and command."""
    rows = [("NAME", "STATE", "STARTED", "DURATION", "COMMAND")]
    for info in infos:
        started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(info.started))
        duration = "-" if info.duration is None else f"{info.duration:.1f}s"
        rows.append((info.name, _job_state(info), started, duration, command_cell(info.command)))
    return aligned(rows)


def _job_state(info: JobInfo) -> str:
    """Return "running", "exited 0", "SIGTERM (kill)" or "lost"."""
    text = info.state
    if info.status is not None:
        text = info.status.signal or f"exited {info.status.code}"
    return printable(f"{text} ({info.ended_by})" if info.ended_by else text)


async def _print_log(client: Client, name: str, follow: bool, stderr: OutputDescriptor) -> None:
    outputs = {1: OutputDescriptor(1), 2: stderr}
    async with client.job_logs(name, follow=follow) as logs:
        told = dict(logs.dropped)
        async for stream, data in logs:
            if logs.dropped != told:
                await outputs[stream].drain()
            await outputs[3 - stream].drain()  # or the two would overtake each other
            told = _tell_dropped(logs.dropped, told, stderr)
            await outputs[stream].write(data)
        for output in outputs.values():
            await output.drain()
        _tell_dropped(logs.dropped, told, stderr)


def _tell_dropped(
    dropped: dict[int, int], told: dict[int, int], stderr: OutputDescriptor
) -> dict[int, int]:
    """Say what is missing and was not told of yet; return what is told of now."""
    for stream, count in dropped.items():
        if count > told[stream]:
            missing, name = count - told[stream], _STREAMS[stream]
            text = f"{missing} bytes of {name} are not kept and missing here"
            stderr.say(line_of_ours(text))
    return dict(dropped)


async def _run_named(client: Client, named: NamedShellOptions, as_json: bool) -> int:
    if named.verb == "watch":
        return await run_watch(client, named.name)
    if named.verb == "end":
        info = await client.end_named_shell(named.name)
        print_result(describe_named(info), "", as_json)
        return 0
    infos = await client.named_shells()
    print_result({"shells": [describe_named(info) for info in infos]}, named_table(infos), as_json)
    return 0


def describe_named(info: NamedShellInfo) -> dict[str, Any]:
    """Return a named shell as one JSON object, every key in it always."""
    return {
        "name": info.name,
        "identity": info.identity,
        "created": info.created,
        "attached": info.attached,
        "watchers": info.watchers,
        "shell": info.shell,
        "cwd": info.cwd,
        "columns": info.size.columns,
        "rows": info.size.rows,
        "running": info.running,
    }


def named_table(infos: list[NamedShellInfo]) -> str:
    """Return a list for people: name, identity, age, who looks on, size and running command."""
    rows = [("NAME", "IDENTITY", "AGE", "STATE", "SIZE", "RUNNING")]
    for info in infos:
        age = max(0.0, time.time() - info.created)  # the server's clock may be another
        size = f"{info.size.columns}x{info.size.rows}"
        running = "-" if info.running is None else command_cell(info.running)
        rows.append(
            (
                info.name,
                printable(info.identity),
                format_seconds(age),
                _named_state(info),
                size,
                running,
            )
        )
    return aligned(rows)


def _named_state(info: NamedShellInfo) -> str:
    """Return "attached", "detached" or "detached, 2 watching"."""
    state = "attached" if info.attached else "detached"
    return f"{state}, {info.watchers} watching" if info.watchers else state


# Watching.


async def run_watch(client: Client, name: str) -> int:
    """Watch a named shell until it ends or the user leaves; return the status to exit with.

    Raises what cuts the session with the server short; the terminal is as it was found, too.
    """
    terminal = Terminal(left_status=0)
    async with client.watch_named_shell(name, terminal.size) as watch, terminal:
        watcher = _Watcher(terminal, watch, name)
        tell_link(client, terminal.say)
        try:
            return await watcher.run()
        finally:
            client.links.on_change = lambda: None


class _Watcher:
    """Writes a named shell to the terminal."""

    def __init__(self, terminal: Terminal, watch: ShellWatch, name: str) -> None:
        self._terminal = terminal
        self._watch = watch
        self._name = name
        self._is_told_size = False
        self._questions = Questions()

    async def run(self) -> int:
        """Show the shell; return the status to exit with."""
        terminal = self._terminal
        terminal.on_keys = self._leave_by_key
        terminal.listen()
        farewell = ""
        try:
            await terminal.unless_left(self._show())
            farewell = f"{self._name} has ended"
            return 0
        except Left as left:
            if left.status == 0:
                farewell = f"no longer watching {self._name}, which goes on"
            return left.status
        finally:
            terminal.farewell = terminal.begin_line() + (notice(farewell) if farewell else b"")

    async def _show(self) -> None:
        found = self._watch.found
        await self._say(f"watching {self._name}; Ctrl-C leaves", is_faint=True)
        await self._compare(found.size)
        if found.running:  # else nothing runs, or startup files, which are no command
            await self._begin(found.running)
        await self._take(found.modes.encode())
        try:
            async for event in self._watch:
                await self._take(event)
        except ChannelReset as error:
            if error.code != "killed":
                raise

    async def _take(self, event: WatchEvent) -> None:
        terminal = self._terminal
        if isinstance(event, bytes):
            await terminal.write(self._questions.take(event))
            return
        await terminal.write(self._questions.rest())
        if isinstance(event, CommandBegun):
            await self._begin(event.command)
        elif isinstance(event, ShellEnding):
            await terminal.output.write(terminal.undo() + terminal.begin_line())
        elif isinstance(event, Skipped):
            await self._say(f"{event.bytes} bytes are missing here: this terminal is too slow")
        else:
            await self._compare(event)

    async def _begin(self, command: str) -> None:
        await self._terminal.output.write(self._terminal.begin_line() + command_line(command))

    async def _compare(self, size: TerminalSize) -> None:
        """Say, once, that the shell does not fit into this window."""
        window = self._terminal.size
        is_larger = size.columns > window.columns or size.rows > window.rows
        if is_larger and not self._is_told_size:
            self._is_told_size = True
            await self._say(
                f"{self._name} is {size.columns} by {size.rows}, larger than this window"
            )

    async def _say(self, text: str, *, is_faint: bool = False) -> None:
        # Not `terminal.say`, which would drop it where the terminal is slow.
        line = self._terminal.begin_line() + notice(text, is_faint=is_faint)
        await self._terminal.output.write(line)

    def _leave_by_key(self) -> None:
        keys = self._terminal.take()
        if any(key in keys for key in _LEAVING_KEYS):
            self._terminal.leave(Left(0))
