"""What every channel kind shares: the handler a server runs, what it may use, and answers.

A kind is a name, a coroutine for the server and, if it likes, a class for the client. The server
calls the coroutine once for each channel of that kind; its return closes the channel. Nothing
below knows what travels in it.

A server that stops waits for what was noted as work, and for nothing else: not for an idle shell,
nor for a channel of a kind that never ends.

Hazard: a command may begin, or its channel be opened, after the server has told everybody that it
stops. The notice is kept and told to them then; it is made anew each time, because it names the
seconds that are left.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rshell.channels.process.messages import Notice
from rshell.errors import ChannelRefused, RemoteProtocolError, RshellError
from rshell.protocol.codec import Json, M, Message, encode_json, read_message
from rshell.terminal.terminfo import usable_type
from rshell.transport.channel import Channel
from rshell.values import Bounds, frozen

if TYPE_CHECKING:  # a client starts no commands
    from rshell.channels.process.messages import ProcessRequest
    from rshell.channels.shell.messages import ShellRequest
    from rshell.execution.spawn import SpawnQueue
    from rshell.transport.live_session import LiveSession


@frozen
class Context:
    """What a handler may use of the server that runs it.

    `identity` is who logged in and `session` the id of the session. Commands start in `cwd`,
    inherit `environment`, and are started by `spawner`. `audit(event, facts)` writes a line of
    the audit log. `clean_up(coroutine)` runs what must end after the channel: the server owns it
    and waits for it when it stops. `working(channel)` notes work: a stopping server waits until
    the `WorkItem` ends, or the `with` block, and the channel gets a message `notice` then. Give
    None for a channel that can't use it.
    """

    identity: str
    session: str
    limits: Bounds
    cwd: str
    environment: Mapping[str, str]
    spawner: SpawnQueue
    audit: Callable[[str, Json], None]
    clean_up: Callable[[Coroutine[Any, Any, None]], None]
    working: Callable[[Channel | None], WorkItem]

    def place(self, request: ProcessRequest | ShellRequest) -> tuple[str, dict[str, str]]:
        """Return the directory and the environment that a request asks for."""
        environment = {} if request.clear_env else dict(self.environment)
        environment.update(request.env)
        if request.terminal is not None:
            term = request.terminal.term or environment.get("TERM", "dumb")
            environment["TERM"] = usable_type(term, environment)
        return str(Path(self.cwd) / request.cwd) if request.cwd else self.cwd, environment


def type_notice(request: ProcessRequest | ShellRequest, environment: Mapping[str, str]) -> str:
    """Return what to say where the terminal's type became another one, else ""."""
    asked = "" if request.terminal is None else request.terminal.term
    term = environment.get("TERM", "")
    if not asked or asked == term:
        return ""
    return f"this machine does not know terminals of the type {asked!r}; TERM is {term} there"


Handler = Callable[[Channel, Context], Awaitable[None]]

# Of a list that a server sends: more than any has, and few enough to keep.
_LONGEST_LIST = 10_000
_LARGEST_LIST = 4 * 1024 * 1024  # bytes


def own_name() -> str:
    """Return the name of the user that this process, and every command, runs as."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


# What runs right now.


class WorkItem:
    """One thing that runs. `session` is the one that would miss its end, "" if none would.

    `is_command` tells commands from what only waits for one.
    """

    def __init__(
        self, work: Work, session: str, channel: Channel | None, *, is_command: bool
    ) -> None:
        self.session = session
        self.is_command = is_command
        self._work = work
        self._channel = channel

    def __enter__(self) -> WorkItem:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.end()

    def move(self, session: str = "", channel: Channel | None = None) -> None:
        """Note that another client is concerned, or none, and tell it what there is to tell."""
        self.session = session
        self._channel = channel
        self.tell()

    def tell(self) -> None:
        """Send the notice that was given, if one was. A channel that is not open drops it."""
        text = self._work.notice()
        if text and self._channel is not None:
            self._channel.send_message(Notice(text).encode(), urgent=True)

    def end(self) -> None:
        """It runs no more. Calling this again does nothing."""
        self._work.forget(self)


class Work:
    """All that runs on a server. `notice` returns what every command is told, "" for nothing."""

    def __init__(self) -> None:
        self.notice: Callable[[], str] = lambda: ""
        self._items: dict[WorkItem, None] = {}

    @property
    def commands(self) -> int:
        """How many commands run, jobs included."""
        return sum(item.is_command for item in self._items)

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs, and nobody waits for anything."""
        return not self._items

    def sessions(self) -> set[str]:
        """Return the sessions in which something runs."""
        return {item.session for item in self._items}

    def begin(
        self, session: str = "", channel: Channel | None = None, *, is_command: bool = True
    ) -> WorkItem:
        """Note that something runs until `WorkItem.end`, or until its `with` block ends.

        `channel` is told what there is to tell.
        """
        item = WorkItem(self, session, channel, is_command=is_command)
        self._items[item] = None
        item.tell()
        return item

    def notify(self, notice: Callable[[], str]) -> None:
        """Tell every command `notice()`, and those that begin later."""
        self.notice = notice
        for item in list(self._items):
            item.tell()

    def forget(self, item: WorkItem) -> None:
        """Drop an item that has ended."""
        self._items.pop(item, None)


# A request and its answer, at both ends. An answer that stops short raises.


async def answer_request(
    channel: Channel, kind: type[M], answer: Callable[[M], Awaitable[None]]
) -> None:
    """Have `answer` serve what the channel asks for; its ChannelRefused refuses the channel."""
    try:
        try:
            request = kind.decode(channel.request)
        except RemoteProtocolError as error:
            raise ChannelRefused("bad-request", str(error)) from error
        channel.request = {}  # whatever else the peer has put in there is not kept
        await answer(request)
    except ChannelRefused as error:
        channel.refuse(error.code, error.reason)


def listen(channel: Channel, hear: Callable[[Message], None], *kinds: type[Message]) -> None:
    """Have `hear` take the messages of these kinds; one that is wrong resets the channel."""

    def on_message(message: Json) -> None:
        try:
            heard = read_message(message, *kinds)
            if heard is not None:
                hear(heard)
        except RemoteProtocolError as error:
            channel.reset("bad-message", str(error))

    channel.listen(on_message)


def give_up(channel: Channel, error: BaseException) -> None:
    """A task that serves a channel has failed: log that, and reset the channel.

    What cut the channel or its session short is no news: its handler is told as well.
    """
    if isinstance(error, RshellError):
        return
    import logging

    logging.getLogger("rshell").error("a task of a %s channel failed", channel.kind, exc_info=error)
    channel.reset("failed", f"the server failed: {type(error).__name__}")


def send_list(channel: Channel, items: Sequence[Message], end: type[Message]) -> None:
    """Accept a channel and send it a list, with the `end` that holds its length."""
    channel.accept()
    for item in (*items, end(len(items))):
        channel.send_message(item.encode())


async def ask(live: LiveSession, kind: str, request: Message) -> Channel:
    """Open a channel with this request, and wait until it is open.

    Raises ChannelRefused, and what cuts the session short. Cancelling takes the request back.
    """
    channel = live.open_channel(kind, request.encode())
    await channel.wait_opened()
    return channel


def read_reply(channel: Channel, kind: type[M]) -> M:
    """Return what OPENED said. A bad one resets the channel and raises RemoteProtocolError."""
    try:
        return kind.decode(channel.reply)
    except RemoteProtocolError as error:
        channel.reset("bad-message", str(error))
        raise


async def receive_answer(channel: Channel, kind: type[M]) -> M:
    """Return the one message of an answer, and close the channel.

    Raises RemoteProtocolError where there is none, and what cut the channel short. Cancelling
    closes the channel, too.
    """
    try:
        message = await channel.receive_message()
    finally:
        channel.close()
    answer = None if message is None else read_message(message, kind)
    if answer is None:
        raise RemoteProtocolError("the server closed the channel without an answer")
    return answer


async def receive_list(channel: Channel, kind: type[M], end: type[Message]) -> list[M]:
    """Return the messages of a list up to its `end`, which holds their number.

    Raises RemoteProtocolError for a list without its end, with another number, or too long to be
    kept, and what cut the channel short. The channel is closed then, too, and when cancelled.
    """
    found: list[M] = []
    size = 0
    what = end.FIELDS[0].key
    try:
        while (message := await channel.receive_message()) is not None:
            item = read_message(message, kind, end)
            if not isinstance(item, kind):
                if item == end(len(found)):
                    return found
                break
            found.append(item)
            size += len(encode_json(message))
            if len(found) > _LONGEST_LIST or size > _LARGEST_LIST:
                raise RemoteProtocolError(f"the server's list of {what} has no end in sight")
        raise RemoteProtocolError(f"the server's list of {what} has no end, or stops short")
    finally:
        channel.close()


def check_count(received: int, sent: int, of: str = "output") -> None:
    """Raise RemoteProtocolError unless as many bytes arrived as the server says that it sent."""
    if received != sent:
        raise RemoteProtocolError(
            f"{received} bytes of {of} arrived of the {sent} that the server sent"
        )
