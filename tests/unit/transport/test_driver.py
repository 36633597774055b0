"""The driver over memory: order of writes, ends, timers, and a peer that does not read."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterator

import pytest

from rshell.aio import timeout
from rshell.errors import LinkLost, RemoteProtocolError, SessionClosed, UntrustedServer
from rshell.protocol.frames import FrameType
from rshell.protocol.login import LinkClosed, Stage
from rshell.protocol.session import Role
from rshell.transport.channel import Channel
from rshell.transport.driver import Driver
from rshell.values import Bounds
from tests.support.memory import MemoryStream, join_in_memory
from tests.support.session import DEADLINE, ServerEnd, memory_session, until
from tests.support.wire import attached, data_frame, frame, new_link

MIB = 1024 * 1024


async def swallow(channel: Channel) -> None:
    channel.accept()
    async for _ in channel:
        pass


async def echo(channel: Channel) -> None:
    channel.accept()
    async for block in channel:
        await channel.write(block)


async def flood(channel: Channel) -> None:
    channel.accept()
    while True:
        await channel.write(bytes(64 * 1024))


class Witness:
    """An owner that writes down what it is told."""

    def __init__(self) -> None:
        self.events: list[object] = []

    def handle(self, event: object) -> None:
        self.events.append(event)

    def has_room(self, channel: object) -> None:
        """No channels here."""


def lone_server(limits: Bounds | None = None) -> tuple[Driver, Witness]:
    """A driver of a server's link, with no stream yet."""
    now = asyncio.get_running_loop().time()
    witness = Witness()
    link = new_link(Role.SERVER, limits, now)
    return Driver(link, witness.handle), witness


class Recorder:
    """A stream that only writes down what is done to it."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.did: list[str] = []

    def write(self, buffers: list[bytes | bytearray | memoryview]) -> None:
        for buffer in buffers:
            self.written += buffer

    def room(self) -> int:
        return MIB

    def pause(self) -> None:
        self.did.append("pause")

    def resume(self) -> None:
        self.did.append("resume")

    def close(self) -> None:
        self.did.append("close")

    def abort(self) -> None:
        self.did.append("abort")


@pytest.mark.parametrize("piece", [1, 2, 7, 1000])
async def test_bytes_cut_anywhere_make_a_session(piece: int) -> None:
    async with memory_session(echo, piece=piece) as session:
        channel = await session.open()
        data = random.Random(piece).randbytes(3000)
        await channel.write(data)
        channel.send_eof()
        assert await channel.read() == data


async def test_much_data_both_ways_at_once_does_not_lock_up() -> None:
    async with memory_session(echo) as session:
        data = random.Random(2).randbytes(24 * MIB)
        channels = [await session.open() for _ in range(2)]
        writing = [asyncio.ensure_future(channel.write(data)) for channel in channels]
        received = [await channel.stream(0).readexactly(len(data)) for channel in channels]
        await asyncio.gather(*writing)
        assert received == [data, data]


async def test_both_ends_flood_and_neither_reads_until_both_are_full() -> None:
    peers: list[Channel] = []

    async def serve(channel: Channel) -> None:
        channel.accept()
        peers.append(channel)
        await channel.write(bytes(8 * MIB))
        await channel.wait_closed()

    async with memory_session(serve) as session:
        channel = await session.open()
        writing = asyncio.ensure_future(channel.write(bytes(8 * MIB)))
        await until(lambda: channel.room == 0 and peers[0].room == 0)
        assert len(await channel.stream(0).readexactly(8 * MIB)) == 8 * MIB
        assert not writing.done()
        assert len(await peers[0].stream(0).readexactly(8 * MIB)) == 8 * MIB
        await writing


async def test_memory_for_a_peer_that_does_not_read_is_bounded() -> None:
    """What waits in channels, what is not acknowledged and what the stream keeps: 4 MiB at most."""
    async with memory_session(flood) as session:
        session.stream.is_held = True
        channels = [session.live.open_channel("test", {}) for _ in range(2)]
        server = session.server_live.session
        for _ in range(3000):
            await asyncio.sleep(0)
        kept = server.replay.size + session.server_stream.largest_kept
        kept += sum(state.queued_bytes for state in server.channels.values())
        assert Bounds().replay <= kept + MIB, "the flood has not filled what may be filled"
        assert kept <= 4 * MIB
        session.stream.release()
        for channel in channels:
            assert len(await channel.stream(0).readexactly(16 * MIB)) == 16 * MIB


async def test_the_stream_never_keeps_much_more_than_its_limit() -> None:
    async with memory_session(flood) as session:
        channel = await session.open()
        await channel.stream(0).readexactly(8 * MIB)
        limits = Bounds()
        assert session.server_stream.largest_kept <= limits.transport_buffer + limits.frame


async def test_eof_without_goodbye_is_a_lost_link_at_both_ends() -> None:
    async with memory_session(swallow) as session:
        channel = await session.open()
        session.server.driver.abort()
        await channel.wait_closed()
        await session.server.driver.done.wait()
        assert isinstance(channel.error, LinkLost)
        assert isinstance(session.server.cause, LinkLost)


async def test_an_end_in_the_middle_of_a_frame_says_so() -> None:
    driver, witness = lone_server()
    driver.stream_opened(Recorder())
    driver.stream_ready()
    driver.receive_data(memoryview(frame(FrameType.HELLO)[:5]))
    driver.stream_lost(None)
    assert driver.done.is_set()
    assert isinstance(driver.link.error, LinkLost)
    assert "middle of a frame" in str(driver.link.error)
    assert len(witness.events) == 1


async def test_goodbye_arrives_with_its_reason_and_both_ends_close() -> None:
    async with memory_session(swallow) as session:
        channel = await session.open()
        session.server.link.close("shutdown", "going home")
        await channel.wait_closed()
        assert isinstance(channel.error, SessionClosed)
        assert (channel.error.code, channel.error.reason, channel.error.by) == (
            "shutdown",
            "going home",
            "remote",
        )
        await session.client.driver.done.wait()
        await session.server.driver.done.wait()


async def test_goodbye_overtakes_the_bulk_that_waits() -> None:
    async with memory_session(swallow) as session:
        channel = await session.open()
        session.server_stream.is_held = True
        writing = asyncio.ensure_future(channel.write(bytes(8 * MIB)))
        await until(lambda: channel.room == 0)
        session.client.driver.close("done", "enough")
        session.server_stream.release()
        await session.server.driver.done.wait()
        assert isinstance(session.server.cause, SessionClosed)
        assert session.server.cause.code == "done"
        assert session.server_stream.received < 2 * MIB
        writing.cancel()


async def test_a_peer_that_does_not_take_our_goodbye_can_not_keep_the_link() -> None:
    limits = Bounds(close_seconds=0.01)
    async with memory_session(swallow, limits=limits) as session:
        session.server_stream.is_held = True
        session.client.driver.close("done", "enough")
        await session.client.driver.done.wait()
        session.server_stream.release()


async def test_garbage_is_answered_by_a_goodbye_and_closed() -> None:
    driver, witness = lone_server()
    stream = Recorder()
    driver.stream_opened(stream)
    driver.stream_ready()
    driver.receive_data(memoryview(b"GET / HTTP/1.1\r\n\r\n"))
    assert isinstance(driver.link.error, RemoteProtocolError)
    assert b'"code":"' in stream.written
    assert stream.did == ["close"]
    assert len(witness.events) == 1
    driver.receive_data(memoryview(b"more"))
    driver.receive_eof()
    driver.stream_writable()
    driver.stream_lost(OSError("late"))
    assert len(witness.events) == 1
    assert driver.done.is_set()


async def test_a_login_that_does_not_come_is_given_up() -> None:
    driver, witness = lone_server(Bounds(login_seconds=0.01, close_seconds=0.01))
    quiet, _ = lone_server()
    _, stream = join_in_memory(driver, quiet)
    stream.is_held = True
    async with timeout(DEADLINE):
        await driver.done.wait()  # also because the other end does not take the GOODBYE
        await quiet.done.wait()
    assert isinstance(driver.link.error, RemoteProtocolError)
    assert driver.link.error.code == "login-timeout"
    assert isinstance(witness.events[-1], LinkClosed)


@pytest.mark.parametrize("moment", ["before the stream", "before it is ready", "during login"])
async def test_aborted_before_the_session_leaves_nothing(moment: str) -> None:
    end = ServerEnd()
    stream = Recorder()
    if moment != "before the stream":
        end.driver.stream_opened(stream)
    if moment == "during login":
        end.driver.stream_ready()
        assert end.driver.link.stage is Stage.HELLO
    end.driver.abort()
    end.driver.abort()
    assert stream.did == ([] if moment == "before the stream" else ["abort", "abort"])
    end.driver.stream_lost(None)
    assert end.driver.done.is_set()
    assert isinstance(end.cause, LinkLost)
    end.driver.flush()
    end.driver.abort()


async def test_closed_before_the_stream_can_carry_frames_is_aborted() -> None:
    driver, _ = lone_server()
    stream = Recorder()
    driver.stream_opened(stream)
    driver.close("done", "never mind")
    assert stream.did == ["abort"]
    assert not stream.written
    driver.stream_lost(None)


async def test_closed_before_there_is_a_stream_is_aborted_as_soon_as_there_is() -> None:
    driver, _ = lone_server()
    driver.close("done", "never mind")
    stream = Recorder()
    driver.stream_opened(stream)
    assert stream.did == ["abort"]
    driver.stream_lost(None)
    assert driver.done.is_set() and not stream.written


async def test_the_error_of_the_stream_is_the_cause_of_the_end() -> None:
    for error, kind in (
        (UntrustedServer("a stranger"), UntrustedServer),
        (ConnectionResetError("reset by peer"), LinkLost),
        (None, LinkLost),
    ):
        driver, witness = lone_server()
        driver.stream_opened(Recorder())
        driver.stream_lost(error)
        assert isinstance(driver.link.error, kind)
        assert len(witness.events) == 1
        assert error is None or error in (driver.link.error, driver.link.error.__cause__)


async def test_a_silent_peer_is_given_up() -> None:
    limits = Bounds(ping_idle=0.02, ping_dead=0.06, ack_seconds=0.01)
    async with memory_session(swallow, limits=limits) as session:
        session.stream.is_held = True
        await session.live.wait_ended()
        assert isinstance(session.live.error, LinkLost)
        assert "nothing was heard" in str(session.live.error)


async def test_pings_keep_an_idle_link_alive() -> None:
    limits = Bounds(ping_idle=0.02, ping_dead=25.0)
    async with memory_session(swallow, limits=limits) as session:
        before = session.stream.received
        await until_received(session.stream, before + 100)
        assert session.live.error is None
        assert session.client.link.round_trip is not None


async def until_received(stream: MemoryStream, count: int) -> None:
    loop = asyncio.get_running_loop()
    while stream.received < count:
        woken = loop.create_future()
        loop.call_later(0.01, woken.set_result, None)
        await woken


async def test_frames_that_one_read_causes_leave_in_one_write() -> None:
    """Or a burst of small requests would be answered by as many system calls."""
    async with memory_session(echo) as session:
        channels = [await session.open() for _ in range(20)]
        writes: list[int] = []
        stream = session.server_stream
        whole_write = stream.write

        def counted(buffers: list[bytes | bytearray | memoryview]) -> None:
            writes.append(len(buffers))
            whole_write(buffers)

        stream.write = counted  # type: ignore[method-assign]
        for channel in channels:
            channel.reset("cancelled", "enough")
        await until(lambda: not session.server_live.session.channels)
        assert len(writes) < len(channels)


# A peer that makes much work.


def busy_server(count: int) -> tuple[Driver, Witness, Recorder, bytes]:
    """A driver whose peer has sent `count` DATA frames of one byte, and the bytes of them."""
    link, session = attached(Role.SERVER, now=asyncio.get_running_loop().time())
    link.receive_data(frame(FrameType.OPEN, 1, {"kind": "talk", "window": 1}), 0.0)
    session.accept(session.channels[1])
    witness, stream = Witness(), Recorder()
    driver = Driver(link, witness.handle)
    driver.live = witness
    driver.stream_opened(stream)
    driver.stream_ready()
    return driver, witness, stream, b"".join(data_frame(1, n % 7, b"x") for n in range(count))


async def test_one_byte_frames_of_one_peer_leave_the_loop_to_others() -> None:
    driver, witness, stream, data = busy_server(20_000)
    driver.receive_data(memoryview(data))
    assert 0 < len(witness.events) <= 32
    assert stream.did == ["pause"]
    passes = 0
    while stream.did == ["pause"]:
        await asyncio.sleep(0)
        passes += 1
    assert passes > 5  # 20,000 frames take many times what one pass gives them
    assert stream.did == ["pause", "resume"]
    assert [event.stream for event in witness.events] == [n % 7 for n in range(20_000)]  # type: ignore[attr-defined]
    driver.abort()


async def test_what_comes_behind_frames_that_were_put_off_does_not_overtake_them() -> None:
    driver, witness, stream, data = busy_server(500)
    driver.receive_data(memoryview(data))
    driver.receive_data(memoryview(data + frame(FrameType.GOODBYE, 0, {"code": "done"})))
    driver.receive_eof()
    driver.stream_lost(ConnectionResetError())
    assert not driver.done.is_set()
    await driver.done.wait()
    assert len(witness.events) == 1001
    end = witness.events[-1]
    assert isinstance(end, LinkClosed) and isinstance(end.cause, SessionClosed)
    assert stream.did == ["pause"]


async def test_a_dropped_link_takes_nothing_more_of_what_was_put_off() -> None:
    driver, witness, stream, data = busy_server(500)
    driver.receive_data(memoryview(data))
    taken = len(witness.events)
    driver.abort()
    driver.stream_lost(None)
    await driver.done.wait()
    [end] = witness.events[taken:]
    assert isinstance(end, LinkClosed) and isinstance(end.cause, LinkLost)
    assert stream.did == ["pause", "abort"]


async def test_links_that_were_put_off_take_turns() -> None:
    servers = [busy_server(5_000) for _ in range(3)]
    for driver, _, _, data in servers:
        driver.receive_data(memoryview(data))
    await until(lambda: any("resume" in stream.did for _, _, stream, _ in servers))
    counts = [len(witness.events) for _, witness, _, _ in servers]
    assert max(counts) - min(counts) <= 32
    for driver, _, _, _ in servers:
        driver.abort()


# The trace of frames.


@pytest.fixture
def frame_log() -> Iterator[logging.Logger]:
    """The logger of the trace, left as it was found."""
    log = logging.getLogger("rshell.frames")
    before = log.handlers[:], log.level, log.propagate
    log.handlers[:] = []
    log.setLevel(logging.NOTSET)
    log.propagate = True
    yield log
    log.handlers[:] = before[0]
    log.setLevel(before[1])
    log.propagate = before[2]


async def test_frames_are_traced_only_where_somebody_asks_for_it(
    frame_log: logging.Logger, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for value in (None, "", "0"):
        if value is not None:
            monkeypatch.setenv("RSHELL_TRACE", value)
        assert lone_server()[0].link.trace is None
    with caplog.at_level(logging.DEBUG, "rshell.frames"):
        async with memory_session(echo) as session:
            await session.open()
        lines = [record.getMessage() for record in caplog.records]
        first = [line.split()[0] + line.split()[2] for line in lines if " HELLO 0 " in line]
        assert sorted(first) == ["client<", "client>", "server<", "server>"]
        assert len({line.split()[1] for line in lines}) == 2  # each link has its number
        assert any(line.endswith(' OPEN 1 45 {"kind":"test","window":1048576}') for line in lines)


async def test_a_variable_traces_to_stderr_and_each_frame_once(
    frame_log: logging.Logger,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("RSHELL_TRACE", "1")
    async with memory_session(echo) as session:
        await session.open()
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count(" > HELLO 0 ") == output.err.count(" < HELLO 0 ") == 2
    assert caplog.records == []  # a program's own log shows them not a second time


async def test_what_work_brings_that_was_put_off_comes_before_the_end_behind_it() -> None:
    """Records of TLS are deciphered late, too: a GOODBYE among them says why there is an end."""
    driver, witness, _, data = busy_server(100)
    goodbye = frame(FrameType.GOODBYE, 0, {"code": "done"})
    driver.put_off(lambda: driver.receive_data(memoryview(data + goodbye)))
    driver.in_order(lambda: driver.receive_data(memoryview(b"behind it")))
    driver.stream_lost(ConnectionResetError())
    await driver.done.wait()
    end = witness.events[-1]
    assert isinstance(end, LinkClosed) and isinstance(end.cause, SessionClosed)
    assert len(witness.events) == 101


async def test_a_failure_in_its_turn_drops_the_link_and_hangs_nobody() -> None:
    """Or it would stay paused, and who waits for its end would do so for ever."""
    driver, witness, stream, data = busy_server(100)
    failures: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: failures.append(context["exception"]))
    take = witness.handle

    def handle(event: object) -> None:
        take(event)
        if len(witness.events) == 40:
            raise ZeroDivisionError

    witness.handle = handle  # type: ignore[method-assign]
    driver.receive_data(memoryview(data))
    driver.receive_data(memoryview(data))
    driver.receive_eof()
    async with timeout(DEADLINE):
        await until(lambda: "abort" in stream.did)
        driver.stream_lost(None)
        await driver.done.wait()
    assert [type(failure) for failure in failures] == [ZeroDivisionError]
    assert isinstance(driver.link.error, LinkLost) and len(witness.events) == 41
