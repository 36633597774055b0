"""A client's links as far as those look at them who tell people of cuts and silence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rshell.values import Bounds


class Links:
    """A client and its links in one; the server has answered all, until a test says otherwise."""

    is_answered = True
    is_closed = False
    heard_at = 0.0

    def __init__(self, *, answer_seconds: float = 2.5) -> None:
        self.limits = Bounds(answer_seconds=answer_seconds)
        self.links: Any = self
        self.is_up = True
        self.on_change: Callable[[], None] = lambda: None

    def change(self, *, is_up: bool) -> None:
        """Cut the link, or have it back."""
        self.is_up = is_up
        self.on_change()
