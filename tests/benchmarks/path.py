"""A far path that a kernel really uses: two network namespaces and a loop that delays and drops.

Each namespace has a tun device, and this process moves packets from one device to the other: a
constant delay each way, and a share of packets that are lost, drawn from a fixed seed. TCP of both
ends is the kernel's own, with its windows, losses and congestion control; a proxy between two
connections (proxy.py) has none of that. rshell and ssh take the same path.

`python -m tests.benchmarks.path NAME DELAY LOSS MTU` makes the path, prints a line when it is
there, and takes it away at the end of its stdin. Only root may do that, and only on Linux.

Strategy: nothing limits the rate but this loop and the machine. Large packets (`mtu` bytes) keep
the loop from being the limit: at 1,500 bytes each it would move a sixth of what it does at 9,000.
"""

from __future__ import annotations

import fcntl
import os
import random
import select
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tests.benchmarks.servers import Unavailable

NEAR, FAR = "10.77.0.1", "10.77.0.2"
_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 1, 0x1000
_QUEUE = 20_000  # packets that a device keeps while the loop is elsewhere
_LARGEST = 65_536  # bytes of a packet
_BATCH = 256  # packets read from one device before the other has its turn


@dataclass(frozen=True)
class FarPath:
    """Both ends: what to put before the argv of a program that is to run there."""

    near: tuple[str, ...]
    far: tuple[str, ...]


@contextmanager
def far_path(delay: float, loss: float, mtu: int) -> Iterator[FarPath]:
    """Make a path until the block ends: `delay` seconds each way, `loss` of 1 is all.

    Raises Unavailable where that is not possible.
    """
    if not sys.platform.startswith("linux") or os.geteuid():
        raise Unavailable("network namespaces need Linux and root")
    name = f"rshell{os.getpid()}"
    argv = [sys.executable, "-m", "tests.benchmarks.path", name, str(delay), str(loss)]
    argv.append(str(mtu))
    process = subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdin is not None and process.stdout is not None
        try:
            if not process.stdout.readline():
                assert process.stderr is not None
                raise Unavailable(process.stderr.read().strip().splitlines()[-1])
            inside = ("ip", "netns", "exec")
            yield FarPath((*inside, f"{name}a"), (*inside, f"{name}b"))
        finally:
            process.stdin.close()


class _Way:
    """One direction: packets of one device that are due at the other one later."""

    def __init__(self, source: int, target: int, delay: float, loss: float, seed: int) -> None:
        self.source = source
        self._target = target
        self._delay = delay
        self._loss = loss
        self._random = random.Random(seed).random
        self._waiting: deque[tuple[float, bytes]] = deque()

    @property
    def due(self) -> float:
        """When the next packet is due; far in the future without one."""
        return self._waiting[0][0] if self._waiting else float("inf")

    def take(self) -> None:
        """Read what the device has, and lose some of it."""
        for _ in range(_BATCH):
            try:
                packet = os.read(self.source, _LARGEST)
            except BlockingIOError:
                return
            if not self._loss or self._random() >= self._loss:
                self._waiting.append((time.monotonic() + self._delay, packet))

    def deliver(self) -> None:
        """Write what is due."""
        now = time.monotonic()
        while self._waiting and self._waiting[0][0] <= now:
            packet = self._waiting.popleft()[1]
            try:
                os.write(self._target, packet)
            except BlockingIOError:
                pass  # lost, as on any path whose queue is full
            except OSError:
                return  # the device is down


def _carry(devices: Sequence[int], delay: float, loss: float) -> None:
    """Move packets until stdin ends."""
    one, other = devices
    ways = {
        one: _Way(one, other, delay, loss, seed=1),
        other: _Way(other, one, delay, loss, seed=2),
    }
    poll = select.poll()
    for fd in (*ways, 0):
        poll.register(fd, select.POLLIN)
    while True:
        due = min(way.due for way in ways.values())
        wait = None if due == float("inf") else max(0.0, due - time.monotonic()) * 1000
        for fd, _ in poll.poll(wait):
            if fd == 0:
                return
            ways[fd].take()
        for way in ways.values():
            way.deliver()


def _open_device(name: str) -> int:
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
    return fd


def _ip(*arguments: str) -> None:
    subprocess.run(("ip", *arguments), check=True, stdin=subprocess.DEVNULL, capture_output=True)


def main(name: str, delay: str, loss: str, mtu: str) -> None:
    """Make both namespaces, carry packets between them, and take them away."""
    spaces = (f"{name}a", f"{name}b")
    try:
        devices = []
        for space, own, peer in zip(spaces, (NEAR, FAR), (FAR, NEAR)):
            _ip("netns", "add", space)
            devices.append(_open_device(space))
            _ip("link", "set", space, "netns", space)
            _ip("-n", space, "link", "set", "lo", "up")
            link = ("mtu", mtu, "txqueuelen", str(_QUEUE), "up")
            _ip("-n", space, "link", "set", space, *link)
            _ip("-n", space, "address", "add", own, "peer", peer, "dev", space)
        print("ready", flush=True)
        _carry(devices, float(delay), float(loss))
    finally:
        for space in spaces:
            subprocess.run(("ip", "netns", "del", space), capture_output=True, check=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
