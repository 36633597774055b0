"""A server that means harm: it logs a client in and then says what a test wants, in any order.

It speaks frames by hand, so that it can say what no `Session` would: more than the windows allow,
messages of wrong types, lists without an end. `EVIL` acts on a terminal in every way there is, and
would act at a prompt if it were typed.

By hand: `python -m tests.support.hostile SOCKET ATTACK`, and any `rshell unix:SOCKET`.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from rshell.channels.shell.messages import Errand, ListNames, ShellEnding
from rshell.protocol.codec import Json, Message
from rshell.protocol.fields import Field, Group
from rshell.protocol.frames import FrameDecoder, FrameType
from rshell.values import ExitStatus, TerminalSize
from tests.support.messages import all_messages
from tests.support.wire import HELLO, IDENTITY, data_frame, frame

EVIL = "\x1b]0;owned\x07\x1b[2J\x1b[c\x18\x05\x03\x04\r\ntouch owned\n\u202e\x9b31m\u2028"
MIB = 1024 * 1024
WRONG: tuple[Any, ...] = (None, -1, 1e308, [], {}, True, EVIL, [[[]]] * 100)

# What a channel is answered with: the frames, made as they are sent. It is given the channel's
# number, what was asked, and the messages that the client sends, "typed" for each frame of input.
Attack = Callable[[int, Json, "asyncio.Queue[Json]"], AsyncIterator[bytes]]


def opened(number: int, reply: Json | None = None) -> bytes:
    """Return the frame that grants a channel."""
    return frame(FrameType.OPENED, number, {"window": MIB, "reply": reply or {}})


def said(number: int, message: Json) -> bytes:
    """Return the frame of a message."""
    return frame(FrameType.MESSAGE, number, message)


def welcome(text: str = EVIL) -> Json:
    """Return a reply that is right for every kind of channel, with `text` wherever it goes."""
    shell = dict.fromkeys(("shell", "cwd", "home", "user", "host"), text)
    return {"pid": 1, "name": "job", **shell}


def ending(number: int, **more: Any) -> Json:
    """Return the ending of a command in a shell."""
    return ShellEnding(number, ExitStatus(code=0), EVIL, 0, 0, 0.0).encode() | more


def exited(stdout: int = 0, stderr: int = 0) -> Json:
    """Return the ending of a command."""
    sent = {"stdout": stdout, "stderr": stderr}
    return {"type": "exit", "exit_status": 0, "duration": 0.0, **sent}


def every_message(text: str = EVIL) -> Iterator[Json]:
    """Yield one right message of each type, with `text` in each place that takes text."""
    for kind in all_messages():
        if kind is ListNames:
            continue  # a client's, of the same type as the server's answer
        if kind is Errand:
            continue  # somebody would have to answer it
        if kind.TYPE and kind.TYPE not in ("exit", "done", "end", "moved"):
            yield {"type": kind.TYPE} | _values(kind, text)


def every_wrong_message() -> Iterator[Json]:
    """Yield each type of message with each of its fields of a wrong type, and without a type."""
    for kind in all_messages():
        for field in kind.FIELDS if kind.TYPE else ():
            for wrong in WRONG:
                for key in _keys(field):
                    yield {"type": kind.TYPE} | _values(kind, "x") | {key: wrong}
    yield from ({}, {"type": 1}, {"type": EVIL}, {"type": None})


def _keys(field: Field) -> list[str]:
    return [part.key for part in field.parts] if isinstance(field, Group) else [field.key]


def _values(kind: type[Message], text: str) -> Json:
    values: Json = {}
    for field in kind.FIELDS:
        if isinstance(field, Group):
            if field.build is TerminalSize:
                values |= {"columns": 65535, "rows": 65535}
            else:
                values |= {"exit_status": 0}
        elif field.wanted.startswith("one of "):
            values[field.key] = field.wanted.removeprefix("one of ").split(", ")[0]
        elif field.wanted.startswith("a name"):
            values[field.key] = "name"
        else:
            values[field.key] = {
                "integer": int(min(field.high, 2**40)),
                "number": 1.0,
                "boolean": True,
                "string": text[: int(field.high)],
                "object": {},
                "list of strings": [text] * 3,
                "object of strings": {},
            }[field.says]
    return values


class HostileServer:
    """Serves every channel with `attack`. `heard` is what clients have sent, by type."""

    def __init__(self, attack: Attack) -> None:
        self._attack = attack
        self.requests: list[Json] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Talk to one client until it has gone."""
        decoder = FrameDecoder(2**30)
        inboxes: dict[int, asyncio.Queue[Json]] = {}
        tasks: list[asyncio.Task[None]] = []
        writer.write(frame(FrameType.HELLO, 0, HELLO))
        try:
            while data := await reader.read(65536):
                for item in decoder.feed(data):
                    if item.type == FrameType.AUTH:
                        writer.write(frame(FrameType.AUTH, 0, {"done": True, "identity": IDENTITY}))
                    elif item.type == FrameType.ATTACH:
                        granted = {"session": "s", "secret": "s", "received": 0}
                        writer.write(frame(FrameType.ATTACHED, 0, granted))
                    elif item.type == FrameType.OPEN:
                        request = json.loads(bytes(item.body))["request"]
                        self.requests.append(request)
                        inbox = inboxes[item.channel] = asyncio.Queue()
                        attack = self._attack(item.channel, request, inbox)
                        tasks.append(asyncio.create_task(_send(writer, attack)))
                    elif item.type == FrameType.DATA:
                        inboxes[item.channel].put_nowait({"type": "typed"})
                    elif item.type == FrameType.MESSAGE:
                        inboxes[item.channel].put_nowait(json.loads(bytes(item.body)))
        except ConnectionError:
            pass
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


async def _send(writer: asyncio.StreamWriter, attack: AsyncIterator[bytes]) -> None:
    with suppress(ConnectionError):
        async for frames in attack:
            writer.write(frames)
            await writer.drain()


@asynccontextmanager
async def hostile(path: Path, attack: Attack) -> AsyncIterator[HostileServer]:
    """Listen on the Unix socket `path`, whose address for `rshell` is `unix:PATH`."""
    server = HostileServer(attack)
    listener = await asyncio.start_unix_server(server.serve, path)
    try:
        yield server
    finally:
        listener.close()


# Attacks.


async def every(number: int, request: Json, inbox: asyncio.Queue[Json]) -> AsyncIterator[bytes]:
    """Grant the channel, say everything there is, and end well."""
    yield opened(number, welcome())
    for message in every_message():
        yield said(number, message)
    yield data_frame(number, 1, b"output\n")
    yield said(number, exited(stdout=7))
    yield frame(FrameType.CLOSE, number)


async def flood(number: int, request: Json, inbox: asyncio.Queue[Json]) -> AsyncIterator[bytes]:
    """Grant the channel and say long things without an end."""
    yield opened(number, welcome())
    messages: list[Json] = [
        {"type": "notice", "text": EVIL * 1500},
        {"type": "unread", "text": EVIL * 1500},
        {"type": "job"} | job(EVIL * 10),
        {"type": "session"} | named(EVIL * 1000),
        {"type": EVIL, "nested": [[]] * 5_000},  # few enough to be read
        ending(0, restarted=True),
    ]
    for message in itertools.cycle(messages):
        yield said(number, message)


def job(command: str) -> Json:
    """Return a job that a list holds."""
    return {"name": "job", "command": command[:1024], "started": 0, "state": "running"}


def named(text: str) -> Json:
    """Return a named shell that a list holds."""
    size = {"columns": 80, "rows": 24}
    texts = {"identity": text[:200], "shell": text, "cwd": text}
    state = {"created": 0, "attached": True, "watchers": 0}
    return {"name": "shell", **texts, **size, **state}


async def jobs(number: int, request: Json, inbox: asyncio.Queue[Json]) -> AsyncIterator[bytes]:
    """Answer with a list that has no end."""
    yield opened(number)
    entry = said(number, {"type": "job"} | job("x" * 1024))
    if "process" not in request and request.get("verb") == "list":
        entry = said(number, {"type": "job"} | job(EVIL)) * 50
    while True:
        yield entry


async def shells(number: int, request: Json, inbox: asyncio.Queue[Json]) -> AsyncIterator[bytes]:
    """Answer with a list of named shells that has no end."""
    yield opened(number)
    while True:
        yield said(number, {"type": "session"} | named("x" * 100_000))


async def output(number: int, request: Json, inbox: asyncio.Queue[Json]) -> AsyncIterator[bytes]:
    """Print without an end, as the windows allow."""
    yield opened(number, welcome())
    sent = 0
    while True:
        yield data_frame(number, 1, bytes(32 * 1024))
        sent += 32 * 1024
        if sent > MIB // 2:
            await asyncio.sleep(0.001)


NICE = {"user": "me", "host": "box", "home": "/", "cwd": "/x"}


class Shell:
    """A shell that answers each command with all the harm there is; `ran` is what it was told."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    async def __call__(
        self, number: int, request: Json, inbox: asyncio.Queue[Json]
    ) -> AsyncIterator[bytes]:
        yield opened(number, welcome() | NICE)
        while True:
            heard = await inbox.get()
            if heard["type"] in ("complete", "check"):
                yield self._answer(number, heard)
            if heard["type"] != "run":
                continue
            self.ran.append(heard["command"])
            for message in every_message():
                yield said(number, message)
            for _ in range(50):
                yield said(number, {"type": "unread", "text": "\x18\x05\r" * 10_000})
                yield said(number, {"type": "notice", "text": EVIL * 1500})
                yield said(number, ending(0, restarted=True))
            yield data_frame(number, 1, b"shown\r\n")
            done = ending(heard["number"], stdout=7, cwd="/x", unread="\x18\x05rm\n" * 5000)
            if heard["command"].endswith("exit"):
                yield said(number, done | {"left": True, "unread": ""})
                yield frame(FrameType.CLOSE, number)
                return
            yield said(number, done)
            # And above the prompt.
            for _ in range(50):
                yield said(number, {"type": "unread", "text": "rm\n" * 1000})
                yield said(number, {"type": "notice", "text": EVIL * 1500})

    def _answer(self, number: int, asked: Json) -> bytes:
        if asked["type"] == "check":
            return said(number, {"type": "checked", "number": asked["number"], "incomplete": False})
        texts = [EVIL, *(f"candidate{n}\x18\x05" for n in range(2500))]
        found = {"number": asked["number"], "start": 0, "texts": texts, "labels": texts}
        return said(number, {"type": "completions"} | found)


ATTACKS: dict[str, Attack] = {
    "every": every,
    "flood": flood,
    "jobs": jobs,
    "shells": shells,
    "output": output,
    "shell": Shell(),
}


async def _main(path: Path, attack: Attack) -> None:
    async with hostile(path, attack):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1]), ATTACKS[sys.argv[2]]))
