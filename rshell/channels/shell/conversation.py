"""One channel and the shell it speaks to: what is asked, what is typed, what is answered.

Strategy: messages go to the `PersistentShell`, its endings come back through whoever owns it.
On a terminal the channel's input is what the user types: it goes to the terminal while a command
runs, and is given back otherwise, so that a key meant for one program never reaches the next.

Hazard: questions (is this line whole, what could complete it) are answered while the user types
on. Each is a task, the next one replaces it, and stale answers carry a number that says so.
"""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Protocol

from rshell.channels.base import Context, own_name
from rshell.channels.process.messages import STDIN, Resize, Signal
from rshell.channels.process.server import resolve_signal
from rshell.channels.shell import completion
from rshell.channels.shell.completeness import wants_more
from rshell.channels.shell.lookups import LookUps
from rshell.channels.shell.messages import (
    Cancel,
    Check,
    Checked,
    Complete,
    Completions,
    Leave,
    Question,
    RunCommand,
    ShellReply,
    Unread,
    split_unread,
)
from rshell.channels.shell.persistent import PersistentShell
from rshell.channels.shell.words import CursorWord, find_word
from rshell.errors import LocalProtocolError, RemoteProtocolError, RshellError
from rshell.protocol.codec import Json, Message, read_message
from rshell.transport.channel import Channel
from rshell.values import TerminalSize

_ASKED = (RunCommand, Signal, Cancel, Resize, Leave, Complete, Check)


class ShellOwner(Protocol):
    """Who keeps the shell that a channel speaks to."""

    @property
    def shell(self) -> PersistentShell:
        """The shell itself."""

    def run(self, command: RunCommand) -> None:
        """Run a command. Raises RemoteProtocolError when none is due."""

    def resize(self, size: TerminalSize) -> None:
        """Give the terminal another size."""

    def send(self, message: Message) -> None:
        """Send the client a message, after the output before it."""

    def leave(self, shown: int) -> None:
        """The client is about to leave, and has shown so many bytes to somebody.

        Raises RemoteProtocolError when so many were not sent.
        """


class Conversation:
    """Joins an accepted channel and a shell, from `begin` until `close`."""

    def __init__(self, channel: Channel, context: Context, owner: ShellOwner) -> None:
        self._channel = channel
        self._context = context
        self._owner = owner
        self._feeder: asyncio.Task[None] | None = None
        self._question: asyncio.Task[None] | None = None
        self._looks = LookUps()
        self._is_closed = False

    def begin(self, *, feeds: bool) -> None:
        """Listen to the client; `feeds` says whether its input is for the shell's commands."""
        self._channel.listen(self._on_message)
        if feeds and not self._is_closed:
            self._feeder = asyncio.create_task(self._feed())

    def close(self) -> None:
        """Stop listening. Harmless when closed."""
        self._is_closed = True
        for task in (self._feeder, self._question):
            if task is not None:
                task.cancel()

    def _on_message(self, message: Json) -> None:
        if self._is_closed:
            return
        shell = self._owner.shell
        try:
            asked = read_message(
                message, RunCommand, Signal, Cancel, Resize, Leave, Complete, Check
            )
            if isinstance(asked, RunCommand):
                self._owner.run(asked)
            elif isinstance(asked, Signal):
                shell.signal(resolve_signal(asked.name))
            elif isinstance(asked, Cancel):
                shell.cancel()
            elif isinstance(asked, Resize):
                self._owner.resize(asked.size)
            elif isinstance(asked, Leave):
                self._owner.leave(asked.shown)
            elif isinstance(asked, Question):
                self._ask(asked)
        except RemoteProtocolError as error:
            self._channel.reset("bad-message", str(error))

    # Input.

    async def _feed(self) -> None:
        shell = self._owner.shell
        try:
            async for block in self._channel.stream(STDIN):
                late = await shell.write(block)
                if late:
                    text = late.decode(errors="surrogateescape")
                    for piece in split_unread(text):
                        self._owner.send(Unread(piece))
        except RshellError:
            return  # the channel was cut short, which its handler is told as well
        shell.end_input()

    # Questions.

    def _ask(self, question: Question) -> None:
        if self._question is not None:
            self._question.cancel()
        self._question = asyncio.create_task(self._answer(question))

    async def _answer(self, question: Question) -> None:
        if isinstance(question, Check):
            program = self._owner.shell.program
            more = await wants_more(self._context, program, question.text)
            self._channel.send_message(Checked(question.number, more).encode())
        else:
            found = await self._candidates(question, find_word(question.text))
            self._send_candidates(found)

    def _send_candidates(self, found: Completions) -> None:
        while True:
            try:
                self._channel.send_message(found.encode())
                return
            except LocalProtocolError:  # long names; nobody reads so many
                half = len(found.texts) // 2
                found = found.replace(texts=found.texts[:half], labels=found.labels[:half])

    async def _candidates(self, question: Question, word: CursorWord) -> Completions:
        shell = self._owner.shell
        number, typed = question.number, word.words[-1]
        nothing = Completions(number, word.start, (), ())
        home = shell.environment.get("HOME", "/")
        if shell.recipe.can_complete and word.words[-2:-1] != (">",):
            lines = shell.recipe.complete(number, word.words, word.index, question.text)
            answer = await shell.ask(number, lines)
            if answer is None:
                return nothing
            options, found = set(answer.lines[0].split()), list(answer.lines[1:])
            if "filenames" not in options or (found and "files" not in options):
                return completion.from_shell(number, word, options, found)
        elif word.index == 0 and "/" not in typed:
            path = shell.environment.get("PATH", os.defpath)
            return await self._looks.run(lambda: completion.from_path(number, word, path), nothing)
        return await self._looks.run(
            lambda: completion.from_files(number, word, shell.cwd, home), nothing
        )


def welcome(shell: PersistentShell) -> Json:
    """Return what the reply of OPENED says of every shell."""
    reply = ShellReply(
        shell=shell.program,
        cwd=shell.cwd,
        home=shell.environment.get("HOME", ""),
        user=own_name(),
        host=socket.gethostname(),
    )
    return reply.encode()
