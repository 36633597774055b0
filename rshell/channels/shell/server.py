"""The server's side of a `shell` channel: what the client asks, types, and is answered.

A `Conversation` joins a channel and a shell. Messages go to the `PersistentShell`; its endings come
back through the one who keeps it: a `PlainShell`, which lives and dies with its channel, or a named
shell (named/), whose channels come and go. On a terminal the channel's input is what the user
types: it goes to the terminal while a command runs, and is given back otherwise, which keeps a key
meant for one program away from the next.

Hazard: questions (is this line whole, what could complete it) are answered while the user types
on. Each is a task, the next one replaces it, and stale answers carry a number that says so.
"""

from __future__ import annotations

import asyncio
import os
import socket
from functools import partial
from typing import Protocol

from rshell.aio import on_failure
from rshell.channels.base import Context, WorkItem, give_up, listen, own_name, type_notice
from rshell.channels.process.messages import STDIN, Notice, Resize, Signal
from rshell.channels.process.server import resolve_signal
from rshell.channels.shell import completion
from rshell.channels.shell.completeness import wants_more
from rshell.channels.shell.completion import LookUps, find_word
from rshell.channels.shell.errands.desk import Asker
from rshell.channels.shell.messages import (
    Cancel,
    Check,
    Checked,
    Complete,
    Completions,
    ErrandDone,
    Leave,
    ListNames,
    Names,
    Question,
    RunCommand,
    ShellEnding,
    ShellReply,
    ShellRequest,
    Unread,
    split_unread,
)
from rshell.channels.shell.persistent import PersistentShell
from rshell.errors import LocalProtocolError, RemoteProtocolError, RshellError, SpawnError
from rshell.protocol.codec import Json, Message
from rshell.transport.channel import Channel
from rshell.values import TerminalSize


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
        self._asker: Asker | None = None
        self._is_closed = False

    def begin(self, *, feeds: bool) -> None:
        """Listen to the client; `feeds` says whether its input is for the shell's commands."""
        if self._is_closed:
            return
        kinds = (RunCommand, Signal, Cancel, Resize, Leave, ErrandDone, Complete, Check)
        listen(self._channel, self._hear, *kinds, ListNames)  # which may hear of the end at once
        if feeds and not self._is_closed:
            self._feeder = asyncio.create_task(self._feed())
            on_failure(self._feeder, partial(give_up, self._channel))

    def take_errands(self) -> None:
        """Have the client be asked for what commands in the shell want of it."""
        if not self._is_closed:
            number = {"channel": self._channel.number}
            self._asker = Asker(
                self._owner.send, lambda event, facts: self._context.audit(event, number | facts)
            )
            self._owner.shell.errands.attach(self._asker)

    def close(self) -> None:
        """Stop listening."""
        self._is_closed = True
        if self._asker is not None:
            self._owner.shell.errands.detach(self._asker)
        self._channel.listen(lambda message: None)
        for task in (self._feeder, self._question):
            if task is not None:
                task.cancel()

    def _hear(self, asked: Message) -> None:
        shell = self._owner.shell
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
        elif isinstance(asked, ErrandDone):
            shell.errands.take(asked)
        elif isinstance(asked, (Question, ListNames)):
            self._ask(asked)

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

    def _ask(self, question: Question | ListNames) -> None:
        if self._question is not None:
            self._question.cancel()
        self._question = asyncio.create_task(self._answer(question))
        on_failure(self._question, partial(give_up, self._channel))

    async def _answer(self, question: Question | ListNames) -> None:
        if isinstance(question, Check):
            program = self._owner.shell.program
            more = await wants_more(self._context, program, question.text)
            self._channel.send_message(Checked(question.number, more).encode())
        elif isinstance(question, ListNames):
            await self._send_names(question)
        elif isinstance(question, Complete):
            self._send_candidates(await self._candidates(question))

    def _send_candidates(self, found: Completions) -> None:
        while True:
            try:
                self._channel.send_message(found.encode())
                return
            except LocalProtocolError:  # long names; nobody reads so many
                half = len(found.texts) // 2
                found = found.replace(
                    texts=found.texts[:half],
                    labels=found.labels[:half],
                    descriptions=found.descriptions[:half],
                )

    async def _send_names(self, question: ListNames) -> None:
        shell = self._owner.shell
        names = await shell.ask("names", question.number, "") or []
        try:
            self._channel.send_message(Names(question.number, tuple(names)).encode())
        except LocalProtocolError:  # more than fits into a frame: half of them would mislead
            self._channel.send_message(Names(question.number, ()).encode())

    async def _candidates(self, question: Complete) -> Completions:
        """Return the shell's own candidates, or those of the file system for a plain shell."""
        shell = self._owner.shell
        number = question.number
        word = find_word(question.text)
        nothing = Completions(number, word.start, (), ())
        fields = await shell.ask("complete", number, question.text)
        if fields is not None and len(fields) == 6 and not fields[0]:
            said, cwd = fields[1:], shell.cwd
            return await self._looks.run(
                lambda: completion.from_completed_line(number, said, cwd), nothing
            )
        if fields is not None:
            return completion.from_shell(number, fields)
        home = shell.environment.get("HOME", "/")
        if word.index == 0 and "/" not in word.words[-1]:
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
        starting=shell.is_starting,
    )
    return reply.encode()


def command_facts(command: RunCommand, shell: PersistentShell) -> Json:
    """Return what the audit log says of a command; its ending has the same number."""
    return {"number": command.number, "shell": command.command, "cwd": shell.cwd}


class PlainShell:
    """A channel with a shell of its own, which lives and dies with it."""

    def __init__(self, channel: Channel, context: Context, request: ShellRequest) -> None:
        self.shell = PersistentShell(
            channel,
            context,
            request,
            self._done,
            self._fail,
            partial(self._audit, "ended"),
            self.send,
        )
        self._channel = channel
        self._context = context
        self._request = request
        self._conversation = Conversation(channel, context, self)
        self._work: WorkItem | None = None  # while a command runs

    async def serve(self) -> None:
        """Start the shell, then wait until the client closes the channel or the shell leaves."""
        channel = self._channel
        try:
            try:
                await self.shell.start()
            except (SpawnError, OSError) as error:
                program = self.shell.program
                channel.refuse("failed", f"the server can't start {program}: {error}")
                return
            channel.accept(welcome(self.shell))
            if text := type_notice(self._request, self.shell.environment):
                self.send(Notice(text))
            channel.on_room = self.shell.resume
            if self._request.errands:
                self._conversation.take_errands()
            self._conversation.begin(feeds=self._request.stdin or self.shell.has_terminal)
            self.shell.resume()  # there was no room before the channel was open
            await channel.wait_closed()
        finally:
            self._conversation.close()
            self.shell.close()
            self._end_work()

    def run(self, command: RunCommand) -> None:
        """Run a command. Raises RemoteProtocolError while another one runs."""
        if self.shell.running is not None:
            raise RemoteProtocolError("a command runs in this shell already")
        self._audit("command", command_facts(command, self.shell))
        self._work = self._context.working(self._channel)
        self.shell.run(command)

    def resize(self, size: TerminalSize) -> None:
        """Give the terminal another size."""
        self.shell.resize(size)

    def send(self, message: Message) -> None:
        """Send the client a message."""
        self._channel.send_message(message.encode())

    def leave(self, shown: int) -> None:
        """Do nothing: this shell ends with its channel, and nobody will want the rest."""

    def _done(self, done: ShellEnding) -> None:
        first, late = done.split()
        for message in (first, *late):
            self._channel.send_message(message.encode())
        if self.shell.running is None:  # else another shell has taken the place of one that died
            self._end_work()
        if done.number or done.restarted:  # else its startup files ended, which are no command
            self._audit("ended" if done.number else "shell-restarted", done.facts())
        if done.left:
            self._channel.close()

    def _fail(self, reason: str) -> None:
        self._channel.reset("failed", reason)

    def _end_work(self) -> None:
        if self._work is not None:
            self._work.end()
            self._work = None

    def _audit(self, event: str, facts: Json) -> None:
        self._context.audit(event, {"channel": self._channel.number} | facts)
