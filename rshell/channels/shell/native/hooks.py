"""Our side of a shell's hooks: records on two named pipes, keys, and questions.

What the hooks are told, and what they report, are records. They bind keys that nobody types,
and act when one is pressed. Questions to the shell are asked one at a time. Nobody may
wait any more for one that the shell still works on. It gets a little time all the same, for an
interrupt changes `$?`, and may cost more than the answer; the next question waits.

Hazard: the hooks open the pipes for each use, and may not take a long line at once. Whoever tells
the shell something is a task; one begins where the one before has ended.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable
from contextlib import suppress

from rshell.aio import on_failure
from rshell.channels.shell.native.machine import Event, ShellMachine, State
from rshell.channels.shell.native.startup import Meeting
from rshell.execution.piped_process import PipedProcess
from rshell.execution.pipes import PipeSink, PipeSource
from rshell.terminal.pty import take_unread

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


# Questions.

_ANSWER_SECONDS = 5.0


class Questions:
    """The questions to the shell of `machine`; `on_event` tells it of them.

    `present` is the last one: its kind, its number and its text.
    """

    def __init__(self, machine: ShellMachine, on_event: Callable[[Event], None]) -> None:
        self._machine = machine
        self._on_event = on_event
        self.present: tuple[str, int, str] = ("", 0, "")
        self._answer: asyncio.Future[list[str] | None] | None = None
        self._turn = asyncio.Lock()

    async def ask(self, kind: str, number: int, text: str) -> list[str] | None:
        """Ask the idle shell; return the answer behind its number, if any. Cancelling is safe."""
        async with self._turn:
            if self._answer is not None:  # to an earlier question, for which nobody waits
                await asyncio.wait((self._answer,))
            if self._machine.state is not State.IDLE:
                return None
            self.present = kind, number, text
            self._answer = answer = asyncio.get_running_loop().create_future()
            self._on_event(Event.QUESTION)
            try:
                await asyncio.wait((answer,), timeout=_ANSWER_SECONDS)
            except asyncio.CancelledError:
                self._on_event(Event.STALE)
                raise
            if not answer.done():
                self._on_event(Event.TIMEOUT)
            return answer.result() if answer.done() else None

    def take(self, fields: list[str]) -> None:
        """The shell has answered; `fields` begin with the number of the question."""
        if fields[0] == str(self.present[1]):
            self._give(fields[1:])
            self._on_event(Event.ANSWER)

    def give_up(self) -> None:
        """There is no answer to the present question."""
        self._give(None)

    def _give(self, fields: list[str] | None) -> None:
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            answer.set_result(fields)


# Keys.

TAKE, PROBE, ASK = b"\x1b[7771~", b"\x1b[7772~", b"\x1b[7773~"
_OURS = re.compile(b"|".join(map(re.escape, (TAKE, PROBE, ASK))))


def press(piped: PipedProcess, keys: bytes) -> None:
    """Press keys that nobody typed; where the terminal's queue is full, a later look does."""
    if piped.terminal >= 0:
        with suppress(BlockingIOError):
            os.write(piped.terminal, keys)


def take_back_keys(piped: PipedProcess) -> bytes:
    """Take back the keys that nobody has read; return those that are not ours."""
    return b"" if piped.slave < 0 else _OURS.sub(b"", take_unread(piped.slave))
