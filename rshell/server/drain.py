"""The time between "stop" and the stop: what runs may end by itself, and nothing new begins.

Strategy: sessions in which nothing runs are let go at once, the others as soon as they have
nothing left to run or to send; a client has the whole of its command's reply before it is told
goodbye. What is left when the time is over is for `Server.close` to end.

Hazard: a command's end and the delivery of its last byte are two things. A window may be used
up, and then only the client's reading moves it on, so sessions are looked at again and again;
nothing that the server does tells of it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from rshell.channels.base import Work
from rshell.server.session_table import KeptSession, Registry

_LOOK = 0.05  # seconds between two looks at the sessions


class Drain:
    """Lets the sessions of `registry` go with `let_go`, each when its work is done.

    It takes `seconds` at most, less when all is done or `stop` is called.
    """

    def __init__(
        self,
        work: Work,
        registry: Registry,
        let_go: Callable[[KeptSession], None],
        seconds: float,
    ) -> None:
        self._work = work
        self._registry = registry
        self._let_go = let_go
        self._loop = asyncio.get_running_loop()
        self._end = self._loop.time() + seconds
        self._stopped = asyncio.Event()

    async def run(self) -> None:
        """Tell those concerned, then wait. Cancelling stops the waiting and nothing else."""
        self._work.notify(self._notice)
        while not self._is_done() and self._loop.time() < self._end:
            try:
                async with asyncio.timeout(_LOOK):
                    await self._stopped.wait()
                return
            except TimeoutError:
                pass  # look again

    def stop(self) -> None:
        """Let `run` return at once."""
        self._stopped.set()

    def _notice(self) -> str:
        left = math.ceil(max(0.0, self._end - self._loop.time()))
        return (
            f"the server is shutting down; this command is ended in {left} s unless it ends before"
        )

    def _is_done(self) -> bool:
        """Let go of those who are done; return whether that is all."""
        busy = self._work.sessions()
        for kept in self._registry:
            is_waited_for = kept.id in busy
            # Without a link nobody will fetch what there is: nobody is let in any more.
            # What is on its way can be lost with the link: closing it may reset it.
            live = kept.live
            has_arrived = live.session.is_quiet and live.is_settled
            has_more = live.driver is not None and not has_arrived
            if not is_waited_for and not has_more:
                self._let_go(kept)
        return self._work.is_idle and not len(self._registry)
