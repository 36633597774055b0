"""The client's side of a `job` channel: starting, listing, reading, waiting and killing.

Each question has a channel of its own. An answer that stops short is an exception, never a
shorter list, a shorter log or a status.
"""

from __future__ import annotations

from rshell.channels.base import ask, check_count, read_reply, receive_answer, receive_list
from rshell.channels.job.messages import (
    JobInfo,
    JobReply,
    JobRequest,
    JobsEnd,
    LogEnd,
    RecordDecoder,
)
from rshell.channels.process.messages import ProcessRequest
from rshell.errors import JobLost, RemoteProtocolError
from rshell.protocol.codec import read_message
from rshell.transport.channel import Channel
from rshell.transport.live_session import LiveSession
from rshell.values import ExitStatus


async def start_job(live: LiveSession, process: ProcessRequest, name: str | None) -> str:
    """Start a job and return its name. Cancelling leaves open whether it was started."""
    channel = await ask(live, "job", JobRequest("start", name, process=process))
    reply = read_reply(channel, JobReply)
    channel.close()
    return reply.name


async def list_jobs(live: LiveSession) -> list[JobInfo]:
    """Return our jobs on the server, the oldest first. Safe to cancel."""
    channel = await ask(live, "job", JobRequest("list"))
    return await receive_list(channel, JobInfo, JobsEnd)


async def wait_job(live: LiveSession, name: str) -> ExitStatus:
    """Wait for a job's end and return how it ended. Raises JobLost. Safe to cancel."""
    info = await receive_answer(await ask(live, "job", JobRequest("wait", name)), JobInfo)
    if info.status is None:
        raise JobLost(
            f"how the job {name} ended is not known: its server ended while it ran. "
            f"What is kept of its output is still there.",
            name=name,
        )
    return info.status


async def kill_job(live: LiveSession, name: str) -> JobInfo:
    """End a job and return what is known of it then. Cancelling does not save it."""
    return await receive_answer(await ask(live, "job", JobRequest("kill", name)), JobInfo)


class JobLogs:
    """The output of a job in order of arrival: `async for stream, data in logs`.

    `stream` is 1 for stdout and 2 for stderr, `data` bytes. `dropped` counts, for each stream,
    the bytes that the server no longer had, as far as the log was read; it grows right before
    what came after them is given. `info` is the job at the end of the log, None before.

    Opens at the first step, or on entering its `async with` block, which closes it too. Who
    stops reading in the middle without such a block keeps its channel until the session ends.
    Raises ChannelRefused, and what cuts the session or channel short. One task may read;
    cancelling a step loses nothing.
    """

    def __init__(self, live: LiveSession, request: JobRequest) -> None:
        self.dropped = {1: 0, 2: 0}
        self.info: JobInfo | None = None
        self._live = live
        self._request = request
        self._channel: Channel | None = None
        self._decoder = RecordDecoder()
        self._pieces: list[tuple[int, bytes, int]] = []  # the next one last

    async def __aenter__(self) -> JobLogs:
        await self._open()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._channel is not None and not self._channel.is_over:
            self._channel.reset("cancelled", "the reader let go of it")

    def __aiter__(self) -> JobLogs:
        return self

    async def __anext__(self) -> tuple[int, bytes]:
        channel = await self._open()
        while True:
            while self._pieces:
                stream, data, dropped = self._pieces.pop()
                self.dropped[stream] += dropped
                if data:
                    return stream, data
            if self.info is not None:
                raise StopAsyncIteration
            if block := await channel.read(256 * 1024):
                self._pieces = list(self._decoder.feed(block))[::-1]
            else:
                await self._finish(channel)

    async def _open(self) -> Channel:
        if self._channel is None:
            self._channel = await ask(self._live, "job", self._request)
        return self._channel

    async def _finish(self, channel: Channel) -> None:
        await channel.wait_closed()
        if channel.error is not None:
            raise channel.error
        message = await channel.receive_message()
        end = None if message is None else read_message(message, LogEnd)
        if end is None:
            raise RemoteProtocolError("the server closed the log without saying that it ends")
        check_count(channel.stream(0).received, end.count, "the log")
        if self._decoder.is_inside_record:
            raise RemoteProtocolError("the log ends inside a record")
        self.info = end.job
