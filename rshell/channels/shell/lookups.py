"""Looking into directories without making anybody wait for them.

Strategy: each look has a thread of its own, which nobody waits for: a directory on a dead network
keeps one for ever, and neither the loop nor the end of the process. A few such threads are the
most; then there is nothing to be found.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

_MOST = 4  # looks at a time

Found = TypeVar("Found")


class LookUps:
    """Looks into directories for one client."""

    def __init__(self) -> None:
        self._working = 0

    async def run(self, look: Callable[[], Found], otherwise: Found) -> Found:
        """Return what `look()` returns or raises, `otherwise` where too many are under way.

        Cancelling stops the wait; the look goes on by itself.
        """
        if self._working >= _MOST:
            return otherwise
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[Found] = loop.create_future()

        def finish(settle: Callable[[], None]) -> None:
            self._working -= 1
            if not waiting.done():
                settle()

        def work() -> None:
            try:
                settle = partial(waiting.set_result, look())
            except Exception as error:
                settle = partial(waiting.set_exception, error)
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(finish, settle)

        self._working += 1
        threading.Thread(target=work, name="looking into a directory", daemon=True).start()
        return await waiting
