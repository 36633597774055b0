"""The background server: it serves what others were started with, and ends when nobody needs it.

A process of this user's connects, is told that it is heard, and sends two descriptors, by
SCM_RIGHTS, with a line of JSON that holds its environment (server/enter.py). The connection stays
open as long as the descriptors are in use, which is what that process waits for.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Callable
from typing import BinaryIO, cast

from rshell.aio import readable, timeout
from rshell.server.enter import TAKEN
from rshell.values import Bounds, frozen

_BLOCK = 65536
_LONGEST = 4 * 1024 * 1024  # bytes of a line; a system's longest environment is shorter
_LOOKS = 10  # in the time that a server may be idle
_RAREST_LOOK = 60.0  # seconds


@frozen
class Handed:
    """What a process has handed over: two ends of a byte stream, and its environment."""

    incoming: BinaryIO
    outgoing: BinaryIO
    environment: dict[str, str]


async def take_handed(sock: socket.socket, limits: Bounds) -> Handed | None:
    """Take what is handed over at `sock`; None for who leaves, is too slow, or says it wrong."""
    loop = asyncio.get_running_loop()
    fds: list[int] = []
    try:
        async with timeout(limits.login_seconds):
            await loop.sock_sendall(sock, TAKEN)
            await readable(sock.fileno())
            data, fds, _, _ = socket.recv_fds(sock, _BLOCK, 2)
            for fd in fds:
                os.set_inheritable(fd, False)  # what the flag for it, which Python ignores, does
            while data and not data.endswith(b"\n") and len(data) < _LONGEST:
                more = await loop.sock_recv(sock, _BLOCK)
                data = data + more if more else b""
        environment = json.loads(data)["environment"]
        if len(fds) == 2 and all(map(_is_variable, environment.items())):
            incoming, outgoing = (
                os.fdopen(fds[0], "rb", 0),
                os.fdopen(fds[1], "wb", 0),
            )
            fds = []
            return Handed(
                incoming=cast(BinaryIO, incoming),
                outgoing=cast(BinaryIO, outgoing),
                environment=environment,
            )
    except (
        *(OSError, TimeoutError, ValueError, KeyError, TypeError, AttributeError),
        RecursionError,
    ):
        pass
    finally:
        for fd in fds:
            os.close(fd)
    return None


def _is_variable(item: tuple[object, object]) -> bool:
    return all(isinstance(text, str) and "\0" not in text for text in item)


async def until_idle(is_idle: Callable[[], bool], seconds: float) -> None:
    """Return once there was nothing to do for so many seconds. Cancelling ends the wait."""
    loop = asyncio.get_running_loop()
    since = loop.time()
    while True:
        now = loop.time()
        if not is_idle():
            since = now
        elif now - since >= seconds:
            return
        await asyncio.sleep(min(max(seconds / _LOOKS, 0.05), _RAREST_LOOK))
