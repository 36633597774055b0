"""The session of a file system: it lives on one loop, and any thread may let go of it."""

from __future__ import annotations

import asyncio
import atexit
import os
import weakref
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Optional

from rshell import Client
from rshell.aio import Opening

_OPEN = 64  # files; a server keeps 256 open for a client
_PATIENCE = 2.0  # seconds for goodbyes at the end of the program


class SharedSession:
    """A client, opened when it is first asked for, and again when its session is over."""

    def __init__(self, connect: Callable[[], Opening[Client]]) -> None:
        self._connect = connect
        self._opening: Optional[asyncio.Task[Client]] = None
        self._pid = os.getpid()
        self.turns: asyncio.Semaphore  # for files that are opened and closed again; of its loop
        _all.add(self)

    async def client(self) -> Client:
        """Return the client. Raises ConnectError; cancelling leaves the session to others."""
        opening = self._opening
        if opening is None or _is_over(opening):
            self._opening = opening = asyncio.get_running_loop().create_task(self._open())
            opening.add_done_callback(_retrieve)
        return await asyncio.shield(opening)

    async def _open(self) -> Client:
        self.turns = asyncio.Semaphore(_OPEN)
        return await self._connect()

    async def close(self) -> None:
        """End the session; the next call begins another one."""
        opening, self._opening = self._opening, None
        if opening is None or opening.get_loop() is not asyncio.get_running_loop():
            return
        opening.cancel()
        await asyncio.wait([opening])
        if not opening.cancelled() and opening.exception() is None:
            await opening.result().close()

    def let_go(self) -> Optional[Future[None]]:
        """Have the session closed by its loop, if that runs in this process. Any thread may ask."""
        opening = self._opening
        if opening is None or self._pid != os.getpid() or not opening.get_loop().is_running():
            return None
        return asyncio.run_coroutine_threadsafe(self.close(), opening.get_loop())


_all: weakref.WeakSet[SharedSession] = weakref.WeakSet()


def _is_over(opening: asyncio.Task[Client]) -> bool:
    """Whether a client is of no use here: it failed, it has ended, or its loop is another one."""
    if opening.get_loop() is not asyncio.get_running_loop():
        return True
    if not opening.done():
        return False
    return opening.cancelled() or opening.exception() is not None or opening.result().is_closed


def _retrieve(opening: asyncio.Task[Client]) -> None:
    if not opening.cancelled():
        opening.exception()  # whoever gave up does not ask


@atexit.register
def _say_goodbye() -> None:
    goodbyes = [goodbye for session in list(_all) if (goodbye := session.let_go()) is not None]
    wait(goodbyes, timeout=_PATIENCE)
