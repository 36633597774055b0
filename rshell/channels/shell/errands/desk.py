"""The server's side of errands: where rshell-get and rshell-put of one shell ask for its client.

A private directory, the last one on the shell's PATH, has the two commands, and a socket whose path
is in $RSHELL_CLIENT. A command says there what it is asked for and stays until it is told the
outcome; that it is gone ends what it has asked for. All is up to the client, who asks a person: the
server passes on what was asked and what came of it, and writes both into the audit log.

Errands are those of the command that runs in the shell, and end with it: a prompt is no place for
questions. They go one after the other.

Hazard: every process of this user can ask, at any time and as often as it likes. Only so many wait.

Hazard: a directory may be where no program is executed, or its path be longer than that of a socket
can be. The next place is tried; without any there are no such commands.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import resources
from pathlib import Path

from rshell.aio import Tasks, first_of, in_thread, timeout
from rshell.channels.shell.errands.wish import COMMANDS, Unwished, Wish
from rshell.channels.shell.messages import Errand, ErrandDone, ErrandOver
from rshell.channels.shell.private import SOCKET, make_directory, places
from rshell.protocol.codec import Json, Message
from rshell.terminal.output import printable
from rshell.values import frozen

_LONGEST_PATH = 100  # bytes; the kernel takes 107 (macOS 103)
_LONGEST_WORDS = 2 * 1024 * 1024  # bytes; Linux takes as many in a command line, as a rule
_MOST_WORDS = 100_000
_LARGEST = 128 * 1024  # bytes of an errand, which fits into a frame
_MOST_WAITING = 16
_SPEAKING_SECONDS = 10.0
_UNHEARD = (
    "the rshell at the other end can't be asked for files, or nobody is attached; "
    "use rshell-cp there"
)
_IDLE = "this works only while it is the command that runs in the shell, and not in the background"
_TOO_MANY = "too many of these commands wait for an answer"
_LEFT = "the rshell that was asked has gone; do it again"
_OVER = "the command that it was started by has ended"


@frozen
class Asker:
    """A client that can be asked: how it is sent messages, and the audit log in its name."""

    send: Callable[[Message], None]
    audit: Callable[[str, Json], None]


class ErrandDesk:
    """The errands of one shell; `is_busy()` says whether a command runs there."""

    def __init__(self, is_busy: Callable[[], bool]) -> None:
        self._is_busy = is_busy
        self._asker: Asker | None = None
        self._directory: Path | None = None
        self._server: asyncio.AbstractServer | None = None
        self._tasks = Tasks()
        self._turn = asyncio.Lock()
        self._number = 0
        self._outcome: asyncio.Future[ErrandDone] | None = None

    # Its life.

    async def open(self, environment: dict[str, str]) -> dict[str, str]:
        """Make the commands; return the environment with them, as it is where they can't be."""
        if not sys.executable:
            return environment
        for place in places():
            with suppress(OSError):
                if not os.statvfs(place).f_flag & getattr(os, "ST_NOEXEC", 0):
                    await self._make(place)
                    break
        if self._directory is None:
            return environment
        own = str(self._directory)
        more = {"RSHELL_CLIENT": os.path.join(own, SOCKET)}
        if environment.get("PATH"):  # else a shell has a PATH of its own
            more["PATH"] = f"{environment['PATH']}:{own}"
        return {**environment, **more}

    async def _make(self, place: Path) -> None:
        directory = make_directory(place, for_errands=True)
        try:
            path = str(directory / SOCKET)
            if len(os.fsencode(path)) > _LONGEST_PATH:
                raise OSError("the path is too long for a socket")
            source = resources.files("rshell.channels.shell.errands").joinpath("command.py")
            script = directory / ".command.py"
            script.write_bytes(source.read_bytes())
            for name in COMMANDS:
                line = shlex.join([sys.executable, "-I", "-S", str(script), name])
                file = directory / name
                file.write_bytes(os.fsencode(f'#!/bin/sh\nexec {line} "$@"\n'))
                file.chmod(0o700)
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                sock.bind(path)
                os.chmod(path, 0o600)
                self._server = await asyncio.start_unix_server(self._meet, sock=sock)
            except BaseException:
                sock.close()
                raise
        except BaseException:
            shutil.rmtree(directory, ignore_errors=True)
            raise
        self._directory = directory

    def close(self) -> None:
        """Remove the commands, and end those that wait. May be called again."""
        self._tasks.cancel()
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None

    # Its client.

    def attach(self, asker: Asker) -> None:
        """Ask this client from now on."""
        self._asker = asker

    def detach(self, asker: Asker) -> None:
        """Ask this client no more; what it was asked has failed."""
        if self._asker is asker:
            self._asker = None
            self._fail(_LEFT)

    def end_command(self) -> None:
        """The command that ran in the shell has ended, and what it asked for with it."""
        self._fail(_OVER)

    def take(self, done: ErrandDone) -> None:
        """Take the outcome of an errand; one that nobody waits for any more is dropped."""
        waiting = self._outcome
        if waiting is not None and not waiting.done() and done.number == self._number:
            waiting.set_result(done)

    def _fail(self, why: str) -> None:
        if self._number:
            self.take(ErrandDone(self._number, 255, why))

    # Those who ask.

    def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.own(self._serve(reader, writer))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        name = "rshell"
        try:
            words = await _read_words(reader)
            name = words[0]
            wish = Wish.parse(words)
            if len(self._tasks) > _MOST_WAITING:
                raise Unwished(255, _TOO_MANY)
            _, status = await first_of(self._do(wish), _until_gone(reader))
            writer.write(b"%d " % status)
        except Unwished as why:
            text = str(why) if not why.status else f"{printable(name)}: {printable(str(why))}\n"
            writer.write(b"%d %s" % (why.status, text.encode(errors="replace")))
        except (OSError, EOFError, ValueError):
            pass  # it has gone, or is none of ours
        finally:
            writer.close()

    async def _do(self, wish: Wish) -> int:
        """Have the client do it; return the status. Raises Unwished where it could not be done."""
        self._check()
        async with self._turn:
            looking = in_thread(wish.look, "looking at files")
            errand = await asyncio.wrap_future(looking)
            done = await self._ask(self._check(), errand)
        if done.reason:
            raise Unwished(done.status or 1, done.reason)
        return done.status

    def _check(self) -> Asker:
        """Return the client that can be asked now. Raises Unwished."""
        if self._asker is None:
            raise Unwished(255, _UNHEARD)
        if not self._is_busy():
            raise Unwished(255, _IDLE)
        return self._asker

    async def _ask(self, asker: Asker, errand: Errand) -> ErrandDone:
        if len(errand.to_bytes()) > _LARGEST:
            raise Unwished(255, "these are too many paths; send their directory, with -r")
        self._number += 1
        number = self._number
        self._outcome = asyncio.get_running_loop().create_future()
        facts = {"number": number, "verb": errand.verb, "cwd": errand.cwd}
        paths = [*errand.files, *errand.directories][:100]
        asker.audit("errand", {**facts, "paths": paths})
        done = ErrandDone(number, 255, "the command that asked has ended")
        try:
            asker.send(errand.replace(number=number))
            done = await self._outcome
            return done
        finally:
            self._outcome = None
            if done.status == 255 and self._asker is asker:
                asker.send(ErrandOver(number))  # which it may know
            asker.audit("errand-done", done.encode())


async def _read_words(reader: asyncio.StreamReader) -> list[str]:
    """Read what a command sends: how many words, and those.

    Raises EOFError, ValueError and OSError.
    """
    data = b""
    async with timeout(_SPEAKING_SECONDS):
        while True:
            head, *words = data.split(b"\0")
            if words and len(words) - 1 == _count(head):
                return [os.fsdecode(word) for word in words[:-1]]
            block = await reader.read(65536)
            if not block or len(data) > _LONGEST_WORDS:
                raise EOFError
            data += block


def _count(head: bytes) -> int:
    if not head.isdigit() or len(head) > 6 or not 2 <= int(head) <= _MOST_WORDS:
        raise ValueError("no number of words")
    return int(head)


async def _until_gone(reader: asyncio.StreamReader) -> int:
    """Wait until the command has ended."""
    while await reader.read(4096):
        pass  # it has nothing more to say
    raise EOFError
