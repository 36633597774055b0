"""What the hooks of a shell are told, and what they report: records on two named pipes.

Hazard: the hooks open the pipes for each use, and may not take a long line at once. Whoever tells
the shell something is a task; one begins where the one before has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from rshell.aio import on_failure
from rshell.channels.shell.native.startup import Meeting
from rshell.execution.pipes import PipeSink, PipeSource

_RECORD = 1 << 20  # bytes of an unfinished field that are kept
_ALL, _FIELDS = 16 << 20, 6  # bytes of a record, and digits of the number of its fields
_BLOCK = 65536


class RecordReader:
    """Cuts what the hooks report into records: a tag, the number of fields, and the fields.

    What is none is skipped: commands may write to any pipe they can find.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._record: list[str] = []
        self._size = 0

    def feed(self, data: bytes) -> list[list[str]]:
        """Return the records that `data` completes, each a tag and its fields."""
        *whole, rest = (self._rest + data).split(b"\0")
        self._rest = rest[-_RECORD:]
        found = []
        for item in whole:
            record = self._record
            record.append(item.decode(errors="surrogateescape"))
            self._size = len(item) + (self._size if len(record) > 1 else 0)
            if len(record) == 1:
                is_none = len(record[0]) != 1
            else:
                is_count = record[1].isascii() and record[1].isdigit()
                is_none = not is_count or len(record[1]) > _FIELDS or self._size > _ALL
            if is_none:
                record.clear()
            elif len(record) > 1 and len(record) - 2 == int(record[1]):
                found.append([record[0], *record[2:]])
                self._record = []
        return found


class RecordPipes:
    """The pipes of a meeting, which are closed with it. `hear` gets each record that comes.

    `on_deaf` is called if the shell can't be told something: it must not be waited for.
    """

    def __init__(
        self, meeting: Meeting, hear: Callable[[list[str]], None], on_deaf: Callable[[], object]
    ) -> None:
        self._meeting = meeting
        self._hear = hear
        self._on_deaf = on_deaf
        self._reader = RecordReader()
        self._told = PipeSink(meeting.told)
        self._said = PipeSource(
            meeting.said, self._feed, lambda: None, block=_BLOCK, room=lambda: _BLOCK
        )
        self._teller: asyncio.Task[None] | None = None

    def tell(self, *records: str) -> None:
        """Tell the hooks so much, behind what they were told before."""
        data = b"".join(text.encode(errors="surrogateescape") + b"\0" for text in records)
        self._teller = asyncio.create_task(self._write(data, self._teller))
        on_failure(self._teller, lambda _: self._on_deaf())

    async def _write(self, data: bytes, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await before
        with suppress(BrokenPipeError):  # we have closed it
            await self._told.write(data)

    def _feed(self, data: bytes) -> None:
        for record in self._reader.feed(data):
            self._hear(record)

    def cancel(self) -> None:
        """Tell nothing any more."""
        if self._teller is not None:
            self._teller.cancel()

    def close(self) -> None:
        """Close the pipes and remove their directory."""
        self._said.close()
        self._told.close()
        self._meeting.remove()
