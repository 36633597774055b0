"""A session from the client's side: run commands, open shells and channels.

One `Client` is one session, and everything in it runs at once over one link. Methods that open
something return an `Opening`: await it, or use it with `async with`. Jobs and named shells
outlive the client. A method imports what it alone needs: a program that runs one command starts a
tenth sooner.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, overload

from rshell.aio import Opening, require_loop
from rshell.channels.process.client import (
    PIPE,
    Command,
    CompletedProcess,
    PathLike,
    Process,
    as_path,
    check_encoding,
    make_request,
    run_process,
    start_process,
)
from rshell.channels.process.messages import Terminal
from rshell.client.files import FilesOfClient
from rshell.client.links import Reconnector
from rshell.errors import OutputTruncated, ProcessTimeout, SessionClosed
from rshell.protocol.codec import Json
from rshell.transport.channel import Channel
from rshell.values import Bounds, ExitStatus, TerminalSize

if TYPE_CHECKING:
    from typing_extensions import TypedDict, Unpack

    from rshell.channels.job.client import JobLogs
    from rshell.channels.job.messages import JobInfo
    from rshell.channels.process.feeding import Input
    from rshell.channels.shell.client import ShellLine
    from rshell.channels.shell.errands.client import Agree
    from rshell.channels.shell.messages import NamedShellInfo
    from rshell.channels.shell.named.client import ShellWatch
    from rshell.channels.shell.replies import Shell

    class RunOptions(TypedDict, total=False):
        """What `run` takes whatever it returns."""

        input: Input | None
        cwd: PathLike | None
        env: Mapping[str, str] | None
        clear_env: bool
        merge_stderr: bool
        timeout: float | None
        check: bool
        max_output: int | None


class Client(FilesOfClient):
    """An open session with a server. Leaving its `async with` block closes it.

    `links` tells whether a link carries it now and lets one wait for that: a cut is a pause, as
    long as the link comes back within `Limits.resume_window`. `notice` is what people should know
    of the way there, "" if nothing.
    """

    def __init__(
        self,
        reconnector: Reconnector,
        limits: Bounds,
        close_child: Callable[[], Awaitable[object]] | None = None,
        notice: str = "",
    ) -> None:
        self.notice = notice
        self.links = reconnector
        self._limits = limits
        self._close_child = close_child
        self._live = reconnector.link.live

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    @property
    def identity(self) -> str:
        """Who the server takes us for."""
        return self.links.link.identity

    @property
    def round_trip(self) -> float | None:
        """The smallest round trip of the link so far, in seconds."""
        return self.links.link.link.round_trip

    @property
    def is_closed(self) -> bool:
        """Whether the session is over."""
        return self._live.error is not None

    @overload
    async def run(
        self,
        command: Command,
        *,
        text: Literal[False] = ...,
        encoding: None = ...,
        **options: Unpack[RunOptions],
    ) -> CompletedProcess[bytes]: ...

    @overload
    async def run(
        self,
        command: Command,
        *,
        text: Literal[True],
        encoding: str | None = ...,
        **options: Unpack[RunOptions],
    ) -> CompletedProcess[str]: ...

    @overload
    async def run(
        self, command: Command, *, text: bool = ..., encoding: str, **options: Unpack[RunOptions]
    ) -> CompletedProcess[str]: ...

    async def run(
        self,
        command: Command,
        *,
        input: Input | None = None,
        cwd: PathLike | None = None,
        env: Mapping[str, str] | None = None,
        clear_env: bool = False,
        merge_stderr: bool = False,
        timeout: float | None = None,
        check: bool = False,
        max_output: int | None = None,
        text: bool = False,
        encoding: str | None = None,
    ) -> CompletedProcess[Any]:
        """Run a command and return its whole reply.

        A string goes through the remote user's shell, a sequence is run as it is. `input` is its
        stdin, empty without one: bytes, text, a file or an asynchronous iterator of blocks, whose
        failure ends the command and is raised. `env` adds to the server's environment, or replaces
        it with `clear_env`. The server ends a command that passes `timeout` seconds. Output is
        bytes, or text with `text` or `encoding` (undecodable bytes become U+FFFD); more than
        `max_output` bytes end the command.

        Raises ProcessFailed (with `check`, unless the status is 0), ProcessTimeout,
        OutputTruncated, ChannelRefused, and LinkLost or SessionClosed when the session ends; for
        arguments that can't be, LookupError, TypeError or ValueError, before anything runs.
        Cancelling ends the remote process group.
        """
        coding = check_encoding(encoding or ("utf-8" if text else None))
        decode = partial(_decode, coding)
        try:
            done = await run_process(
                self._live,
                command,
                input=input,
                encoding=coding or "utf-8",
                limits=self._limits,
                max_output=max_output,
                cwd=cwd,
                env=env or {},
                clear_env=clear_env,
                merge_stderr=merge_stderr,
                timeout=timeout,
            )
        except (ProcessTimeout, OutputTruncated) as error:
            error.stdout, error.stderr = decode(error.stdout), decode(error.stderr)
            raise
        result: CompletedProcess[Any] = done
        if coding is not None:
            result = replace(result, stdout=decode(done.stdout), stderr=decode(done.stderr))
        if check:
            result.check()
        return result

    def open_process(
        self,
        command: Command | None,
        *,
        stdin: int | None = None,
        cwd: PathLike | None = None,
        env: Mapping[str, str] | None = None,
        clear_env: bool = False,
        merge_stderr: bool = False,
        terminal: TerminalSize | None = None,
        term: str = "xterm-256color",
        timeout: float | None = None,
        encoding: str | None = None,
    ) -> Opening[Process[Any]]:
        """Start a command and stream its input and output.

        `stdin=PIPE` opens its stdin; without it, it is empty. `terminal` gives it a terminal of
        that size and type. None as the command runs the remote user's shell on its stdin. With
        `encoding`, stdout and stderr yield text. Leaving the block ends what still runs.
        Raises LookupError for an unknown `encoding`, at once.
        """
        check_encoding(encoding)
        request = make_request(
            command,
            cwd=cwd,
            env=env or {},
            clear_env=clear_env,
            stdin=stdin == PIPE or terminal is not None,
            merge_stderr=merge_stderr,
            terminal=None if terminal is None else Terminal(terminal, term),
            timeout=timeout,
        )
        return Opening(lambda: start_process(self._live, request, encoding))

    def open_shell(
        self,
        *,
        stdin: int | None = None,
        cwd: PathLike | None = None,
        env: Mapping[str, str] | None = None,
        clear_env: bool = False,
        terminal: TerminalSize | None = None,
        term: str = "xterm-256color",
        on_errand: Agree | None = None,
    ) -> Opening[Shell]:
        """Start a persistent shell: directory, variables and functions stay between commands.

        `stdin=PIPE` opens a stdin that its commands share; without it, theirs is empty. `terminal`
        gives them a terminal of that size and type instead: stdout then holds all that they
        print, and the shell is the user's own, whose startup files have run before it opens.
        `on_errand` is awaited with an ErrandPlan where rshell-get or rshell-put in it asks for
        files, which travel if it returns True.
        """
        from rshell.channels.shell.messages import ShellRequest
        from rshell.channels.shell.replies import start_shell

        request = ShellRequest(
            cwd=as_path(cwd),
            env=env or {},
            clear_env=clear_env,
            stdin=stdin == PIPE,
            terminal=None if terminal is None else Terminal(terminal, term),
            errands=on_errand is not None,
        )
        return Opening(lambda: start_shell(self._live, request, on_errand))

    def open_line(
        self,
        size: TerminalSize,
        *,
        term: str,
        env: Mapping[str, str] | None = None,
        name: str | None = None,
        login: bool = True,
        errands: bool = False,
    ) -> Opening[ShellLine]:
        """Start the user's shell on a terminal for a front end, which streams its output.

        Until its startup files have run, the line `is_starting`. As a `login` shell it reads what
        such a shell reads. With a `name` it outlives this client, and the identity's shell of that
        name is taken up again where there is one; `env` is then as it was. Leaving the block leaves
        it to itself. With `errands` its commands may ask for files (`on_errand`). Programs that
        want whole replies use `open_shell`. Opening raises ChannelRefused and, for a name that no
        named shell can have, LocalProtocolError. Cancelling ends what was started, except for a
        named shell.
        """
        from rshell.channels.shell.client import open_line
        from rshell.channels.shell.messages import ShellRequest

        terminal = Terminal(size, term)
        request = ShellRequest(
            terminal=terminal, env=env or {}, login=login, name=name, errands=errands
        )
        return Opening(lambda: open_line(self._live, request))

    async def start_job(
        self,
        command: Command,
        *,
        name: str | None = None,
        cwd: PathLike | None = None,
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

        One that has ended stays as it is. Cancelling does not save it. Raises ChannelRefused.
        """
        from rshell.channels.job.client import kill_job

        return await kill_job(self._live, name)

    async def named_shells(self) -> list[NamedShellInfo]:
        """Return this identity's named shells on the server, the oldest first. Safe to cancel."""
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
        from rshell.channels.shell.messages import ShellRequest
        from rshell.channels.shell.named.client import watch_named_shell

        request = ShellRequest(terminal=Terminal(size), name=name, share=True)
        return Opening(lambda: watch_named_shell(self._live, request))

    def open_channel(self, kind: str, request: Json | None = None) -> Opening[Channel]:
        """Open a channel of any kind. Raises ChannelRefused where the server has no such kind."""

        async def start() -> Channel:
            channel = self._live.open_channel(kind, request or {})
            await channel.wait_opened()
            return channel

        return Opening(start)

    async def wait_closed(self) -> SessionClosed | None:
        """Wait until the session is over and return why. Safe to cancel."""
        await self._live.wait_ended()
        error = self._live.error
        return error if isinstance(error, SessionClosed) else None

    async def close(self) -> None:
        """End the session and what runs in it. Does nothing when it is closed.

        Cancelling ends the wait for the link's end; the session is over all the same. Raises
        RuntimeError in another event loop.
        """
        if not (self.is_closed and self.links.link.driver.done.is_set()):
            require_loop(self._live.loop, "this client")
        try:
            await self.links.leave()
        finally:
            if self._close_child is not None:
                await self._close_child()


def _decode(coding: str | None, data: bytes | str) -> bytes | str:
    return data if coding is None or isinstance(data, str) else data.decode(coding, "replace")
