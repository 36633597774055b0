"""What goes on without us, seen from outside: jobs and named shells.

`--detach`, `--jobs`, `--logs`, `--wait` and `--kill-job` are for jobs; `--shells`,
`--kill-shell` and `-S NAME --share` for named shells, which the prompt attaches to.

What a job wrote comes out as it was, stdout on stdout and stderr on stderr, in order; what is ours
to say about it goes to stderr. Names, directories and commands of a list come from elsewhere and
are shown with their control characters made visible.
"""

from __future__ import annotations

import signal
import sys
import time
from typing import Any

from rshell.channels.job.messages import JobInfo
from rshell.channels.shell.named.messages import NamedShellInfo
from rshell.cli.options import JobOptions, NamedShellOptions, Options
from rshell.cli.report import aligned, command_cell, format_seconds, print_object, print_result
from rshell.cli.streams import OutputDescriptor
from rshell.client.client import Client
from rshell.terminal.output import printable

_BROKEN_PIPE_STATUS = 128 + signal.SIGPIPE
_STREAMS = {1: "stdout", 2: "stderr"}


async def run_lasting(client: Client, options: Options) -> int:
    """Do what was asked and return the status to exit with. Raises RshellError."""
    try:
        if options.job is not None:
            return await _run_job(client, options.job, options)
        assert options.named is not None
        return await _run_named(client, options.named, options.json)
    except BrokenPipeError:
        return _BROKEN_PIPE_STATUS  # `| head` has seen enough


async def _run_job(client: Client, job: JobOptions, options: Options) -> int:
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
        await _print_log(client, name, job.follow)
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


async def _print_log(client: Client, name: str, follow: bool) -> None:
    outputs = {1: OutputDescriptor(1), 2: OutputDescriptor(2)}
    async with client.job_logs(name, follow=follow) as logs:
        told = dict(logs.dropped)
        async for stream, data in logs:
            if logs.dropped != told:
                await outputs[stream].drain()
            await outputs[3 - stream].drain()  # or the two would overtake each other
            told = _tell_dropped(logs.dropped, told)
            await outputs[stream].write(data)
        for output in outputs.values():
            await output.drain()
        _tell_dropped(logs.dropped, told)


def _tell_dropped(dropped: dict[int, int], told: dict[int, int]) -> dict[int, int]:
    """Say what is missing and was not told of yet; return what is told of now."""
    for stream, count in dropped.items():
        if count > told[stream]:
            print(
                f"rshell: {count - told[stream]} bytes of {_STREAMS[stream]} are not kept "
                "and missing here",
                file=sys.stderr,
                flush=True,
            )
    return dict(dropped)


async def _run_named(client: Client, named: NamedShellOptions, as_json: bool) -> int:
    if named.verb == "watch":
        from rshell.cli.watch import run_watch

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
