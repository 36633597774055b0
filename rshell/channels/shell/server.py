"""The server's side of a `shell` channel.

Strategy: messages go to the `PersistentShell`, its endings come back. On a terminal the
channel's input is what the user types: it goes to the terminal while a command runs, and is
given back otherwise, so that a key meant for one program never reaches the next.

Hazard: questions (is this line whole, what could complete it) are answered while the user types
on. Each is a task, the next one replaces it, and stale answers carry a number that says so.
"""

from __future__ import annotations

import asyncio
import os
import socket

from rshell.channels.base import STDIN, Host, own_name
from rshell.channels.process.messages import decode_size
from rshell.channels.process.server import resolve_signal
from rshell.channels.shell import completion
from rshell.channels.shell.check import wants_more
from rshell.channels.shell.messages import (
    Checked,
    Completions,
    Done,
    Question,
    RunCommand,
    ShellRequest,
)
from rshell.channels.shell.persistent import PersistentShell
from rshell.channels.shell.words import CursorWord, find_word
from rshell.errors import RemoteProtocolError, SpawnError
from rshell.protocol.messages import Body, Json
from rshell.transport.channel import Channel


async def serve_shell(channel: Channel, host: Host) -> None:
    """Keep a shell for the channel until the client closes it, or it is told to leave."""
    try:
        request = ShellRequest.decode(channel.request)
    except RemoteProtocolError as error:
        channel.refuse("bad-request", str(error))
        return
    await _ShellChannel(channel, host, request).serve()


class _ShellChannel:
    """Joins a channel and its shell."""

    def __init__(self, channel: Channel, host: Host, request: ShellRequest) -> None:
        self._channel = channel
        self._host = host
        self._request = request
        self._shell = PersistentShell(channel, host, request, self._done, self._fail)
        self._over = asyncio.Event()
        self._feeder: asyncio.Task[None] | None = None
        self._question: asyncio.Task[None] | None = None

    async def serve(self) -> None:
        """Start the shell, then wait until the client closes the channel or the shell leaves."""
        channel = self._channel
        try:
            try:
                await self._shell.start()
            except (SpawnError, OSError, TimeoutError) as error:
                program = self._shell.program
                channel.refuse("failed", f"the server can't start {program}: {error}")
                return
            channel.accept(self._welcome())
            channel.on_room = self._shell.resume
            channel.listen(self._on_message)
            self._shell.resume()  # there was no room before the channel was open
            if self._request.stdin or self._shell.has_terminal:
                self._feeder = asyncio.create_task(self._feed())
            await self._over.wait()
        finally:
            for task in (self._feeder, self._question):
                if task is not None:
                    task.cancel()
            self._shell.close()

    def _welcome(self) -> Json:
        environment = self._shell.environment
        return {
            "shell": self._shell.program,
            "cwd": self._shell.cwd,
            "home": environment.get("HOME", ""),
            "user": own_name(),
            "host": socket.gethostname(),
        }

    def _on_message(self, message: Json) -> None:
        body = Body("the message", message)
        try:
            kind = body.text("type")
            if kind == "run":
                self._run(RunCommand.decode(message))
            elif kind == "signal":
                self._shell.signal(resolve_signal(body.text("name", limit=32)))
            elif kind == "cancel":
                self._shell.cancel()
            elif kind == "resize":
                self._shell.resize(decode_size(body))
            elif kind in ("complete", "check"):
                self._ask(Question.decode(message))
        except RemoteProtocolError as error:
            self._channel.reset("bad-message", str(error))
            self._over.set()

    # Commands.

    def _run(self, command: RunCommand) -> None:
        if self._shell.running is not None:
            raise RemoteProtocolError("a command runs in this shell already")
        self._audit("command", {"shell": command.command, "cwd": self._shell.cwd})
        self._shell.run(command)

    def _done(self, done: Done) -> None:
        self._channel.send_message(done.encode())
        facts = done.encode()
        facts.pop("unread", None)  # it may be a password that was typed too early
        self._audit("ended", facts)
        if done.left:
            self._channel.close()
            self._over.set()

    def _fail(self, reason: str) -> None:
        self._channel.reset("failed", reason)
        self._over.set()

    # Input.

    async def _feed(self) -> None:
        async for block in self._channel.stream(STDIN):
            late = await self._shell.write(block)
            if late:
                text = late.decode(errors="surrogateescape")
                self._channel.send_message({"type": "unread", "text": text})
        self._shell.end_input()

    # Questions.

    def _ask(self, question: Question) -> None:
        if self._question is not None:
            self._question.cancel()
        self._question = asyncio.create_task(self._answer(question))

    async def _answer(self, question: Question) -> None:
        if question.kind == "check":
            more = await wants_more(self._host, self._shell.program, question.text)
            self._channel.send_message(Checked(question.number, more).encode())
        else:
            found = await self._candidates(question, find_word(question.text))
            self._channel.send_message(found.encode())

    async def _candidates(self, question: Question, word: CursorWord) -> Completions:
        shell, loop = self._shell, asyncio.get_running_loop()
        number, typed = question.number, word.words[-1]
        home = shell.environment.get("HOME", "/")
        if shell.recipe.can_complete and word.words[-2:-1] != (">",):
            lines = shell.recipe.complete(number, word.words, word.index, question.text)
            answer = await shell.ask(number, lines)
            if answer is None:
                return Completions(number, word.start)
            options, found = set(answer.lines[0].split()), list(answer.lines[1:])
            if "filenames" not in options or (found and "files" not in options):
                return completion.from_shell(number, word, options, found)
        elif word.index == 0 and "/" not in typed:
            path = shell.environment.get("PATH", os.defpath)
            return await loop.run_in_executor(None, completion.from_path, number, word, path)
        return await loop.run_in_executor(
            None, lambda: completion.from_files(number, word, shell.cwd, home)
        )

    def _audit(self, event: str, facts: Json) -> None:
        self._host.audit(event, {"channel": self._channel.number} | facts)
