"""The server's side of a `job` channel: one question about the jobs of who asks.

Strategy: a channel is a question and its answer, never a job's life: what happens to it, or to
its session, changes nothing for the job. A kill that was asked for goes on without its asker.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from rshell.channels.base import Context, Work
from rshell.channels.job.jobs import Jobs
from rshell.channels.job.log import LogReader, Output
from rshell.channels.job.messages import (
    JobInfo,
    JobReply,
    JobRequest,
    JobsEnd,
    LogEnd,
    encode_dropped,
    encode_output,
)
from rshell.channels.job.running_job import RunningJob
from rshell.channels.process.messages import STDERR, STDOUT
from rshell.channels.process.server import user_shell
from rshell.errors import ChannelRefused, RemoteProtocolError
from rshell.execution.spawn import Command
from rshell.transport.channel import Channel

_BLOCK = 64 * 1024  # bytes of log that are put together before they are sent


async def serve_job(jobs: Jobs | None, work: Work, channel: Channel, context: Context) -> None:
    """Answer one request about the jobs of `context.identity`."""
    try:
        request = JobRequest.decode(channel.request)
    except RemoteProtocolError as error:
        channel.refuse("bad-request", str(error))
        return
    if jobs is None:
        channel.refuse(
            "failed",
            "jobs end with their server, and this one serves a single session. "
            "Start rshell-server on its own.",
        )
        return
    try:
        with work.begin(context.session, is_command=False):
            await _answer(channel, context, jobs, request)
    except ChannelRefused as error:
        channel.refuse(error.code, error.reason)


async def _answer(channel: Channel, context: Context, jobs: Jobs, request: JobRequest) -> None:
    if request.verb == "start":
        channel.accept(JobReply(await _start(context, jobs, request)).encode())
    elif request.verb == "list":
        infos = jobs.list(context.identity)
        channel.accept()
        for info in infos:
            channel.send_message(info.encode())
        channel.send_message(JobsEnd(len(infos)).encode())
    else:
        assert request.name is not None
        job = jobs.find(context.identity, request.name)
        if request.verb == "logs":
            reader = jobs.read_log(context.identity, request.name)
            try:
                channel.accept()
                await _send_log(channel, reader, job, request.follow)
            finally:
                reader.close()
            return
        channel.accept()
        if request.verb == "kill" and isinstance(job, RunningJob):
            context.audit("job-killed", {"job": request.name})
            context.clean_up(job.end("kill"))
        info = await job.wait() if isinstance(job, RunningJob) else job
        channel.send_message(info.encode())
    channel.close()


async def _start(context: Context, jobs: Jobs, request: JobRequest) -> str:
    process = request.process
    assert process is not None
    environment = {} if process.clear_env else dict(context.environment)
    environment.update(process.env)
    argv, shown = process.argv, shlex.join(process.argv)
    if process.command is not None:
        argv, shown = (user_shell(context.environment), "-c", process.command), process.command
    cwd = str(Path(context.cwd) / process.cwd) if process.cwd else context.cwd
    return await jobs.start(
        context.identity,
        Command(argv, cwd, environment),
        shown=shown,
        name=request.name,
        merge_stderr=process.merge_stderr,
        audit=context.audit,
    )


async def _send_log(
    channel: Channel, reader: LogReader, job: JobInfo | RunningJob, follow: bool
) -> None:
    """Send what is kept, and what comes if `follow`, then how the job stands, and close.

    Without `follow` a job that writes on and on is sent as it stood at the beginning.
    """
    running = job if isinstance(job, RunningJob) else None
    info = job.info if isinstance(job, RunningJob) else job
    before = None
    if running is not None and not follow:
        before = (info.stdout or 0) + (info.stderr or 0)
    sent = 0
    while True:
        # Asked before reading: what is there once a job is over is all there will be.
        is_over = running is None or running.is_over
        while block := _read_block(reader, before):
            await channel.write(block)
            sent += len(block)
        if running is None or is_over or not follow:
            break
        await running.wait_change()
    if running is not None and follow:
        info = running.info
    if info.state != "running" and info.stdout is not None and info.stderr is not None:
        for piece in reader.missing({STDOUT: info.stdout, STDERR: info.stderr}):
            await channel.write(block := _encode(piece))
            sent += len(block)
    channel.send_message(LogEnd(sent, info).encode())
    channel.close()


def _read_block(reader: LogReader, before: int | None) -> bytes:
    block = bytearray()
    while len(block) < _BLOCK and (piece := reader.read(before)) is not None:
        block += _encode(piece)
    return bytes(block)


def _encode(piece: Output) -> bytes:
    gap = encode_dropped(piece.stream, piece.dropped) if piece.dropped else b""
    return gap + (encode_output(piece.stream, piece.data) if piece.data else b"")
