"""A channel in use: waiting for room, messages, and its end from either side at every point."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Awaitable, Callable

import pytest

from rshell.errors import ChannelRefused, ChannelReset, LinkLost, LocalProtocolError, RshellError
from rshell.protocol.codec import Json, encode_json, memory_cost
from rshell.transport.channel import Channel
from rshell.values import Bounds
from tests.support.commands import until as wait_until
from tests.support.session import memory_session, until

MIB = 1024 * 1024
NARROW = Bounds(window=64 * 1024, window_largest=64 * 1024, channel_queue=64 * 1024)


async def echo(channel: Channel) -> None:
    channel.accept({"hello": "there"})
    async for block in channel:
        await channel.write(block)
    channel.send_eof()
    channel.send_message({"type": "bye"})


class Stage:
    """A handler that a test acts for: it accepts and then waits to be told to go."""

    def __init__(self) -> None:
        self.channels: list[Channel] = []
        self.began = asyncio.Event()
        self.go = asyncio.Event()
        self.cancelled = 0

    async def serve(self, channel: Channel) -> None:
        self.channels.append(channel)
        if channel.kind != "slow":
            channel.accept()
        self.began.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


async def test_everything_comes_back_and_then_the_end() -> None:
    async with memory_session(echo) as session, await session.open("echo", {"a": 1}) as channel:
        assert (channel.kind, channel.request, channel.reply) == (
            "echo",
            {"a": 1},
            {"hello": "there"},
        )
        data = random.Random(1).randbytes(5 * MIB)
        reading = asyncio.ensure_future(channel.read())
        await channel.write(data)
        channel.send_eof()
        assert hashlib.sha256(await reading).digest() == hashlib.sha256(data).digest()
        assert await channel.receive_message() == {"type": "bye"}
        assert await channel.receive_message() is None
        await channel.wait_closed()
        assert channel.error is None


async def test_write_waits_for_room_and_goes_on_as_the_peer_reads() -> None:
    stage = Stage()
    async with memory_session(stage.serve, limits=NARROW) as session:
        channel = await session.open()
        writing = asyncio.ensure_future(channel.write(bytes(MIB)))
        await stage.began.wait()
        peer = stage.channels[0].stream(0)
        await until(lambda: peer.size == NARROW.window)
        for _ in range(100):
            await asyncio.sleep(0)
        assert not writing.done()
        assert peer.size == NARROW.window  # not a byte past what was granted
        assert channel.room == 0
        assert await peer.readexactly(MIB) == bytes(MIB)
        await writing


async def test_a_cancelled_write_leaves_a_part_unsent_and_the_channel_usable() -> None:
    stage = Stage()
    async with memory_session(stage.serve, limits=NARROW) as session:
        channel = await session.open()
        writing = asyncio.ensure_future(channel.write(b"x" * MIB))
        peer = stage.channels[0].stream(0)
        await until(lambda: peer.size == NARROW.window)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        reading = asyncio.ensure_future(peer.read())
        await channel.write(b"end")
        channel.send_eof()
        received = await reading
        assert received.rstrip(b"end") == b"x" * (len(received) - 3)
        assert len(received) < MIB


async def test_on_room_is_called_once_there_is_room_again() -> None:
    stage = Stage()
    async with memory_session(stage.serve, limits=NARROW) as session:
        channel = await session.open()
        channel.write_nowait(bytes(channel.room))
        roomy = asyncio.Event()
        channel.on_room = roomy.set
        channel.want_room()
        assert channel.room == 0
        await stage.channels[0].stream(0).readexactly(NARROW.window)
        await roomy.wait()
        assert channel.room > 0


async def test_streams_are_separate_and_a_late_reader_of_one_gets_it_all() -> None:
    async def serve(channel: Channel) -> None:
        channel.accept()
        for number in (0, 1, 2, 200):
            await channel.write(b"stream %d" % number, number)

    async with memory_session(serve) as session:
        channel = await session.open()
        await channel.wait_closed()
        for number in (200, 2, 1, 0):
            assert await channel.stream(number).read() == b"stream %d" % number
        assert await channel.stream(3).read() == b""


async def test_data_that_arrived_before_the_end_is_read_after_it() -> None:
    async def serve(channel: Channel) -> None:
        channel.accept()
        channel.send_message({"n": 1})
        await channel.write(b"last words")

    async with memory_session(serve) as session:
        channel = await session.open()
        await channel.wait_closed()
        assert await channel.read() == b"last words"
        assert await channel.receive_message() == {"n": 1}
        assert await channel.receive_message() is None


async def test_an_urgent_message_overtakes_data_that_waits() -> None:
    stage = Stage()
    async with memory_session(stage.serve, limits=NARROW) as session:
        channel = await session.open()
        channel.write_nowait(bytes(2 * NARROW.window))
        channel.send_message({"urgent": False})
        channel.send_message({"urgent": True}, urgent=True)
        peer = stage.channels[0]
        assert await peer.receive_message() == {"urgent": True}
        waiting = asyncio.ensure_future(peer.receive_message())
        await peer.stream(0).readexactly(2 * NARROW.window)
        assert await waiting == {"urgent": False}


async def test_listening_hands_over_the_messages_that_wait_first() -> None:
    stage = Stage()
    async with memory_session(stage.serve) as session:
        channel = await session.open()
        peer = stage.channels[0]
        for number in range(3):
            channel.send_message({"n": number})
        channel.send_eof()
        await peer.read()
        heard: list[Json] = []
        got_four = asyncio.Event()

        def on_message(message: Json) -> None:
            heard.append(message)
            if len(heard) == 4:
                got_four.set()

        peer.listen(on_message)
        assert heard == [{"n": 0}, {"n": 1}, {"n": 2}]
        channel.send_message({"n": 3})
        await got_four.wait()
        assert heard[3] == {"n": 3}


async def test_messages_that_nobody_reads_are_bounded_and_those_that_wait_are_not_lost() -> None:
    stage = Stage()
    body = {"text": "x" * 1000}
    async with (
        memory_session(stage.serve, limits=Bounds(messages=10_000)) as session,
        await session.open("stage") as channel,
    ):
        await stage.began.wait()
        for _ in range(50):
            channel.send_message(body)
        await channel.wait_closed()
        assert isinstance(channel.error, ChannelReset) and channel.error.code == "overrun"
        [served] = stage.channels
        for _ in range(10_000 // memory_cost(encode_json(body))):
            assert await served.receive_message() == body
        with pytest.raises(ChannelReset, match="messages wait to be read"):
            await served.receive_message()
        stage.go.set()
        assert (await session.open("stage")).reply == {}  # the session goes on


async def test_a_message_that_came_with_the_end_and_was_never_read_costs_no_memory_for_ever() -> (
    None
):
    """It was counted after the channel had given all back, and a long session grew slow."""

    async def serve(channel: Channel) -> None:
        channel.accept()
        await channel.read(1)
        channel._live.session.send_message(channel._state, {"text": "x" * 1000})
        channel.close()  # in one write with the message

    async with memory_session(serve) as session:
        budget = session.live.session._budget
        free = budget.free
        for _ in range(3):
            async with await session.open("brief") as channel:
                await channel.write(b"x")
                await channel.wait_closed()
                channel.close()
                await until(lambda: not session.live.session.channels)
        assert budget.free == free


async def test_answers_that_the_peer_asks_for_and_does_not_take_are_bounded() -> None:
    stage = Stage()
    async with (
        memory_session(stage.serve, limits=Bounds(messages=10_000)) as session,
        await session.open("stage"),
    ):
        await stage.began.wait()
        session.stream.is_held = True
        [served] = stage.channels
        for _ in range(2000):
            served.send_message({"text": "x" * 1000})
        assert isinstance(served.error, ChannelReset) and served.error.code == "overrun"
        assert served._state.queued_messages == 0
        stage.go.set()


async def test_messages_that_are_read_may_be_any_number() -> None:
    stage = Stage()
    body = {"text": "x" * 1000}
    async with (
        memory_session(stage.serve, limits=Bounds(messages=10_000)) as session,
        await session.open("stage") as channel,
    ):
        await stage.began.wait()
        [served] = stage.channels
        for _ in range(100):
            channel.send_message(body)
            assert await served.receive_message() == body
        stage.go.set()


async def test_cancelling_receive_message_loses_nothing() -> None:
    stage = Stage()
    async with memory_session(stage.serve) as session:
        channel = await session.open()
        waiting = asyncio.ensure_future(channel.receive_message())
        other = asyncio.ensure_future(channel.wait_closed())
        await asyncio.sleep(0)
        waiting.cancel()
        stage.channels[0].send_message({"n": 1})
        assert await channel.receive_message() == {"n": 1}
        assert not other.done()  # a shared wait is not cancelled with one of those who wait
        stage.go.set()
        await other


async def test_refusing_says_why() -> None:
    async def serve(channel: Channel) -> None:
        channel.refuse("busy", "come back later")

    async with memory_session(serve) as session:
        with pytest.raises(ChannelRefused, match="come back later") as caught:
            await session.open()
        assert caught.value.code == "busy"


async def test_leaving_the_block_by_an_exception_resets() -> None:
    stage = Stage()
    async with memory_session(stage.serve) as session:
        with pytest.raises(KeyError):
            async with await session.open():
                raise KeyError
        await stage.channels[0].wait_closed()
        error = stage.channels[0].error
        assert isinstance(error, ChannelReset)
        assert (error.code, error.by) == ("cancelled", "remote")


Wait = Callable[[Channel], Awaitable[object]]
WAITS: dict[str, Wait] = {
    "read": lambda channel: channel.read(1),
    "read to the end": lambda channel: channel.read(),
    "receive_message": lambda channel: channel.receive_message(),
    "write": lambda channel: channel.write(bytes(MIB)),
}


@pytest.mark.parametrize("name", WAITS)
@pytest.mark.parametrize("by", ["local", "remote"])
async def test_a_reset_ends_every_wait_with_its_code(name: str, by: str) -> None:
    stage = Stage()
    async with memory_session(stage.serve, limits=NARROW) as session:
        channel = await session.open()
        waiting = asyncio.ensure_future(WAITS[name](channel))
        await stage.began.wait()
        for _ in range(50):
            await asyncio.sleep(0)
        assert not waiting.done()
        (channel if by == "local" else stage.channels[0]).reset("why", "because")
        with pytest.raises(ChannelReset, match="because") as caught:
            await waiting
        assert (caught.value.code, caught.value.by) == ("why", by)
        with pytest.raises(ChannelReset):
            await channel.write(b"x")


@pytest.mark.parametrize("name", ["read", "read to the end", "receive_message"])
async def test_a_close_by_the_peer_ends_every_read_quietly(name: str) -> None:
    stage = Stage()
    async with memory_session(stage.serve) as session:
        channel = await session.open()
        waiting = asyncio.ensure_future(WAITS[name](channel))
        stage.go.set()
        assert not await waiting
        assert channel.is_over
        assert channel.error is None


async def test_a_write_into_a_channel_that_the_peer_closed_is_an_error() -> None:
    stage = Stage()
    async with memory_session(stage.serve, limits=NARROW) as session:
        channel = await session.open()
        writing = asyncio.ensure_future(channel.write(bytes(MIB)))
        for _ in range(50):
            await asyncio.sleep(0)
        stage.go.set()
        with pytest.raises(ChannelReset, match="closed") as caught:
            await writing
        assert caught.value.code == "closed"


def before_the_answer(channel: Channel) -> None:
    """Nothing was sent."""


def after_data(channel: Channel) -> None:
    channel.write_nowait(b"some")


def behind_a_full_window(channel: Channel) -> None:
    channel.write_nowait(bytes(NARROW.window * 2))


def after_eof(channel: Channel) -> None:
    channel.write_nowait(b"some")
    channel.send_eof()


def after_a_message(channel: Channel) -> None:
    channel.send_message({"n": 1})


def behind_its_own_close(channel: Channel) -> None:
    channel.write_nowait(bytes(NARROW.window * 2))
    channel.close()


def after_its_own_reset(channel: Channel) -> None:
    channel.reset("first", "first")


POINTS = [after_data, behind_a_full_window, after_eof, after_a_message]
POINTS += [behind_its_own_close, after_its_own_reset]


@pytest.mark.parametrize("ends", ["client", "server", "both", "both close"])
async def test_a_reset_at_every_point_leaves_no_trace(ends: str) -> None:
    for point in (before_the_answer, *POINTS):
        await reset_at(point, ends)


async def reset_at(point: Callable[[Channel], None], ends: str) -> None:
    stage = Stage()
    async with memory_session(stage.serve, limits=NARROW) as session:
        channel = session.live.open_channel("slow" if point is before_the_answer else "test", {})
        await stage.began.wait()
        peer = stage.channels[0]
        if point is not before_the_answer:
            await channel.wait_opened()
        point(channel)
        for end, name in ((channel, "client"), (peer, "server")):
            if ends == "both close" and end.is_answered:
                end.close()
            elif ends in (name, "both", "both close"):
                end.reset("gone", "gone")
        stage.go.set()
        await channel.wait_closed()
        await peer.wait_closed()
        # Nothing is left of it at either end, and the session goes on.
        stage.go.clear()
        other = await session.open()
        stage.channels[-1].write_nowait(b"fine")
        assert await other.read(100) == b"fine"
        other.close()
        await until(
            lambda: not session.live.session.channels and not session.server_live.session.channels
        )


async def test_everything_is_harmless_once_it_is_over() -> None:
    stage = Stage()
    async with memory_session(stage.serve) as session:
        channel = await session.open()
        stage.go.set()
        await channel.wait_closed()
        channel.send_eof()
        channel.send_message({"n": 1})
        channel.accept()
        channel.refuse("late", "too late")
        channel.close()
        channel.close()
        channel.reset("late", "too late")
        assert channel.error is None


async def test_writing_after_the_end_of_our_own_data_is_a_bug_and_is_told() -> None:
    stage = Stage()
    async with memory_session(stage.serve) as session:
        channel = await session.open()
        channel.send_eof()
        channel.send_eof()
        with pytest.raises(LocalProtocolError):
            channel.write_nowait(b"x")


async def test_a_write_after_the_eof_fails_and_does_not_wait_for_ever() -> None:
    stage = Stage()
    async with memory_session(stage.serve, limits=NARROW) as session:
        channel = await session.open()
        waiting = asyncio.ensure_future(channel.write(bytes(MIB)))
        await until(lambda: channel.room == 0)
        channel.send_eof()
        for write in (waiting, channel.write(b"x")):
            with pytest.raises(LocalProtocolError):
                await write


async def test_a_write_before_the_answer_waits_at_the_opener_and_fails_at_the_other_end() -> None:
    stage = Stage()
    async with memory_session(stage.serve) as session:
        channel = session.live.open_channel("slow", {})
        writing = asyncio.ensure_future(channel.write(b"early"))
        await stage.began.wait()
        with pytest.raises(LocalProtocolError):
            await stage.channels[0].write(b"x")
        assert not writing.done()
        stage.channels[0].accept()
        await writing
        assert await stage.channels[0].read(5) == b"early"


async def test_a_message_larger_than_a_frame_is_refused_and_changes_nothing() -> None:
    stage = Stage()
    async with memory_session(stage.serve) as session:
        channel = await session.open()
        with pytest.raises(LocalProtocolError):
            channel.send_message({"text": "x" * Bounds().frame})
        channel.send_message({"n": 1})
        assert await stage.channels[0].receive_message() == {"n": 1}


async def test_an_error_outlives_the_readers_that_were_made_after_it() -> None:
    stage = Stage()
    async with memory_session(stage.serve) as session:
        channel = await session.open()
        stage.channels[0].reset("gone", "gone")
        await channel.wait_closed()
        for number in (0, 1):
            with pytest.raises(RshellError, match="gone"):
                await channel.stream(number).read()


async def test_what_was_sent_and_what_was_read_are_told_apart() -> None:
    stage = Stage()
    async with memory_session(stage.serve, limits=NARROW) as session:
        channel = await session.open()
        await stage.began.wait()
        [server] = stage.channels
        server.write_nowait(bytes(100_000), 1)
        await until(lambda: channel.stream(1).size == 64 * 1024)
        assert (server.sent, server.consumed) == (64 * 1024, 0)
        await channel.stream(1).readexactly(50_000)
        await until(lambda: server.sent == 100_000)
        assert 0 < server.consumed <= 50_000
        stage.go.set()


async def test_a_channel_is_settled_once_all_has_arrived() -> None:
    stage = Stage()
    async with memory_session(stage.serve, limits=Bounds(ack_seconds=0.05)) as session:
        await session.open()
        await stage.began.wait()
        [server] = stage.channels
        server.write_nowait(bytes(300_000), 1)
        assert not server.is_settled
        await asyncio.to_thread(wait_until, lambda: server.is_settled, "an ACK")
        driver = session.server_live.driver
        assert driver is not None
        session.server_live.detach(LinkLost("cut"))
        assert not server.is_settled  # all has arrived, but who knows where the client is
        session.server_live.attach(driver)
        stage.go.set()


async def test_items_wider_than_a_byte_are_sent_as_their_bytes() -> None:
    """A length in items made frames that nobody could read, and the session was over."""
    data = random.Random(1).randbytes(200_000)
    async with memory_session(echo) as session, await session.open("echo", {}) as channel:
        reading = asyncio.ensure_future(channel.read())
        await channel.write(memoryview(data).cast("i"))
        await channel.write(memoryview(data).cast("B", (1000, 200)))
        channel.write_nowait(memoryview(b"last").cast("H"))
        with pytest.raises(TypeError):
            await channel.write(memoryview(data)[::2])
        with pytest.raises(TypeError):
            channel.write_nowait(memoryview(data)[::2])
        channel.send_eof()
        assert await reading == data + data + b"last"


async def test_the_messages_that_wait_are_counted_without_the_data_before_them() -> None:
    counted: list[int] = []

    async def serve(channel: Channel) -> None:
        channel.accept()
        for _ in range(100):
            channel.write_nowait(bytes(64))  # more than a window
        channel.send_message({"type": "one"})
        counted.append(channel.waiting_messages)

    async with memory_session(serve, limits=Bounds(window=1024, window_smallest=1024)) as session:
        channel = await session.open()
        await until(lambda: bool(counted))
        channel.reset("cancelled", "enough")
    assert counted == [1]
