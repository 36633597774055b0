"""An in-memory pair of byte streams that joins two drivers: no descriptor, no kernel, no luck.

Strategy: what one end writes reaches the other in a later pass of the loop, as with a socket, in
pieces of the size that the test wants. A test may hold an end, which then reads nothing, so that
the other fills up; and may cut the pair as a network does.
"""

from __future__ import annotations

import asyncio

from rshell.protocol.frames import Buffer
from rshell.transport.driver import Driver


class MemoryStream:
    """One end of a pair, a `ByteStream` for its driver. `limit` bounds what it keeps.

    `is_held` says that this end does not read; `received` counts the bytes it has read.
    """

    def __init__(self, driver: Driver, limit: int, piece: int) -> None:
        self.driver = driver
        self.peer = self
        self.is_held = False
        self.is_paused = False
        self.received = 0
        self.largest_kept = 0
        self._limit = limit
        self._piece = piece
        self._kept = bytearray()
        self._loop = asyncio.get_running_loop()
        self._is_moving = False
        self._is_closing = False
        self._is_over = False

    # What the driver calls.

    def write(self, buffers: list[Buffer]) -> None:
        """Keep a copy until the other end reads it."""
        if self._is_closing:
            return
        for buffer in buffers:
            self._kept += buffer
        self.largest_kept = max(self.largest_kept, len(self._kept))
        self._move_soon()

    def room(self) -> int:
        """Return how many bytes may be written before the limit is reached."""
        return 0 if self._is_closing else self._limit - len(self._kept)

    def pause(self) -> None:
        """Read no more until `resume`."""
        self.is_paused = True

    def resume(self) -> None:
        """Read again."""
        self.is_paused = False
        self.peer._move_soon()

    def close(self) -> None:
        """Let the other end read what is kept, then its end."""
        if not self._is_closing:
            self._is_closing = True
            self._move_soon()

    def abort(self) -> None:
        """Drop what is kept and end."""
        self._kept.clear()
        self._is_closing = True
        self._finish(None)

    # What tests call.

    def release(self) -> None:
        """Read again."""
        self.is_held = False
        self.peer._move_soon()

    def cut(self, error: Exception | None) -> None:
        """End both ends at once, as a broken network does; what is kept is lost."""
        for end in (self, self.peer):
            end._kept.clear()
            end._is_closing = True
            end._lose(error)

    # The way to the other end.

    def _move_soon(self) -> None:
        if not self._is_moving:
            self._is_moving = True
            self._loop.call_soon(self._move)

    def _move(self) -> None:
        self._is_moving = False
        if self.peer.is_held or self.peer.is_paused or self._is_over:
            return
        was_full = self.room() <= 0
        piece = bytes(self._kept[: self._piece])
        del self._kept[: self._piece]
        if self._kept:
            self._move_soon()
        if piece and not self.peer._is_over:
            self.peer.received += len(piece)
            self.peer.driver.receive_data(memoryview(piece))
        if was_full and not self._is_closing and self.room() > 0:
            self.driver.stream_writable()
        if self._is_closing and not self._kept:
            self._finish(None)

    def _finish(self, error: Exception | None) -> None:
        if not self._is_over:
            self._lose(error)
            self._loop.call_soon(self.peer._read_end)

    def _read_end(self) -> None:
        if not self._is_over:
            self.driver.receive_eof()
            self.close()

    def _lose(self, error: Exception | None) -> None:
        if not self._is_over:
            self._is_over = True
            self._loop.call_soon(self.driver.stream_lost, error)


def join_in_memory(
    first: Driver, second: Driver, *, limit: int = 256 * 1024, piece: int = 64 * 1024
) -> tuple[MemoryStream, MemoryStream]:
    """Join two drivers; frames flow from the next pass of the loop on."""
    ends = MemoryStream(first, limit, piece), MemoryStream(second, limit, piece)
    ends[0].peer, ends[1].peer = ends[1], ends[0]
    for end in ends:
        end.driver.stream_opened(end)
    for end in ends:
        end.driver.stream_ready()
    return ends
