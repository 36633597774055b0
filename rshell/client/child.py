"""Links over the stdio of a program: a server of our own, whatever leads to one, or a way in.

The program ends with the link, and is waited for. What it prints in place of the protocol (a
banner, a profile that says hello) is quoted in the error; its stderr is ours.

On a way in nothing is installed, and the conversation of reach/stage.py comes first. A link that
is cut there is made anew by the same way: the server over there has outlived it.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, cast

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
from rshell.transport.live_session import LiveSession
from rshell.transport.stdio import PipeStream, start_child
from rshell.values import Bounds

_BLOCK = 64 * 1024
_QUOTED = 300  # bytes of what a program has said on stderr


class ChildLink:
    """A link over the stdio of a program, which ends with the link."""

    def __init__(self, link: ClientLink, popen: subprocess.Popen[bytes], limits: Bounds) -> None:
        self.link = link
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
    ) -> ChildLink:
        """Start the program and return the attached link. Raises ConnectError.

        It carries a new session, or resumes `live`; with `is_kept` the session outlives the link.
        `talk` is what comes before the frames; it returns the first bytes of theirs that it has
        read.
        """
        link = ClientLink(None, None, limits, live, is_kept=is_kept)
        with ExitStack() as stack:
            said = None
            if live is not None:  # somebody may be at the prompt: what the program says is kept
                from tempfile import TemporaryFile

                said = stack.enter_context(TemporaryFile(buffering=0))
            return await cls._start(argv, said, link, limits, talk)

    @classmethod
    async def _start(
        cls,
        argv: Sequence[str],
        said: BinaryIO | None,
        link: ClientLink,
        limits: Bounds,
        talk: Callable[[subprocess.Popen[bytes]], Awaitable[bytes]] | None,
    ) -> ChildLink:
        popen = start_child(argv, said)
        child = cls(link, popen, limits)
        stream = PipeStream(link.driver, limits)
        try:
            async with timeout(limits.open_timeout):
                rest = b"" if talk is None else await talk(popen)
                await stream.connect(cast(BinaryIO, popen.stdout), cast(BinaryIO, popen.stdin))
                if rest:
                    stream.data_received(rest)
                await link.attached
        except BaseException as error:
            status = await child.close()
            if stream.foreign_words and isinstance(error, (ConnectError, TimeoutError)):
                raise ConnectError(
                    f"{argv[0]!r} printed {stream.foreign_words} where a server's first words "
                    f"should be, and ended with status {status}. Only rshell-server may write "
                    "there: look for a banner, or a profile of the shell that starts it."
                ) from error
            if isinstance(error, TimeoutError):
                raise OpenTimeout(
                    f"{argv[0]!r} opened no session within {limits.open_timeout:g} s",
                    timeout=limits.open_timeout,
                ) from error
            is_clear = isinstance(error, (AuthenticationFailed, VersionMismatch))
            if is_clear or not isinstance(error, ConnectError):
                raise
            if isinstance(error.__cause__, ResumeFailed):
                raise
            raise ConnectError(
                f"{argv[0]!r} opened no session and ended with status {status}: "
                f"{error}{_quote(said)}"
            ) from error
        return child

    async def close(self) -> int:
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


def _quote(said: BinaryIO | None) -> str:
    if said is None:
        return ""
    said.seek(0)
    words = " ".join(said.read(_BLOCK)[-_QUOTED:].decode(errors="replace").split())
    return f" ({words})" if words else ""


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
