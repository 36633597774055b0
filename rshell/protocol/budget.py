"""The memory that one session may take, whatever its channels do.

Strategy: everything of a session that can grow is counted in one place: what the receive windows
promise the peer, what waits in channels for its turn, and how far the replay queue has grown.
Each asks before it grows. Nobody is refused the little that it needs to go on, so a session
whose budget is spent slows down and never stops.

Hazard: `free` may fall below 0 by those small parts, which the number of channels bounds.
"""

from __future__ import annotations


class MemoryBudget:
    """The bytes of a session that nobody has taken yet: `free`."""

    __slots__ = ("free",)

    def __init__(self, size: int) -> None:
        self.free = size

    def reserve(self, size: int) -> bool:
        """Take `size` bytes if they are there."""
        if size > self.free:
            return False
        self.free -= size
        return True

    def take(self, size: int) -> None:
        """Take `size` bytes in any case."""
        self.free -= size

    def release(self, size: int) -> None:
        """Give `size` bytes back."""
        self.free += size
