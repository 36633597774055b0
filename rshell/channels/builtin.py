"""The kinds that every server offers."""

from __future__ import annotations

from rshell.channels.base import Context, Handler
from rshell.channels.job.jobs import NO_JOBS
from rshell.channels.process.server import serve_process
from rshell.channels.sessions.server import serve_sessions
from rshell.channels.shell.server import serve_shell
from rshell.transport.channel import Channel


async def serve_job(channel: Channel, context: Context) -> None:
    """Have the server's jobs answer, if it keeps any."""
    if context.jobs is None:
        channel.refuse("failed", NO_JOBS)
    else:
        await context.jobs(channel, context)


BUILTIN_HANDLERS: dict[str, Handler] = {
    "job": serve_job,
    "process": serve_process,
    "sessions": serve_sessions,
    "shell": serve_shell,
}
