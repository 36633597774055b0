"""Links over the stdio of a program: a server of our own, whatever leads to one, or a way in.

The program ends with the link, and is waited for. What it prints in place of the protocol (a
banner, a profile that says hello) is quoted in the error; its stderr is ours.

On a way in nothing is installed, and the conversation of reach/stage.py comes first. A link that
is cut there is made anew by the same way: the server over there has outlived it.

Hazard: on the stderr of a way in, a machine over there has its say too. It is shown as text that
acts on no terminal: in the error, if there is one; otherwise, and where it takes its time (a
program that asks people to do something), it is logged.
"""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import BinaryIO, Optional, cast

from rshell.aio import timeout
from rshell.client.links import ClientLink
from rshell.errors import (
    AuthenticationFailed,
    ConnectError,
    OpenTimeout,
    ResumeFailed,
    VersionMismatch,
)
from rshell.execution.running_process import ExitWatch
from rshell.reach.start import start_child
from rshell.terminal.output import printable
from rshell.transport.live_session import LiveSession
from rshell.transport.stdio import PipeStream
from rshell.values import Bounds

_BLOCK = 65536
_SHOWN = 300  # characters of what was said
_LINES = 3  # of what a program says that an error repeats
_HELD = 1.0  # seconds for which an error may follow what a program says
_ADVICE = {126: "Is there a shell, sh?", 127: "Is there a shell, sh?"}  # for a status
_log = logging.getLogger("rshell")


class ChildLink:
    """A link over the stdio of a program, which ends with the link."""

    def __init__(
        self,
        link: ClientLink,
        popen: subprocess.Popen[bytes],
        limits: Bounds,
        words: Words | None = None,
    ) -> None:
        self.link = link
        self._words = words
        if words is not None:
            words.listen(popen)
        self._popen = popen
        self._limits = limits
        self._exited = asyncio.Event()
        self._watch = ExitWatch(
            asyncio.get_running_loop(), popen, lambda status: self._exited.set()
        )

    @classmethod
    async def open(
        cls,
        argv: Sequence[str],
        limits: Bounds,
        live: LiveSession | None = None,
        *,
        is_kept: bool = False,
        talk: Callable[[subprocess.Popen[bytes]], Awaitable[bytes]] | None = None,
        words: Words | None = None,
        start: Callable[[], subprocess.Popen[bytes]] | None = None,
    ) -> ChildLink:
        """Start the program and return the attached link. Raises ConnectError.

        It carries a new session, or resumes `live`; with `is_kept` the session outlives the link.
        `talk` is what comes before the frames; it returns the first bytes of theirs that it has
        read, and raises EOFError where the program ends instead. `words` takes its stderr. `start`
        is another way to start the program.
        """
        link = ClientLink(None, None, limits, live, is_kept=is_kept)
        if words is None and live is not None:
            words = Words(argv[0], is_shown=False)  # somebody may be at the prompt
        if start is None:
            popen = start_child(argv, stderr=None if words is None else subprocess.PIPE)
        else:
            popen = start()
        child = cls(link, popen, limits, words)
        stream = PipeStream(link.driver, limits)
        is_there = talk is None  # what speaks the protocol
        try:
            async with timeout(limits.open_timeout):
                rest = b"" if talk is None else await talk(popen)
                is_there = True
                incoming, outgoing = cast(BinaryIO, popen.stdout), cast(BinaryIO, popen.stdin)
                stream.connect(incoming, outgoing, rest)
                await link.attached
        except BaseException as error:
            if not is_there:  # nobody else has them yet, and it waits for us to end
                for pipe in (popen.stdin, popen.stdout):
                    assert pipe is not None
                    pipe.close()
            try:
                explained = child._explain(error, argv[0], await child._end(), stream, is_there)
            finally:
                child._release()
            if explained is error:
                raise
            raise explained from error
        if words is not None:
            words.attached()
        return child

    def _explain(
        self, error: BaseException, name: str, status: int, stream: PipeStream, is_there: bool
    ) -> BaseException:
        """Return the error for one that came before there was a session.

        `is_there` says that what speaks the protocol had begun.
        """
        if self._words is not None and isinstance(error, EOFError):
            return self._words.explain(status, str(error))
        if stream.foreign_words and isinstance(error, (ConnectError, TimeoutError)):
            return ConnectError(
                f"{name!r} printed {stream.foreign_words} where a server's first words "
                f"should be, and ended with status {status}. Only rshell-server may write "
                "there: look for a banner, or a profile of the shell that starts it."
            )
        if isinstance(error, TimeoutError):
            seconds = self._limits.open_timeout
            return OpenTimeout(f"{name!r} opened no session within {seconds:g} s", timeout=seconds)
        is_plain = isinstance(error, ConnectError) and is_there
        if not is_plain or isinstance(error, (AuthenticationFailed, VersionMismatch)):
            return error
        if isinstance(error.__cause__, ResumeFailed):
            return error
        said = "" if self._words is None else self._words.take()
        return ConnectError(
            f"{name!r} opened no session and ended with status {status}: "
            f"{error}{f' ({said})' if said else ''}"
        )

    async def close(self) -> None:
        """Wait for the program, ending it if it stays."""
        try:
            await self._end()
        finally:
            self._release()

    def _release(self) -> None:
        """Let go of what the program says."""
        if self._words is not None:
            self._words.close()

    async def _end(self) -> int:
        """Wait for the program, ending it if it stays; return its returncode."""
        self.link.attached.cancel()
        self.link.driver.abort()
        try:
            async with timeout(self._limits.close_seconds):
                await self._exited.wait()
        except TimeoutError:
            self._popen.terminate()
            await self._kill_later()
        finally:
            self._watch.close()
            self._popen.poll()
            if self._popen.returncode is None:
                self._popen.kill()
                self._popen.wait()
        return self._popen.returncode

    async def _kill_later(self) -> None:
        try:
            async with timeout(self._limits.close_seconds):
                await self._exited.wait()
        except TimeoutError:
            pass  # close() kills it


class Words:
    """What a way in says on its stderr. With `is_shown`, people see it as it comes, or nearly so.

    `listen` begins it, and `close` ends it, which is the owner's to call.
    """

    def __init__(self, name: str, *, is_shown: bool = True) -> None:
        self._name = name
        self._is_shown = is_shown
        self._loop = asyncio.get_running_loop()
        self._pipe: Optional[BinaryIO] = None
        self._kept = b""
        self._timer: Optional[asyncio.TimerHandle] = None

    def listen(self, popen: subprocess.Popen[bytes]) -> None:
        """Begin to read the stderr of a program."""
        assert popen.stderr is not None
        self._pipe = cast(BinaryIO, popen.stderr)
        os.set_blocking(self._pipe.fileno(), False)
        self._loop.add_reader(self._pipe, self._read)

    def attached(self) -> None:
        """Show what was said; from here on nothing is: there is a prompt, or a command's output."""
        self._show()
        self._is_shown = False

    def explain(self, status: int, came: str) -> ConnectError:
        """Return the error of a program that has ended, after it printed no more than `came`."""
        said = self.take()
        advice = f" {_ADVICE[status]}" if status in _ADVICE else ""
        shown = f": {said}" if said else ""
        printed = f", having printed {quote(came)!r}" if came else ""
        return ConnectError(
            f"{self._name} ended with status {status} before it ran anything there{printed}"
            f"{shown}.{advice}"
        )

    def take(self) -> str:
        """Return the last of what was said, as it may be shown in an error, and nowhere else."""
        self._read()
        lines, self._kept = self._lines(), b""
        return quote("; ".join(lines[-_LINES:]))

    def close(self) -> None:
        """Show what is left, and let go of the pipe. Does nothing when it is closed."""
        self._read()
        self._show()
        if self._pipe is not None:
            self._loop.remove_reader(self._pipe)
            self._pipe.close()
            self._pipe = None

    def _read(self) -> None:
        if self._pipe is None:
            return
        data = self._pipe.read(_BLOCK)
        if data is None:
            return
        if not data:
            self._loop.remove_reader(self._pipe)
            return
        self._kept = (self._kept + data)[-_BLOCK:]
        if self._is_shown and self._timer is None:
            self._timer = self._loop.call_later(_HELD, self._show)

    def _show(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lines, self._kept = self._lines(), b""
        for line in lines if self._is_shown else ():
            _log.warning("%s: %s", self._name, printable(line))

    def _lines(self) -> list[str]:
        lines = self._kept.decode(errors="replace").splitlines()
        return [line.strip() for line in lines if line.strip()]


class ChildLinks:
    """Dials the links of one session by programs, one at a time; `open_link` starts one."""

    def __init__(self, open_link: Callable[[LiveSession | None], Awaitable[ChildLink]]) -> None:
        self._open = open_link
        self._child: ChildLink | None = None

    async def dial(self, live: LiveSession | None = None) -> ClientLink:
        """Return an attached link, which carries `live` on where that is given.

        The link before it is over, and its program is ended. Raises ConnectError.
        """
        await self.close()
        self._child = await self._open(live)
        return self._child.link

    async def close(self) -> None:
        """End the program of the present link and wait for it. Does nothing without one."""
        child, self._child = self._child, None
        if child is not None:
            await child.close()


def local_server_argv(*, background: bool) -> tuple[str, ...]:
    """Return the argv of a server on its stdio, run by this very Python and package.

    With `background` it is one that stays, and is shared by all who ask for that.
    """
    root = str(Path(__file__).resolve().parents[2])
    # The directory we are in is no place to import from, and Python 3.10 has no -P that says so.
    start = "import sys; sys.path[:] = [sys.argv.pop(1), *filter(None, sys.path)]; "
    start += "from rshell.cli.server import run; run()"
    more = ("--background",) if background else ()
    return (sys.executable, "-c", start, root, "--stdio", *more)


def quote(text: str) -> str:
    """Return what came from the other side, as it may be shown."""
    return printable(text, limit=_SHOWN)
