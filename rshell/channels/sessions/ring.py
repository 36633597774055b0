"""The newest output of a named shell, for those who come later or read slowly.

Strategy: bytes have positions, counted from the session's beginning, and stay where they are:
a reader keeps a position of its own and asks for what follows. The oldest are dropped as new
ones come; a reader whose position lies before `start` has missed what is between.

Hazard: a terminal gives output in pieces of a few bytes. Small ones are put together, so that
a mebibyte of keystrokes' echoes is some hundred blocks and not a million.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from operator import itemgetter

_SMALL = 4096


class Ring:
    """The newest `limit` bytes. `end` is the position after the last one."""

    def __init__(self, limit: int) -> None:
        self.end = 0
        self._limit = limit
        self._blocks: deque[tuple[int, bytes]] = deque()  # with the position of the first byte

    @property
    def start(self) -> int:
        """The position of the oldest byte that is kept; so many were dropped."""
        return max(0, self.end - self._limit)

    def append(self, data: bytes) -> None:
        """Add output, and drop what is too old by now."""
        if not data:
            return
        blocks, position = self._blocks, self.end
        if blocks and len(blocks[-1][1]) + len(data) <= _SMALL:
            position, before = blocks.pop()
            data = before + data
        blocks.append((position, data))
        self.end = position + len(data)
        while blocks and blocks[0][0] + len(blocks[0][1]) <= self.start:
            blocks.popleft()

    def read(self, position: int, size: int) -> bytes:
        """Return at most `size` bytes from `position` on, which must not lie before `start`.

        They end where a block does, so ask again; none are left at `end`.
        """
        if position >= self.end:
            return b""
        first, block = self._blocks[bisect_right(self._blocks, position, key=itemgetter(0)) - 1]
        return block[position - first : position - first + size]
