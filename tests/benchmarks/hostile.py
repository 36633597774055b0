"""A client that costs a server as much as the protocol lets it, for one row of the benchmark.

`python -m tests.benchmarks.hostile WAY ADDRESS TOKEN SECONDS` logs in like anybody else, says so on
stdout, and then writes frames of its own making, as fast as windows and buckets allow, for at most
SECONDS.

Strategy: the honest core keeps each frame until it is acknowledged and joins small writes, which
nobody can make a hostile peer do. What is written here is prepared once, as bytes, and goes past
the core; the core's own count of frames is switched off.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable

import rshell
from rshell.client.client import Client
from rshell.protocol.frames import FrameType, encode_data_header, encode_frame
from rshell.transport.channel import Channel
from rshell.transport.driver import Driver
from rshell.values import Bounds

_BATCH = 2_000  # frames
_PAUSE = 0.001  # seconds until there may be room again

Way = Callable[[Client, float], Awaitable[None]]


def _driver(client: Client) -> Driver:
    driver = client._live.driver
    assert driver is not None
    return driver


async def _write(driver: Driver, data: bytes) -> None:
    """Write past the core once the kernel has taken nearly all of what was written before."""
    while driver.stream is not None and driver.stream.room() < 128 * 1024:  # noqa: ASYNC110
        await asyncio.sleep(_PAUSE)
    if driver.stream is None:
        sys.exit(f"the server ended the link: {driver.link.error}")
    driver.stream.write([data])


async def _open_cat(client: Client) -> Channel:
    channel = client._live.open_channel("process", {"command": "cat >/dev/null", "stdin": True})
    await channel.wait_opened()
    return channel


async def tiny_data(client: Client, until: float) -> None:
    """Write DATA of one byte each."""
    driver, channel = _driver(client), await _open_cat(client)
    window = channel._state.send_window
    one = encode_data_header(channel.number, 0, 1) + b"x"
    while time.monotonic() < until:
        size = min(_BATCH, window.available)
        if size:
            window.take(size)
            await _write(driver, one * size)
        else:
            await asyncio.sleep(_PAUSE)


async def tiny_records(client: Client, until: float) -> None:
    """Put each byte of DATA of one byte into a TLS record of its own."""
    driver, channel = _driver(client), await _open_cat(client)
    window = channel._state.send_window
    one = encode_data_header(channel.number, 0, 1) + b"x"
    stream = driver.stream
    while time.monotonic() < until and stream is not None:
        if not window.available:
            await asyncio.sleep(_PAUSE)
            continue
        window.take(1)
        for at in range(len(one)):
            stream._tls.write(one[at : at + 1])  # type: ignore[attr-defined]
        if stream._outgoing.pending > 64 * 1024:  # type: ignore[attr-defined]
            await _write(driver, b"")


async def _at_rate(
    driver: Driver,
    until: float,
    make: Callable[[int], bytes],
    each: int,
    answered: Callable[[], int] | None = None,
) -> None:
    """Write `make(number)`, of `each` counted frames, as often as the bucket for them allows.

    Where they are `answered`, no more are on their way than the server keeps answers.
    """
    limits = Bounds()
    start, sent, number = time.monotonic(), 0, 0
    while (now := time.monotonic()) < until:
        ahead = number - answered() if answered is not None else 0
        if (
            ahead > limits.queued_replies // 4
            or sent + each
            > limits.control_burst * 0.95 + (now - start) * limits.control_rate * 0.95
        ):
            await asyncio.sleep(_PAUSE)
            continue
        batch = []
        for _ in range(50):
            batch.append(make(number))
            number += 1
        sent += 50 * each
        await _write(driver, b"".join(batch))


async def messages(client: Client, until: float) -> None:
    """Send messages that mean nothing."""
    channel = await _open_cat(client)
    one = encode_frame(FrameType.MESSAGE, channel.number, b'{"type":"nothing"}')
    await _at_rate(_driver(client), until, lambda number: one, 1)


async def channels(client: Client, until: float) -> None:
    """Open channels, each for a command, and take them back at once."""
    session = client._live.session
    session._receive = lambda *_: []  # type: ignore[method-assign]
    before = session.received
    body = b'{"kind":"process","window":1,"request":{"command":"true"}}'

    def make(number: int) -> bytes:
        channel = 2 * number + 1001
        reset = encode_frame(FrameType.RESET, channel, b'{"code":"cancelled"}')
        return encode_frame(FrameType.OPEN, channel, body) + reset

    await _at_rate(_driver(client), until, make, 2, lambda: session.received - before)


async def questions(client: Client, until: float) -> None:
    """Ask a shell for completions, again and again."""
    channel = client._live.open_channel("shell", {})
    await channel.wait_opened()

    def make(number: int) -> bytes:
        body = b'{"type":"complete","number":%d,"text":"ls /usr/bin/a"}' % (number + 1)
        return encode_frame(FrameType.MESSAGE, channel.number, body)

    await _at_rate(_driver(client), until, make, 1)


async def pings(client: Client, until: float) -> None:
    """Send PINGs at the rate that is allowed, each in a write of its own."""
    driver = _driver(client)
    while time.monotonic() < until:
        await _write(driver, encode_frame(FrameType.PING, 0, b'{"id":9}'))
        await asyncio.sleep(0.11)


WAYS: dict[str, Way] = {
    "tiny-data": tiny_data,
    "tiny-records": tiny_records,
    "messages": messages,
    "channels": channels,
    "questions": questions,
    "pings": pings,
}


async def main(way: str, address: str, token: str, seconds: float) -> None:
    """Be hostile in one way."""
    # It is killed in the end, and its server is not to wait for it to come back.
    gone = rshell.Limits(resume_window=0)
    async with rshell.connect(address, token=token, limits=gone) as client:
        session = client._live.session
        session.replay.acknowledge = lambda *_: None  # type: ignore[method-assign]
        print("ready", flush=True)
        await WAYS[way](client, time.monotonic() + seconds)
        os._exit(0)  # without a word


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4])))
