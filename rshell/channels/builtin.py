"""The kinds that every server offers."""

from __future__ import annotations

from rshell.channels.base import Handler
from rshell.channels.job.server import serve_job
from rshell.channels.process.server import serve_process
from rshell.channels.shell.named.server import serve_sessions
from rshell.channels.shell.server import serve_shell

BUILTIN_HANDLERS: dict[str, Handler] = {
    "job": serve_job,
    "process": serve_process,
    "sessions": serve_sessions,
    "shell": serve_shell,
}
