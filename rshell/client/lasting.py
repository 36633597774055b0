"""What outlives a client's session with the server: jobs, and named shells.

Strategy: a base class of `Client`, for that is where people look for these methods. They need
nothing of a client but its live, and import what they need when they are called.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rshell.channels.process.client import make_request
from rshell.transport.live_session import LiveSession
from rshell.transport.opening import Opening
from rshell.values import ExitStatus, TerminalSize

if TYPE_CHECKING:
    from rshell.channels.job.client import JobLogs
    from rshell.channels.job.messages import JobInfo
    from rshell.channels.shell.named.client import ShellWatch
    from rshell.channels.shell.named.messages import NamedShellInfo

Command = str | Sequence[str]


class LastingWork:
    """Jobs and named shells of the identity that a client has."""

    _live: LiveSession

    async def start_job(
        self,
        command: Command,
        *,
        name: str | None = None,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        clear_env: bool = False,
        merge_stderr: bool = False,
    ) -> str:
        """Start a command that outlives this session, and return the job's name.

        Arguments are those of `run`; its stdin is empty, and `name` may be one of your own.
        Raises ChannelRefused where it can't be started or the name is taken, LocalProtocolError
        for a name that no job can have. Cancelling leaves open whether it was started.
        """
        from rshell.channels.job.client import start_job

        request = make_request(
            command, cwd=cwd, env=env or {}, clear_env=clear_env, merge_stderr=merge_stderr
        )
        return await start_job(self._live, request, name)

    async def jobs(self) -> list[JobInfo]:
        """Return this identity's jobs on the server, the oldest first. Safe to cancel."""
        from rshell.channels.job.client import list_jobs

        return await list_jobs(self._live)

    def job_logs(self, name: str, *, follow: bool = False) -> JobLogs:
        """Read what is kept of a job's output: `async for stream, data in client.job_logs(name)`.

        With `follow` it goes on until the job ends. Raises, at the first step, ChannelRefused
        with the code "unknown-job".
        """
        from rshell.channels.job.client import JobLogs
        from rshell.channels.job.messages import JobRequest

        return JobLogs(self._live, JobRequest("logs", name, follow))

    async def wait_job(self, name: str) -> ExitStatus:
        """Wait for a job's end and return how it ended. Safe to cancel; the job goes on.

        Raises JobLost where that can't be known, ChannelRefused for an unknown job.
        """
        from rshell.channels.job.client import wait_job

        return await wait_job(self._live, name)

    async def kill_job(self, name: str) -> JobInfo:
        """End a job (SIGTERM, SIGKILL after the server's grace) and return it as it ended.

        Harmless for one that has ended. Cancelling does not save it. Raises ChannelRefused.
        """
        from rshell.channels.job.client import kill_job

        return await kill_job(self._live, name)

    async def named_shells(self) -> list[NamedShellInfo]:
        """Return this identity's named shells on the server, the oldest first. Safe to cancel.

        Raises ChannelRefused where the server has no such kind.
        """
        from rshell.channels.shell.named.client import list_named_shells

        return await list_named_shells(self._live)

    async def end_named_shell(self, name: str) -> NamedShellInfo:
        """End a named shell and what runs in it; return it as it stood before.

        Cancelling does not save it. Raises ChannelRefused with the code "unknown-session", and
        LocalProtocolError for a name that no named shell can have.
        """
        from rshell.channels.shell.named.client import end_named_shell

        return await end_named_shell(self._live, name)

    def watch_named_shell(self, name: str, size: TerminalSize) -> Opening[ShellWatch]:
        """Watch a named shell without touching it; `size` is that of the watcher's terminal.

        Opening raises ChannelRefused with the code "unknown-session", and LocalProtocolError for
        a name that no named shell can have. Cancelling is safe.
        """
        from rshell.channels.process.messages import Terminal
        from rshell.channels.shell.messages import ShellRequest
        from rshell.channels.shell.named.client import watch_named_shell

        request = ShellRequest(terminal=Terminal(size), name=name, share=True)
        return Opening(lambda: watch_named_shell(self._live, request))
