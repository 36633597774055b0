"""A long way on a short wire: a loopback proxy that delays every byte, and limits nothing.

`python -m tests.benchmarks.proxy PORT DELAY` prints the port that it listens on, and connects
each client to PORT with DELAY seconds added each way. A process of its own, so that it takes no
time from either end; `own_rate` measures what it could carry.

Strategy: what is read waits in a queue with the moment at which it is due. Nothing is paused:
what is on its way is bounded by the windows of the two ends, which is what is to be measured.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from tests.benchmarks.measure import rate
from tests.benchmarks.servers import HOST

_BLOCK = 1024 * 1024


class _Side(asyncio.BufferedProtocol):
    """One of the two connections; what it reads goes to the other one, later."""

    def __init__(self, delay: float) -> None:
        self.other: _Side | None = None
        self._delay = delay
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._waiting: deque[tuple[float, bytes | None]] = deque()  # None is the end
        self._buffer = memoryview(bytearray(_BLOCK))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        assert self.other is not None
        self.other.carry(bytes(self._buffer[:nbytes]))

    def eof_received(self) -> bool:
        assert self.other is not None
        self.other.carry(None)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self.other is not None:
            self.other.carry(None)

    def carry(self, data: bytes | None) -> None:
        """Write `data` once its time on the way has passed."""
        self._waiting.append((self._loop.time() + self._delay, data))
        if len(self._waiting) == 1:
            self._loop.call_later(self._delay, self._deliver)

    def _deliver(self) -> None:
        now = self._loop.time()
        while self._waiting and self._waiting[0][0] <= now:
            data = self._waiting.popleft()[1]
            if self._transport is not None:
                if data is None:
                    self._transport.close()
                else:
                    self._transport.write(data)
        if self._waiting:
            self._loop.call_at(self._waiting[0][0], self._deliver)


async def _serve(target: int, delay: float) -> None:
    loop = asyncio.get_running_loop()
    listening = socket.create_server((HOST, 0))
    listening.setblocking(False)
    print(listening.getsockname()[1], flush=True)
    while True:
        accepted, _ = await loop.sock_accept(listening)
        near, far = _Side(delay), _Side(delay)
        near.other, far.other = far, near
        await loop.create_connection(lambda far=far: far, HOST, target)  # type: ignore[misc]
        await loop.connect_accepted_socket(lambda near=near: near, accepted)  # type: ignore[misc]


@contextmanager
def delayed(port: int, delay: float) -> Iterator[int]:
    """Run a proxy to `port` until the block ends; the value is the proxy's own port."""
    argv = [sys.executable, "-m", "tests.benchmarks.proxy", str(port), str(delay)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


def own_rate(size: int, delay: float) -> float:
    """Return the megabytes a second that the proxy carries between two plain sockets."""
    with socket.create_server((HOST, 0)) as listening:
        thread = threading.Thread(target=_send_zeros, args=(listening, size))
        thread.start()
        with (
            delayed(listening.getsockname()[1], delay) as port,
            socket.create_connection((HOST, port)) as sock,
        ):
            start = time.perf_counter()
            buffer = bytearray(_BLOCK)
            left = size
            while left and (got := sock.recv_into(buffer)):
                left -= got
            took = time.perf_counter() - start
        thread.join()
    return rate(size - left, took)


def _send_zeros(listening: socket.socket, size: int) -> None:
    sock, _ = listening.accept()
    with sock:
        block = bytes(_BLOCK)
        for at in range(0, size, _BLOCK):
            sock.sendall(block[: size - at])


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), float(sys.argv[2])))
