"""Sessions in use: handlers and their failures, many channels at once, and the session's end."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

import pytest

from rshell.errors import (
    ChannelError,
    ChannelRefused,
    ChannelReset,
    LinkLost,
    LocalProtocolError,
    RemoteProtocolError,
    SessionClosed,
)
from rshell.transport.channel import Channel
from rshell.transport.live_session import as_session_error
from rshell.values import Bounds
from tests.support.session import memory_session, until

MIB = 1024 * 1024


class Zoo:
    """Handlers of many characters, by the kind of the channel."""

    def __init__(self) -> None:
        self.cancelled: list[str] = []
        self.waiting = asyncio.Event()

    async def serve(self, channel: Channel) -> None:
        await getattr(self, channel.kind)(channel)

    async def echo(self, channel: Channel) -> None:
        channel.accept()
        async for block in channel:
            await channel.write(block)

    async def fails_before(self, channel: Channel) -> None:
        raise KeyError("secret")

    async def fails_after(self, channel: Channel) -> None:
        channel.accept()
        await channel.write(b"some")
        raise ValueError("secret")

    async def forgets(self, channel: Channel) -> None:
        """Answer nothing."""

    async def writes(self, channel: Channel) -> None:
        channel.accept()
        self.waiting.set()
        await channel.write(bytes(32 * MIB))

    async def fails_elsewhere(self, channel: Channel) -> None:
        channel.accept()
        raise ChannelReset("gone", "another channel of ours has gone")

    async def stalls(self, channel: Channel) -> None:
        """Accept, then read nothing and wait."""
        channel.accept()
        self.waiting.set()
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            self.cancelled.append(channel.kind)
            raise

    async def hesitates(self, channel: Channel) -> None:
        self.waiting.set()
        await asyncio.get_running_loop().create_future()

    async def resets_and_stays(self, channel: Channel) -> None:
        channel.accept()
        channel.reset("enough", "enough")
        self.waiting.set()
        await asyncio.get_running_loop().create_future()

    async def closes_and_stays(self, channel: Channel) -> None:
        channel.accept()
        channel.close()
        self.waiting.set()
        await asyncio.get_running_loop().create_future()

    async def chokes(self, channel: Channel) -> None:
        def on_message(message: object) -> None:
            raise KeyError(message)

        channel.listen(on_message)
        await self.stalls(channel)

    async def dawdles(self, channel: Channel) -> None:
        """Take some passes of the loop to clean up, as a handler may."""
        channel.accept()
        self.waiting.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            for _ in range(20):
                await asyncio.sleep(0)
            self.cancelled.append("cleaned up")


async def test_a_handler_that_fails_ends_its_own_channel_and_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    zoo = Zoo()
    async with memory_session(zoo.serve) as session:
        steady = await session.open("echo")
        with pytest.raises(ChannelRefused) as refused:
            await session.open("fails_before")
        failing = session.live.open_channel("fails_after", {})
        await failing.wait_closed()
        assert isinstance(failing.error, ChannelReset)
        assert refused.value.code == failing.error.code == "failed"
        # What the bug was is for the server's own log, not for the client.
        assert str(refused.value) == "the server failed: KeyError"
        assert str(failing.error) == "the server failed: ValueError"
        assert [record.exc_info is not None for record in caplog.records] == [True, True]
        assert all(record.levelno == logging.ERROR for record in caplog.records)
        await steady.write(b"still here")
        steady.send_eof()
        assert await steady.read() == b"still here"


async def test_a_handler_that_answers_nothing_is_answered_for() -> None:
    async with memory_session(Zoo().serve) as session:
        with pytest.raises(ChannelRefused, match="did not answer") as refused:
            await session.open("forgets")
        assert refused.value.code == "failed"


async def test_a_handler_whose_peer_has_gone_ends_without_noise(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with memory_session(Zoo().serve) as session:
        channel = await session.open("writes")
        channel.close()
        await until(lambda: not session.server_live.session.channels)
    assert not caplog.records


async def test_a_message_that_a_handler_chokes_on_ends_that_channel_and_not_the_link(
    caplog: pytest.LogCaptureFixture,
) -> None:
    zoo = Zoo()
    async with memory_session(zoo.serve) as session:
        channel = await session.open("chokes")
        channel.send_message({"n": 1})
        await channel.wait_closed()
        assert isinstance(channel.error, ChannelReset)
        assert channel.error.code == "failed"
        await until(lambda: zoo.cancelled == ["chokes"])
        assert [record.levelname for record in caplog.records] == ["ERROR"]
        await session.open("echo")


async def test_a_channel_that_is_given_up_at_once_does_not_hold_up_the_end() -> None:
    """Its handler's task is cancelled before it has begun."""
    async with memory_session(Zoo().serve) as session:
        for _ in range(3):
            session.live.open_channel("echo", {}).reset("cancelled", "changed my mind")
        await session.open("echo")
        session.client.driver.abort()
        await session.server_live.wait_ended()
        await session.server_live.join()


async def test_a_channel_error_of_elsewhere_does_not_leave_the_channel_open_for_ever() -> None:
    async with memory_session(Zoo().serve) as session:
        channel = session.live.open_channel("fails_elsewhere", {})
        await channel.wait_closed()
        assert isinstance(channel.error, ChannelReset)
        assert channel.error.code == "failed"
        assert "another channel of ours" in str(channel.error)


@pytest.mark.parametrize("kind", ["stalls", "hesitates"])
async def test_a_handler_is_cancelled_when_the_client_gives_the_channel_up(kind: str) -> None:
    zoo = Zoo()
    async with memory_session(zoo.serve) as session:
        channel = session.live.open_channel(kind, {})
        await zoo.waiting.wait()
        channel.reset("cancelled", "changed my mind")
        await until(lambda: not session.server_live.session.channels)
        await until(lambda: zoo.cancelled == (["stalls"] if kind == "stalls" else []))
        await session.open("echo")


@pytest.mark.parametrize("how", ["goodbye", "cut", "abort"])
async def test_every_handler_is_cancelled_when_the_client_goes(how: str) -> None:
    zoo = Zoo()
    async with memory_session(zoo.serve) as session:
        for _ in range(3):
            await session.open("stalls")
        if how == "goodbye":
            session.client.driver.close("done", "done")
        elif how == "cut":
            session.stream.cut(OSError("cable"))
        else:
            session.client.driver.abort()
        live = session.server_live
        await live.wait_ended()
        await live.join()
        assert zoo.cancelled == ["stalls"] * 3
        assert isinstance(live.error, SessionClosed if how == "goodbye" else LinkLost)
        assert live.error is session.server.cause


@pytest.mark.parametrize("kind", ["resets_and_stays", "closes_and_stays"])
async def test_a_handler_that_let_go_of_its_channel_is_cancelled_at_the_end_too(
    kind: str,
) -> None:
    """The server would wait for it for ever."""
    zoo = Zoo()
    async with memory_session(zoo.serve) as session:
        session.live.open_channel(kind, {})
        await zoo.waiting.wait()
        session.client.driver.abort()
        await session.server_live.wait_ended()
        await session.server_live.join()


async def test_the_end_of_the_session_does_not_break_into_a_handler_that_cleans_up() -> None:
    zoo = Zoo()
    async with memory_session(zoo.serve) as session:
        channel = await session.open("dawdles")
        channel.reset("cancelled", "first")
        await until(lambda: not session.server_live.session.channels)
        session.client.driver.abort()
        await session.server_live.wait_ended()
        await session.server_live.join()
        assert zoo.cancelled == ["cleaned up"]


async def test_two_hundred_channels_at_once_each_get_their_own_bytes() -> None:
    async def talk(channel: Channel, data: bytes) -> bool:
        writing = asyncio.ensure_future(channel.write(data))
        received = await channel.stream(0).readexactly(len(data))
        await writing
        channel.send_eof()
        assert await channel.read() == b""
        return received == data

    async with memory_session(Zoo().serve) as session:
        data = [random.Random(seed).randbytes(40_000) for seed in range(200)]
        channels = [session.live.open_channel("echo", {}) for _ in data]
        assert all(await asyncio.gather(*map(talk, channels, data)))
        await until(lambda: not session.server_live.session.channels)


async def test_a_stalled_channel_does_not_hold_up_another() -> None:
    zoo = Zoo()
    async with memory_session(zoo.serve) as session:
        stalled = [await session.open("stalls") for _ in range(3)]
        floods = [asyncio.ensure_future(channel.write(bytes(32 * MIB))) for channel in stalled]
        await until(lambda: all(channel.room == 0 for channel in stalled))
        lively = await session.open("echo")
        writing = asyncio.ensure_future(lively.write(bytes(8 * MIB)))
        assert await lively.stream(0).readexactly(8 * MIB) == bytes(8 * MIB)
        await writing
        assert not any(flood.done() for flood in floods)
        for channel, flood in zip(stalled, floods):
            channel.reset("cancelled", "enough")
            with pytest.raises(ChannelReset):
                await flood


Wait = Callable[[Channel], Awaitable[object]]
WAITS: list[Wait] = [
    lambda channel: channel.read(1),
    lambda channel: channel.stream(1).read(),
    lambda channel: channel.stream(2).readexactly(5),
    lambda channel: channel.stream(3).readline(),
    lambda channel: channel.receive_message(),
    lambda channel: channel.write(bytes(32 * MIB)),
]


@pytest.mark.parametrize("error", [None, OSError("cable")])
async def test_a_lost_link_ends_all_that_waits_with_linklost(error: OSError | None) -> None:
    zoo = Zoo()
    async with memory_session(zoo.serve) as session:
        channel = await session.open("stalls")
        waiting = [asyncio.ensure_future(wait(channel)) for wait in WAITS]
        opening = session.live.open_channel("hesitates", {})
        waiting.append(asyncio.ensure_future(opening.wait_opened()))
        closed = asyncio.ensure_future(channel.wait_closed())
        await until(lambda: channel.room == 0)
        assert not any(future.done() for future in [*waiting, closed])
        session.stream.cut(error)
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [LinkLost] * len(waiting)
        await closed
        assert isinstance(channel.error, LinkLost)
        if error is not None:
            assert "cable" in str(channel.error)
            assert channel.error.__cause__ is error
        with pytest.raises(LinkLost):
            session.live.open_channel("echo", {})


async def test_a_client_offers_no_channels_itself() -> None:
    async with memory_session() as session:
        channel = session.server_live.open_channel("process", {})
        with pytest.raises(ChannelRefused, match="serves no channels") as refused:
            await channel.wait_opened()
        assert refused.value.code == "unknown-kind"


async def test_more_channels_than_allowed_are_refused_and_the_rest_goes_on() -> None:
    zoo = Zoo()
    async with memory_session(zoo.serve, limits=Bounds(channels=3)) as session:
        channels = [await session.open("echo") for _ in range(3)]
        with pytest.raises(ChannelRefused) as refused:
            await session.open("echo")
        assert refused.value.code == "busy"
        channels[0].send_eof()
        await channels[0].wait_closed()
        await (await session.open("echo")).write(b"x")


async def test_a_kind_that_no_peer_would_take_is_refused_here_and_the_session_goes_on() -> None:
    async with memory_session(Zoo().serve) as session:
        for request in ({"text": "x" * Bounds().frame}, {"number": float("nan")}):
            with pytest.raises((LocalProtocolError, ValueError)):
                session.live.open_channel("echo", request)
        with pytest.raises(LocalProtocolError):
            session.live.open_channel("x" * 101, {})
        await session.open("echo")


async def test_the_first_end_counts() -> None:
    async with memory_session(Zoo().serve) as session:
        first, second = SessionClosed("a", "first", by="local"), LinkLost("second")
        session.live.end(first)
        session.live.end(second)
        await session.live.wait_ended()
        assert session.live.error is first
        session.live.flush()


def test_a_session_ends_with_a_session_error_whatever_ended_its_link() -> None:
    lost = LinkLost("cut")
    assert as_session_error(lost) is lost
    broken = RemoteProtocolError("nonsense", code="sequence")
    error = as_session_error(broken)
    assert isinstance(error, SessionClosed)
    assert (error.code, error.reason, error.by) == ("sequence", "nonsense", "local")
    assert error.__cause__ is broken
    assert isinstance(as_session_error(ChannelError("odd")), SessionClosed)
