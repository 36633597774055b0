"""Says that the server does not answer, long before its link counts as lost.

A link is given up after 45 s of silence, and until then keys that are typed just vanish. A server
acknowledges whatever is sent to it within a second, so silence means something as soon as anything
waits for that: it is said after some seconds, and taken back when the server speaks. Where nothing
was sent, silence means nothing. A cut is told elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from rshell.client.client import Client

_LOOKS = 5  # in the time after which it is said


class AnswerWatch:
    """Says so with `say`, until it is stopped, the client is closed or `is_wanted` says no."""

    def __init__(
        self,
        client: Client,
        say: Callable[[str], object],
        *,
        way_out: str = "",
        is_wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        self._client = client
        self._say = say
        self._silence = f"no answer from the server; what was sent to it waits{way_out}"
        self._seconds = client.links.limits.answer_seconds
        self._is_wanted = is_wanted
        self._loop = asyncio.get_running_loop()
        self._heard = client.links.heard_at
        self._since: float | None = None  # when something was seen to wait for an answer
        self._is_told = False
        self._timer = self._loop.call_later(self._seconds / _LOOKS, self._look)

    def begin_anew(self) -> None:
        """Tell it again to somebody who may not have heard."""
        self._is_told = False

    def stop(self) -> None:
        """Look no more. Does nothing when it is stopped."""
        self._timer.cancel()

    def _look(self) -> None:
        links = self._client.links
        if self._client.is_closed or not self._is_wanted():
            return
        self._timer = self._loop.call_later(self._seconds / _LOOKS, self._look)
        now = self._loop.time()
        if not links.is_up:
            self._since, self._is_told = None, False
        elif links.heard_at != self._heard or links.is_answered:
            self._heard, self._since = links.heard_at, None
            if self._is_told:
                self._is_told = False
                self._say("the server answers again")
        elif self._since is None:
            self._since = now
        elif now - self._since >= self._seconds and not self._is_told:
            self._is_told = True
            self._say(self._silence)
