"""A named shell: a shell on a terminal that goes on without its clients.

All output goes into the ring; a cursor for the attached channel and one for each that watches
follow it, each at its own pace. The shell waits for the attached channel and for nobody else: with
none attached the oldest output is dropped instead. What an attached channel was sent stays in the
ring as long as it fits, and how a channel ends says from where on the next one is sent it again.

Hazard: the end of a channel is known here only when its handler is cancelled, a moment after
its `is_over`. Until then it counts as nobody.

Hazard: a program that is told of the size it has already draws nothing. It is given another one
for a moment, long enough to look.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import partial
from typing import Any

from rshell.channels.base import Context, WorkItem
from rshell.channels.process.messages import STDIN
from rshell.channels.shell.messages import (
    CommandBegun,
    Joined,
    Moved,
    NamedShellInfo,
    Resized,
    RunCommand,
    ShellEnding,
    ShellRequest,
)
from rshell.channels.shell.named.attachment import Attachment, OutputCursor, OutputRing
from rshell.channels.shell.persistent import PersistentShell
from rshell.channels.shell.server import command_facts, welcome
from rshell.errors import ChannelRefused, LocalProtocolError, RemoteProtocolError, SpawnError
from rshell.protocol.codec import Json, Message
from rshell.protocol.scram import Verifier
from rshell.terminal.output import ModeTracker
from rshell.transport.channel import Channel
from rshell.values import TerminalSize

_NUDGE = 0.1  # seconds with another size


class NamedShell:
    """The shell `request.name` of `context.identity`, and the outlet of its `PersistentShell`.

    `on_over()` is called once, when it has ended; `gone` is set when all its processes have,
    too. `started` is set when it has started, or can't. `verifier` is what the login of its maker
    was checked against, None without a token; `audit` is the server's log.
    """

    def __init__(
        self,
        context: Context,
        request: ShellRequest,
        verifier: Verifier | None,
        audit: Callable[[str, Json], None],
        on_over: Callable[[], object],
    ) -> None:
        assert request.name is not None and request.terminal is not None
        self.name = request.name
        self.identity = context.identity
        self.verifier = verifier
        self.created = time.time()
        self.ring = OutputRing(context.limits.named_output)
        self.is_over = False
        self.started = asyncio.Event()
        self._context = context
        self._audit = audit
        self._on_over = on_over
        self._size = request.terminal.size
        own = replace(context, clean_up=self._clean_up)
        self.shell = PersistentShell(
            self,
            own,
            request,
            self._done,
            partial(self.end, "failed"),
            partial(self._write, "ended"),
            self._tell_attached,
        )
        self._attached: Attachment | None = None
        self._watchers: list[OutputCursor] = []
        self._work: WorkItem | None = None  # while a command runs
        self._number = 0
        self._modes = ModeTracker()  # those of the terminal, at the ring's end
        self._seen_modes = b""  # those at `_seen`, or soon after
        self._seen = 0  # the position from which the next one attached is sent output
        self._last: ShellEnding | None = None
        self._last_position = 0
        self._is_last_unseen = False
        self._nudging: asyncio.TimerHandle | None = None
        self._waiting: asyncio.TimerHandle | None = None
        self._why = ""
        self._cleaning = 0
        self.gone = asyncio.Event()

    # Its life.

    async def start(self) -> None:
        """Start the shell. Raises ChannelRefused; it is over then, as when cancelled."""
        try:
            await self.shell.start()
            if self.is_over:
                raise ChannelRefused("failed", self._why)
        except (SpawnError, OSError) as error:
            self.end("failed", f"the server can't start {self.shell.program}: {error}")
            raise ChannelRefused("failed", self._why) from error
        except BaseException:
            self.end("failed", "its maker gave up")
            raise
        finally:
            self.started.set()
        self._write("shell-started", {"shell": self.shell.program, "cwd": self.shell.cwd})
        self._wait_for_somebody()

    def end(self, code: str, reason: str) -> None:
        """End the shell and what runs in it, and reset the channels. When over, do nothing."""
        channels = [cursor.channel for cursor in self._cursors()]
        if self._finish(reason):
            for channel in channels:
                channel.reset(code, reason)

    def info(self) -> NamedShellInfo:
        """Return what listings say of it."""
        running = self.shell.running
        return NamedShellInfo(
            name=self.name,
            identity=self.identity,
            created=self.created,
            attached=self._attached is not None,
            watchers=len(self._watchers),
            shell=self.shell.program,
            cwd=self.shell.cwd,
            size=self._size,
            running=None if running is None else running.text,
        )

    # Who comes and goes.

    def attach(
        self, channel: Channel, context: Context, size: TerminalSize, *, is_new: bool
    ) -> Attachment:
        """Accept a channel and give it the shell; another one that had it is moved away."""
        if self._attached is not None:
            self._release(self._attached, is_moved=True)
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
        start = max(self._seen, self.ring.start)
        self._attached = attachment = Attachment(
            context, self.shell, OutputCursor(channel, self.ring, start), self.run, self.resize
        )
        joined = self._joined(is_attached=not is_new).replace(
            size=size,
            kept=self.ring.end - start,
            dropped=start - self._seen,
            last=self._last if self._is_last_unseen else None,
        )
        if start == self._seen:
            joined = joined.replace(modes=self._seen_modes.decode())
        self._is_last_unseen = False
        try:
            channel.accept(welcome(self.shell) | joined.encode())
        except LocalProtocolError as error:  # a directory's name, where the peer takes small frames
            self.detach(attachment)
            raise ChannelRefused("failed", f"the reply does not fit: {error}") from error
        context.audit("shell-attached", self._facts(channel))
        if size == self._size and self.shell.running is not None and not is_new:
            self._nudge()
        else:
            self.resize(size)
        if self._work is not None:
            self._work.move(context.session, channel)
        channel.on_room = partial(self._has_room, attachment)
        if self.shell.prompt is not None:
            attachment.cursor.tell(self.shell.prompt)
        self._has_room(attachment)
        attachment.conversation.begin(feeds=True)
        return attachment

    def detach(self, attachment: Attachment) -> None:
        """Let go of a channel that is over, or whose handler is; another may have its place."""
        attachment.cursor.give_up()
        if self._attached is not attachment:
            return
        self._release(attachment, is_moved=False)
        if self._work is not None:
            self._work.move()
        self._wait_for_somebody()
        self.shell.resume()

    async def watch(self, channel: Channel, context: Context) -> None:
        """Accept a channel, and send it what comes from now on until it is over."""
        channel.accept(welcome(self.shell) | self._joined(is_attached=True).encode())
        context.audit("shell-watched", self._facts(channel))
        watcher = OutputCursor(channel, self.ring, self.ring.end)
        self._watchers.append(watcher)
        channel.on_room = watcher.pump
        channel.listen(lambda _: channel.reset("bad-message", "who watches has no say here"))
        if self.shell.running is not None:
            self._nudge()  # a program on the screen draws it for this one, too
        try:
            async for _ in channel.stream(STDIN):
                pass  # thrown away
            await channel.wait_closed()
        finally:
            if watcher in self._watchers:
                self._watchers.remove(watcher)

    def _release(self, attachment: Attachment, *, is_moved: bool) -> None:
        """Take the attached channel's place from it."""
        self._attached = None
        attachment.conversation.close()
        attachment.cursor.give_up()
        self._seen, is_certain = attachment.seen(is_moved=is_moved)
        self._seen_modes = self._modes.restore()
        last = self._last_position
        if last > self._seen or (last == self._seen and not is_certain):
            self._is_last_unseen = self._last is not None
        channel, event = attachment.channel, "shell-detached"
        if is_moved and not channel.is_over:
            channel.send_message(Moved().encode())
            channel.close()
            event = "shell-moved"
        attachment.context.audit(event, self._facts(channel))

    def _wait_for_somebody(self) -> None:
        seconds = self._context.limits.named_seconds
        loop = asyncio.get_running_loop()
        self._waiting = loop.call_later(
            seconds, self.end, "killed", f"nobody attached to it for {seconds:g} s"
        )

    def _joined(self, *, is_attached: bool) -> Joined:
        running = self.shell.running
        return Joined(
            attached=is_attached,
            number=self._number,
            size=self._size,
            kept=0,
            dropped=0,
            running=None if running is None else running.text,
            modes=self._modes.restore().decode(),
        )

    # What the attached client asks for.

    def run(self, command: RunCommand) -> None:
        """Run a command. Raises RemoteProtocolError when none is due."""
        if self.shell.running is not None:
            raise RemoteProtocolError("a command runs in this shell already")
        if command.number <= self._number:
            raise RemoteProtocolError(f"the next command's number is above {self._number}")
        self._number = command.number
        cwd = self.shell.cwd
        self._write("command", command_facts(command, self.shell))
        self._tell_watchers(CommandBegun(command.number, command.command, cwd))
        if self._attached is not None:
            self._work = self._attached.context.working(self._attached.channel)
        self.shell.run(command)

    def resize(self, size: TerminalSize) -> None:
        """Give the terminal another size."""
        self._stop_nudging()
        self.shell.resize(size)
        if size != self._size:
            self._size = size
            self._tell_watchers(Resized(size))

    def _nudge(self) -> None:
        self._stop_nudging()
        rows = self._size.rows
        other = replace(self._size, rows=rows - 1 if rows > 1 else 2)
        self.shell.resize(other)
        loop = asyncio.get_running_loop()
        self._nudging = loop.call_later(_NUDGE, self.shell.resize, self._size)

    def _stop_nudging(self) -> None:
        if self._nudging is not None:
            self._nudging.cancel()
            self._nudging = None

    # What the shell says.

    @property
    def room(self) -> int:
        """How much output may come now: anything, or what the attached channel has room for."""
        if self._attached is None or self._attached.channel.is_over:
            return self._context.limits.read_block
        return self._attached.cursor.room

    def want_room(self) -> None:
        """Have the shell go on once the attached channel has room."""
        if self._attached is not None:
            self._attached.channel.want_room()

    def write_nowait(self, data: bytes, stream: int = 0) -> None:
        """Take output."""
        self.ring.append(data)
        self._modes.feed(data)
        for cursor in self._cursors():
            cursor.pump()

    def _has_room(self, attachment: Attachment) -> None:
        attachment.cursor.pump()  # which may have to end what a shell has left behind
        self.shell.resume()

    def _done(self, done: ShellEnding) -> None:
        if done.number or done.restarted:  # else its startup files ended, which are no command
            self._write("ended" if done.number else "shell-restarted", done.facts())
        self._modes.reset()  # as every front end does when a program has ended
        self._last = done.replace(stdout=0, stderr=0, taken=0, unread="")
        self._last_position = self.ring.end
        attachment = self._attached
        self._is_last_unseen = attachment is None or attachment.channel.is_over
        if attachment is not None:
            first, late = done.replace(taken=max(0, done.taken - attachment.taken)).split()
            for message in (first, *late):
                attachment.cursor.tell(message)
        self._tell_watchers(done.replace(unread="", taken=0))
        if self.shell.running is None and self._work is not None:  # else another shell waits for it
            work, self._work = self._work, None
            if attachment is None:
                work.end()
            else:
                attachment.cursor.after(work.end)  # who is attached has the whole reply by then
        if done.left:
            cursors = self._cursors()
            self._finish("its shell left")
            for cursor in cursors:
                cursor.after(cursor.channel.close)

    def _finish(self, reason: str) -> bool:
        """End the shell and forget the channels. Returns False when that was done before."""
        if self.is_over:
            return False
        self.is_over = True
        self._why = reason
        self._stop_nudging()
        if self._waiting is not None:
            self._waiting.cancel()
        self.shell.close()
        if self._work is not None:
            self._work.end()
        if self._attached is not None:
            self._attached.conversation.close()
        if self.started.is_set():
            self._write("shell-ended", {"reason": reason})
        self._attached = None
        self._watchers = []
        self._on_over()
        self._check_gone()
        return True

    # Shared pieces.

    def _cursors(self) -> list[OutputCursor]:
        return ([] if self._attached is None else [self._attached.cursor]) + self._watchers

    def _tell_watchers(self, message: Message) -> None:
        for watcher in self._watchers:
            watcher.tell(message)

    def _tell_attached(self, message: Message) -> None:
        if self._attached is not None:
            self._attached.cursor.tell(message)

    def _write(self, event: str, facts: Json) -> None:
        """Write to the audit log, in the name of the attached client if there is one."""
        if self._attached is not None:
            self._attached.context.audit(event, self._facts(self._attached.channel) | facts)
        else:
            self._audit(event, {"identity": self.identity, "name": self.name} | facts)

    def _facts(self, channel: Channel) -> Json:
        """Return what the audit log says of one of its channels."""
        return {"channel": channel.number, "name": self.name}

    def _clean_up(self, work: Coroutine[Any, Any, None]) -> None:
        """Have the server do what must end after the shell, and know when it is done."""
        self._cleaning += 1
        self._context.clean_up(self._track(work))

    async def _track(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        finally:
            self._cleaning -= 1
            self._check_gone()

    def _check_gone(self) -> None:
        if self.is_over and not self._cleaning:
            self.gone.set()
