"""A session from the client's side: run commands, open shells and channels.

Strategy: one `Client` is one session, and everything in it runs at once over one link. Methods
that open something return an `Opening`: await it, or use it with `async with`. What a method
alone needs is imported there: a program that runs one command starts a tenth sooner.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, overload

from rshell.channels.process.client import (
    PIPE,
    CompletedProcess,
    Process,
    make_request,
    run_process,
    start_process,
)
from rshell.channels.process.messages import Terminal
from rshell.client.dial import ChildLink
from rshell.client.lasting import Command, LastingWork
from rshell.client.reconnector import Reconnector
from rshell.errors import OutputTruncated, ProcessTimeout, SessionClosed
from rshell.protocol.codec import Json
from rshell.transport.channel import Channel
from rshell.transport.opening import Opening
from rshell.values import Limits, TerminalSize

if TYPE_CHECKING:
    from rshell.channels.shell.client import Shell, ShellLine


class Client(LastingWork):
    """An open session with a server. Leaving its `async with` block closes it.

    `links` tells whether a link carries it now and lets one wait for that: a cut is a pause, as
    long as the link comes back within `Limits.resume_window`.
    """

    def __init__(self, reconnector: Reconnector, child: ChildLink | None, limits: Limits) -> None:
        self.links = reconnector
        self._child = child
        self._limits = limits
        self._live = reconnector.link.live

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    @property
    def identity(self) -> str:
        """Who the server takes us for."""
        return self.links.link.link.identity

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
        input: bytes | str | None = ...,
        cwd: str | None = ...,
        env: Mapping[str, str] | None = ...,
        clear_env: bool = ...,
        merge_stderr: bool = ...,
        timeout: float | None = ...,
        check: bool = ...,
        max_output: int | None = ...,
        text: Literal[False] = ...,
        encoding: None = ...,
    ) -> CompletedProcess[bytes]: ...

    @overload
    async def run(
        self,
        command: Command,
        *,
        input: bytes | str | None = ...,
        cwd: str | None = ...,
        env: Mapping[str, str] | None = ...,
        clear_env: bool = ...,
        merge_stderr: bool = ...,
        timeout: float | None = ...,
        check: bool = ...,
        max_output: int | None = ...,
        text: Literal[True],
        encoding: str | None = ...,
    ) -> CompletedProcess[str]: ...

    @overload
    async def run(
        self,
        command: Command,
        *,
        input: bytes | str | None = ...,
        cwd: str | None = ...,
        env: Mapping[str, str] | None = ...,
        clear_env: bool = ...,
        merge_stderr: bool = ...,
        timeout: float | None = ...,
        check: bool = ...,
        max_output: int | None = ...,
        text: bool = ...,
        encoding: str,
    ) -> CompletedProcess[str]: ...

    async def run(
        self,
        command: Command,
        *,
        input: bytes | str | None = None,
        cwd: str | None = None,
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

        A string goes through the remote user's shell, a sequence is run as it is. `input` is
        its stdin, empty without one. `env` adds to the server's environment, or replaces it
        with `clear_env`. The server ends a command that passes `timeout` seconds. Output is
        bytes, or text with `text` or `encoding` (undecodable bytes become U+FFFD); more than
        `max_output` bytes end the command.

        Raises ProcessFailed (with `check`, unless the status is 0), ProcessTimeout,
        OutputTruncated, ChannelRefused, and LinkLost or SessionClosed when the session ends;
        LookupError for an unknown `encoding`, before anything runs.
        Cancelling ends the remote process group.
        """
        coding = check_encoding(encoding or ("utf-8" if text else None))
        if isinstance(input, str):
            input = input.encode(coding or "utf-8")
        decode = _decoder(coding)
        try:
            done = await run_process(
                self._live,
                command,
                input=input,
                limits=self._limits,
                max_output=max_output,
                cwd=cwd,
                env=env,
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
        cwd: str | None = None,
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
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        clear_env: bool = False,
        terminal: TerminalSize | None = None,
        term: str = "xterm-256color",
    ) -> Opening[Shell]:
        """Start a persistent shell: directory, variables and functions stay between commands.

        `stdin=PIPE` opens a stdin that its commands share; without it, theirs is empty. `terminal`
        gives them a terminal of that size and type instead: stdout then holds all that they
        print, and the shell reads the user's own rc file.
        """
        from rshell.channels.shell.client import start_shell
        from rshell.channels.shell.messages import ShellRequest

        request = ShellRequest(
            cwd=cwd,
            env=env or {},
            clear_env=clear_env,
            stdin=stdin == PIPE,
            terminal=None if terminal is None else Terminal(terminal, term),
        )
        return Opening(lambda: start_shell(self._live, request))

    def open_line(
        self,
        size: TerminalSize,
        *,
        term: str,
        env: Mapping[str, str] | None = None,
        name: str | None = None,
    ) -> Opening[ShellLine]:
        """Start a persistent shell on a terminal for a front end, which streams its output.

        With a `name` it outlives this client, and the identity's shell of that name is taken up
        again where there is one; `env` is then as it was. Leaving the block leaves it to itself.
        Programs that want whole replies use `open_shell`.

        Opening raises ChannelRefused and, for a name that no named shell can have,
        LocalProtocolError. Cancelling ends what was started, except for a named shell.
        """
        from rshell.channels.shell.client import open_line
        from rshell.channels.shell.messages import ShellRequest

        request = ShellRequest(terminal=Terminal(size, term), env=env or {}, name=name)
        return Opening(lambda: open_line(self._live, request))

    def open_channel(self, kind: str, request: Json | None = None) -> Opening[Channel]:
        """Open a channel of a kind that the server's own handlers offer.

        Raises ChannelRefused where the server has no such kind.
        """

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
        """End the session and what runs in it. Harmless when it is closed.

        Cancelling ends the wait for the link's end; the session is over all the same.
        """
        try:
            await self._leave()
        finally:
            if self._child is not None:
                await self._child.close()

    async def _leave(self) -> None:
        try:
            await self.links.close()
        finally:
            driver = self.links.link.driver
            if self._live.error is None:
                driver.close("done", "the client is done")
                self._live.end(SessionClosed("done", "the session was closed", by="local"))
        try:
            async with asyncio.timeout(self._limits.close_seconds):
                await driver.done.wait()
        except TimeoutError:
            driver.abort()


def check_encoding(encoding: str | None) -> str | None:
    """Return `encoding` if text can be decoded with it. Raises LookupError."""
    if encoding is not None:
        b" ".decode(encoding, "replace")
    return encoding


def _decoder(coding: str | None) -> Callable[[bytes | str], bytes | str]:
    def decode(data: bytes | str) -> bytes | str:
        if coding is None or isinstance(data, str):
            return data
        return data.decode(coding, "replace")

    return decode
