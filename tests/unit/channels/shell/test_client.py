"""The messages of a shell channel, with a server that says what a test wants."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from rshell.channels.process.messages import Terminal
from rshell.channels.shell.client import ShellLine, open_line
from rshell.channels.shell.messages import Joined, ShellEnding, ShellRequest
from rshell.channels.shell.replies import start_shell
from rshell.errors import ChannelReset, RemoteProtocolError
from rshell.protocol.codec import Json
from rshell.transport.channel import Channel
from rshell.values import ExitStatus, TerminalSize
from tests.support.session import memory_session, until

SIZE = TerminalSize(columns=80, rows=24)
NAMED = ShellRequest(terminal=Terminal(SIZE), name="work")
WELCOME: Json = {"shell": "/bin/sh", "cwd": "/", "home": "/", "user": "me", "host": "here"}

Serve = Callable[[Channel], Awaitable[None]]


def done(number: int, **more: Any) -> Json:
    return ShellEnding(number, ExitStatus(code=number), "/there", 0, 0, 0.5, **more).encode()


class Server:
    """A named shell that was there already. `heard` is what the client has said."""

    def __init__(self, *early: Json, running: str | None = None, number: int = 7) -> None:
        self.early = early
        self.joined = Joined(True, number, SIZE, 0, 0, running=running)
        self.channels: list[Channel] = []
        self.heard: list[Json] = []

    async def __call__(self, channel: Channel) -> None:
        self.channels.append(channel)
        channel.accept(WELCOME | self.joined.encode())
        for message in self.early:
            channel.send_message(message)
        channel.listen(self.heard.append)
        await channel.wait_closed()

    async def is_asked(self) -> None:
        await until(lambda: bool(self.heard))

    def say(self, message: Json) -> None:
        self.channels[-1].send_message(message)


async def test_commands_are_numbered_from_where_the_session_is() -> None:
    server = Server(number=7)
    async with memory_session(server) as both, await open_line(both.live, NAMED) as line:
        assert line.name == "work" and line.found == server.joined
        running = asyncio.ensure_future(line.run("ls"))
        await until(lambda: bool(server.heard))
        assert server.heard == [{"type": "run", "number": 8, "command": "ls"}]
        server.say(done(7))  # somebody else's
        server.say(done(8))
        assert (await running).status.code == 8


async def test_a_command_that_runs_is_followed_to_its_ending() -> None:
    server = Server(running="make")
    endings: list[ShellEnding] = []
    async with memory_session(server) as both, await open_line(both.live, NAMED) as line:
        line.on_done = endings.append
        assert line.found is not None and line.found.running == "make"
        following = asyncio.ensure_future(line.follow())
        await asyncio.sleep(0)
        line.write_nowait(b"keys")
        server.say(done(7, taken=1, unread="k"))
        server.say({"type": "unread", "text": "eys"})
        ending = await following
        assert (ending.number, ending.unread) == (7, "keys")
        assert [each.number for each in endings] == [7] and line.cwd == "/there"
        assert await line.outcome() is None


async def test_no_more_comes_back_than_was_sent() -> None:
    """A server could type anything at the prompt, three gigabytes of it."""
    server = Server()
    back: list[str] = []
    async with memory_session(server) as both, await open_line(both.live, NAMED) as line:
        line.on_unread = back.append
        running = asyncio.ensure_future(line.run("cat"))
        await until(lambda: bool(server.heard))
        line.write_nowait(b"12345678")
        server.say({"type": "unread", "text": "abc"})
        server.say(done(8, taken=6, unread="def" + "x" * 1000))
        for _ in range(100):
            server.say({"type": "unread", "text": "y" * 10_000})
        assert (await running).unread == "defxx"
        await until(lambda: not both.server_live.session.has_output())
        server.say({"type": "unread", "text": "more"})
        again = asyncio.ensure_future(line.run("ls"))
        await until(lambda: len(server.heard) == 2)
        server.say(done(9, unread="and more"))
        assert (await again).unread == "" and back == ["abc"]


async def test_who_attaches_gets_back_what_another_client_typed() -> None:
    server = Server(running="make")
    async with memory_session(server) as both, await open_line(both.live, NAMED) as line:
        following = asyncio.ensure_future(line.follow())
        server.say(done(7, unread="typed before" + "x" * 10_000))
        assert len((await following).unread) == 4096


async def test_text_that_is_no_bytes_ends_the_channel_and_nothing_else() -> None:
    for message in (done(8) | {"unread": "\ud800"}, {"type": "unread", "text": "\ud800"}):
        server = Server()
        async with memory_session(server) as both, await open_line(both.live, NAMED) as line:
            running = asyncio.ensure_future(line.run("cat"))
            await server.is_asked()
            line.write_nowait(b"1234")
            server.say(message)
            with pytest.raises(ChannelReset, match="a string of at most"):
                await running
            assert both.live.error is None


async def test_input_that_never_comes_back_is_not_waited_for_when_nobody_wants_to() -> None:
    server = Server()
    async with memory_session(server) as both, await open_line(both.live, NAMED) as line:
        running = asyncio.ensure_future(line.run("cat"))
        await until(lambda: bool(server.heard))
        line.write_nowait(b"1234")
        ended: list[ShellEnding] = []
        line.on_done = ended.append
        server.say(done(8, taken=0))
        await until(lambda: bool(ended))
        assert not running.done()
        line.stop_waiting()
        assert (await running).unread == ""


async def test_an_ending_that_came_before_anybody_listened_is_told_when_somebody_does() -> None:
    server = Server(done(7), running="make")
    async with memory_session(server) as both, await open_line(both.live, NAMED) as line:
        await until(lambda: line.cwd == "/there")
        endings: list[ShellEnding] = []
        line.on_done = endings.append
        assert (await line.follow()).number == 7
        assert [each.number for each in endings] == [7]


async def test_being_moved_ends_every_wait_and_says_so() -> None:
    server = Server(running="make")
    async with memory_session(server) as both, await open_line(both.live, NAMED) as line:
        following = asyncio.ensure_future(line.follow())
        await asyncio.sleep(0)
        server.say({"type": "moved"})
        server.channels[-1].close()
        with pytest.raises(ChannelReset, match="work was attached elsewhere") as caught:
            await following
        assert caught.value.code == "moved"
        with pytest.raises(ChannelReset, match="work was attached elsewhere"):
            await line.run("ls")


async def test_a_session_that_is_ended_says_why() -> None:
    server = Server()
    async with memory_session(server) as both, await open_line(both.live, NAMED) as line:
        server.channels[-1].reset("killed", "somebody ended it")
        await line.channel.wait_closed()
        assert isinstance(line.cause, ChannelReset)
        assert (line.cause.code, str(line.cause)) == ("killed", "somebody ended it")


@pytest.mark.parametrize(
    ("request_", "error"), [(NAMED, None), (ShellRequest(terminal=Terminal(SIZE)), ChannelReset)]
)
async def test_leaving_lets_a_named_session_go_and_ends_any_other(
    request_: ShellRequest, error: type[Exception] | None
) -> None:
    server = Server()
    async with memory_session(server) as both:
        async with await open_line(both.live, request_):
            pass
        await until(lambda: server.channels[-1].is_over)
        found = server.channels[-1].error
        assert (found is None) if error is None else isinstance(found, error)


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (WELCOME, "knows no named shells"),
        (WELCOME | {"attached": 1}, "attached"),
        (WELCOME | Joined(True, 1, SIZE, 0, 0).encode() | {"number": -1}, "number"),
    ],
)
async def test_a_reply_that_is_not_of_a_named_session_is_refused(reply: Json, message: str) -> None:
    channels: list[Channel] = []

    async def serve(channel: Channel) -> None:
        channels.append(channel)
        channel.accept(reply)
        await channel.wait_closed()

    async with memory_session(serve) as both:
        with pytest.raises(RemoteProtocolError, match=message):
            await open_line(both.live, NAMED)
        await until(lambda: channels[0].is_over)
        line = await open_line(both.live, ShellRequest(terminal=Terminal(SIZE)))
        assert isinstance(line, ShellLine) and line.found is None and line.name == ""


async def test_what_no_frame_can_hold_is_an_error_of_the_caller_and_costs_nothing() -> None:
    server = Server(number=7)
    async with memory_session(server) as both, await open_line(both.live, NAMED) as line:
        for text in ("ы" * 44_000, '"' * 140_000, "x" * 2**18, "\ud800"):
            with pytest.raises(ValueError, match="can't be sent"):
                await line.run(text)
            with pytest.raises(ValueError, match="can't be sent"):
                await line.complete(text)
        running = asyncio.ensure_future(line.run("ls"))
        await until(lambda: bool(server.heard))
        assert [message["number"] for message in server.heard] == [8]
        server.say(done(8))
        assert (await running).status.code == 8


STARTING = ShellRequest(terminal=Terminal(SIZE), login=True)


class StartingServer(Server):
    """A shell on a terminal whose startup files run."""

    async def __call__(self, channel: Channel) -> None:
        self.channels.append(channel)
        channel.accept(WELCOME | {"starting": True})
        for message in self.early:
            channel.send_message(message)
        channel.listen(self.heard.append)
        await channel.wait_closed()


async def test_startup_files_are_followed_like_a_command_with_the_number_0() -> None:
    server = StartingServer()
    endings: list[ShellEnding] = []
    async with memory_session(server) as both, await open_line(both.live, STARTING) as line:
        assert line.is_starting and line.prompt is None
        line.on_done = endings.append
        following = asyncio.ensure_future(line.follow())
        await asyncio.sleep(0)
        line.write_nowait(b"ahead")
        server.say({"type": "prompt", "text": "mine> ", "right": "r", "mode": "vi"})
        server.say(done(1))  # nobody has asked for that
        server.say(done(0, taken=5, unread="ahead"))
        assert (await following).unread == "ahead"
        assert [each.number for each in endings] == [0] and not line.is_starting
        assert line.prompt is not None
        assert (line.prompt.text, line.prompt.right, line.prompt.mode) == ("mine> ", "r", "vi")
        running = asyncio.ensure_future(line.run("ls"))
        await server.is_asked()
        assert server.heard[-1]["number"] == 1
        server.say(done(0, restarted=True))  # which is no ending of a start any more
        server.say(done(1))
        assert (await running).number == 1


async def test_a_named_shell_may_be_found_while_its_startup_files_run() -> None:
    server = Server(running="", number=7)
    async with memory_session(server) as both, await open_line(both.live, NAMED) as line:
        assert line.is_starting
        following = asyncio.ensure_future(line.follow())
        server.say(done(0, unread="typed before"))
        assert (await following).unread == "typed before"
        running = asyncio.ensure_future(line.run("ls"))
        await server.is_asked()
        assert server.heard[-1]["number"] == 8
        running.cancel()


async def test_another_prompt_is_told_also_while_no_command_runs() -> None:
    server = Server({"type": "prompt", "text": "one"})
    async with memory_session(server) as both, await open_line(both.live, NAMED) as line:
        told: list[str] = []
        line.on_prompt = lambda: told.append(line.prompt.text if line.prompt else "")
        server.say({"type": "prompt", "text": "two"})
        await until(lambda: told[-1:] == ["two"])


async def test_names_are_asked_for_by_number() -> None:
    server = Server()
    async with memory_session(server) as both, await open_line(both.live, NAMED) as line:
        asking = asyncio.ensure_future(line.names())
        await server.is_asked()
        assert server.heard == [{"type": "names", "number": 1}]
        server.say({"type": "names", "number": 2, "names": ["stale"]})
        server.say({"type": "names", "number": 1, "names": ["ls", "cat"]})
        assert await asking == ("ls", "cat")


async def test_a_shell_for_programs_opens_when_its_startup_files_have_run() -> None:
    server = StartingServer()
    async with memory_session(server) as both:
        opening = asyncio.ensure_future(start_shell(both.live, STARTING))
        await until(lambda: bool(server.channels))
        server.channels[0].write_nowait(b"Welcome", 1)
        server.say(done(0) | {"stdout": 7})
        shell = await opening
        running = asyncio.ensure_future(shell.run("x"))
        await server.is_asked()
        server.say(done(1))
        assert (await running).stdout == b""


async def test_a_shell_for_programs_that_ends_while_it_starts_is_no_shell() -> None:
    server = StartingServer(done(0, left=True))
    async with memory_session(server) as both:
        with pytest.raises(ChannelReset, match="as soon as it was started"):
            await start_shell(both.live, STARTING)
