"""What runs at the ends of a far path: it moves bytes for some seconds and tells the steady rate.

`python -m tests.benchmarks.steady count FROM UNTIL` reads stdin and prints bytes a second between
FROM and UNTIL seconds after the first byte, then ends. `download` and `upload`, with an address
and a command more, do the same through the API; the command of an upload counts.

Strategy: the receiver counts, because a sender's buffers take what has not arrived. Counting ends
by the clock, and with it the transfer, whatever the rate.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time

_BLOCK = 256 * 1024


class Counter:
    """Counts bytes that arrive, from `start` to `end` seconds after the first of them."""

    def __init__(self, start: float, end: float) -> None:
        self._start = start
        self._end = end
        self._first: float | None = None
        self._last = 0.0
        self._bytes = 0

    def add(self, size: int) -> bool:
        """Count bytes that arrive now; False when it is over."""
        now = time.monotonic()
        if self._first is None:
            self._first = now
        elapsed = now - self._first
        if elapsed >= self._start:
            self._bytes += size
        self._last = elapsed
        return elapsed < self._end

    @property
    def rate(self) -> float:
        """Bytes a second."""
        return self._bytes / (max(self._last, self._end) - self._start)


def count_input(counter: Counter) -> None:
    """Count what comes on stdin."""
    while (block := os.read(0, _BLOCK)) and counter.add(len(block)):
        pass
    print(counter.rate)


async def download(counter: Counter, address: str, command: str) -> None:
    """Count what a command's output brings."""
    import rshell

    async with rshell.connect(address) as client, client.open_process(command) as process:
        async for block in process.stdout:
            if not counter.add(len(block)):
                break
    print(counter.rate)


async def upload(address: str, command: str) -> None:
    """Write to a command until it ends, and print what it printed."""
    import rshell

    block = bytes(_BLOCK)
    async with (
        rshell.connect(address) as client,
        client.open_process(command, stdin=rshell.PIPE) as process,
    ):
        assert process.stdin is not None
        try:
            while True:
                await process.stdin.write(block)
        except (BrokenPipeError, rshell.RshellError):
            print((await process.stdout.read()).decode())


def main(what: str, start: str, end: str, *more: str) -> None:
    """Do one of the three."""
    counter = Counter(float(start), float(end))
    if what == "count":
        count_input(counter)
    elif what == "download":
        asyncio.run(download(counter, *more))
    else:
        asyncio.run(upload(*more))


if __name__ == "__main__":
    main(*sys.argv[1:])
