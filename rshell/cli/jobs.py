"""`--detach`, `--jobs`, `--logs`, `--wait` and `--kill-job`: commands that outlive the client.

Strategy: what a job wrote comes out as it was, stdout on stdout and stderr on stderr, in order;
what is ours to say about it goes to stderr. Names and commands of a list come from elsewhere
and are shown with their control characters made visible.
"""

from __future__ import annotations

import signal
import sys
import time
from typing import Any

from rshell.channels.job.messages import JobInfo
from rshell.cli.options import Options
from rshell.cli.report import print_object
from rshell.cli.streams import OutputDescriptor
from rshell.cli.tables import aligned, command_cell, print_result
from rshell.client.client import Client
from rshell.terminal.output import printable

_BROKEN_PIPE_STATUS = 128 + signal.SIGPIPE
_STREAMS = {1: "stdout", 2: "stderr"}


async def run_job(client: Client, options: Options) -> int:
    """Do what was asked and return the status to exit with. Raises RshellError."""
    try:
        return await _run(client, options)
    except BrokenPipeError:
        return _BROKEN_PIPE_STATUS  # `| head` has seen enough


async def _run(client: Client, options: Options) -> int:
    job, as_json = options.job, options.json
    assert job is not None
    name = job.name or ""
    if job.verb == "start":
        name = await client.start_job(options.command or "", name=job.name)
        print_result({"job": name}, name, as_json)
        return 0
    if job.verb == "list":
        infos = await client.jobs()
        print_result({"jobs": [describe(info) for info in infos]}, table(infos), as_json)
        return 0
    if job.verb == "logs":
        await _print_log(client, name, job.follow)
        return 0
    if job.verb == "kill":
        info = await client.kill_job(name)
        print_result(describe(info), "", as_json)
        return 0
    status = await client.wait_job(name)
    if as_json:
        print_object({"name": name, "exit_status": status.code, "signal": status.signal})
    return status.shell_status


def describe(info: JobInfo) -> dict[str, Any]:
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


def table(infos: list[JobInfo]) -> str:
    """Return a list for people: name, state, start (local time), duration and command."""
    rows = [("NAME", "STATE", "STARTED", "DURATION", "COMMAND")]
    for info in infos:
        started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(info.started))
        duration = "-" if info.duration is None else f"{info.duration:.1f}s"
        rows.append((info.name, _state(info), started, duration, command_cell(info.command)))
    return aligned(rows)


def _state(info: JobInfo) -> str:
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
