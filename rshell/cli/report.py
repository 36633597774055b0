"""What the commands say for themselves: one line, one JSON object, or one table.

A script that asks for `--json` gets the same object for every outcome, a refused login, a signal
and an error that nobody foresaw included, and has one thing to read. Output that is not UTF-8 is
given in base64 under another key. What goes wrong between here and there is one line, or that
object, and the status 255.

A link is given up after 45 s of silence, and until then keys that are typed just vanish. A server
acknowledges whatever is sent to it within a second, so silence means something as soon as anything
waits for that: it is said after some seconds, and taken back when the server speaks. Where nothing
was sent, silence means nothing.

Hazard: as JSON, text may take six times its bytes, and as a string of Python four times. Neither is
ever made of all of a command's output.
"""

from __future__ import annotations

import asyncio
import base64
import codecs
import json
import signal
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Union

from rshell.cli.standard import StreamError, print_bytes, print_text, say
from rshell.cli.streams import Left
from rshell.errors import ChannelRefused, ChannelReset, RshellError
from rshell.terminal.output import printable

if TYPE_CHECKING:
    from rshell.channels.process.messages import ProcessEnding
    from rshell.client.client import Client
    from rshell.values import ExitStatus

FAILED_STATUS = 255
TIMEOUT_STATUS = 124
BROKEN_PIPE_STATUS = 128 + signal.SIGPIPE
_COMMAND_SHOWN = 60  # characters


class Report:
    """How one run of `rshell` ends, as it is told: with `as_json`, by one object.

    The command's output is collected in `stdout` and `stderr` then. `has_begun` says that the
    server may have been asked for something. Once there is a `status`, it is the one to exit with,
    whatever fails or comes after it.
    """

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        self.stdout = bytearray()
        self.stderr = bytearray()
        self.has_begun = False
        self.status: int | None = None

    def ended(self, ending: ProcessEnding) -> int:
        """Tell how the command ended; return the status to exit with."""
        if self.as_json:
            outcome = "exited" if ending.status.signal is None else "signaled"
            if ending.timed_out:
                outcome = "timeout"
            print_object(self._object(outcome, ending.status, ending.duration))
        self.status = TIMEOUT_STATUS if ending.timed_out else ending.status.shell_status
        return self.status

    def failed(self, error: BaseException) -> int:
        """Tell what went wrong, or that the user left; return the status to exit with."""
        if self.status is not None:
            return self.status
        if isinstance(error, BrokenPipeError):
            return BROKEN_PIPE_STATUS  # `| head` has seen enough of our stdout
        is_left = isinstance(error, Left)
        if self.as_json:
            try:
                is_refused = not self.has_begun or isinstance(error, ChannelRefused)
                outcome = "refused" if is_refused else "lost"
                print_object(self._object(outcome, None, None, explain(error)))
            except BrokenPipeError:
                pass
            except StreamError as full:
                say(explain(full))
        elif not is_left:
            say(explain(error))
        return error.status if isinstance(error, Left) else FAILED_STATUS

    def _object(
        self, outcome: str, status: ExitStatus | None, duration: float | None, error: str = ""
    ) -> dict[str, Any]:
        return {
            "outcome": outcome,
            "exit_status": None if status is None else status.code,
            "signal": None if status is None else status.signal,
            **output_value("stdout", self.stdout),
            **output_value("stderr", self.stderr),
            "duration": None if duration is None else round(duration, 6),
            "error": error or None,
        }


def explain(error: BaseException) -> str:
    """Return the sentence that says what went wrong; for a bug, where it was noticed, too."""
    if isinstance(error, (RshellError, Left)):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        name = "" if error.filename is None else f": {error.filename}"
        return f"{error.strerror}{name}"
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({PurePath(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"an error that was not foreseen: {text}{where}"


def print_object(values: dict[str, Any]) -> None:
    """Print one JSON object on stdout. Raises BrokenPipeError and StreamError."""
    for piece in json_pieces(values):
        print_bytes(piece)


def print_result(values: dict[str, Any], text: str, as_json: bool) -> None:
    """Print the object, or the text if there is any. Raises as `print_object` does."""
    if as_json:
        print_object(values)
    elif text:
        print_text(text)


def aligned(rows: Sequence[tuple[str, ...]]) -> str:
    """Return rows of as many cells each as a table; the last column is not padded."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)] + [0]
    return "\n".join(
        "  ".join(cell.ljust(widths[column]) for column, cell in enumerate(row)) for row in rows
    )


def command_cell(command: str) -> str:
    """Return a command as a table shows it: safe, on one line, and not too long."""
    text = printable(command)
    return text if len(text) <= _COMMAND_SHOWN else text[: _COMMAND_SHOWN - 3] + "..."


def format_seconds(seconds: float) -> str:
    """Return a duration as people read it."""
    if seconds < 1:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


# The link, and who is silent at its other end.

_LOOKS = 5  # in the time after which it is said


def tell_link(client: Client, say: Callable[[str], object], *, way_out: str = "") -> None:
    """Say that the link was cut, that nobody answers, and that all is well again.

    `way_out` says how to stop waiting. It ends when `client.links.on_change` is set anew.
    """
    lost = f"the link was cut; trying to come back{way_out}"
    is_up = True

    def tell() -> None:
        nonlocal is_up
        if client.links.is_up != is_up and not client.is_closed:
            is_up = not is_up
            say("the link is back" if is_up else lost)

    client.links.on_change = tell
    AnswerWatch(client, say, way_out=way_out, is_wanted=lambda: client.links.on_change is tell)


class AnswerWatch:
    """Says with `say` that the server is silent, and that it answers again.

    Until it is stopped, the client is closed or `is_wanted` says no.
    """

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


# A command's output as a part of an object: bounded, and written piece by piece.

_LARGEST = 16 * 1024 * 1024  # bytes of each stream
_PIECE = 48 * 1024  # a multiple of what base64 takes at once

Output = Union[bytes, bytearray]


def collect(data: bytearray, block: bytes) -> None:
    """Add a block to what a stream has printed. Raises ChannelReset where that gets too much."""
    if len(data) + len(block) > _LARGEST:
        mebibytes = _LARGEST // 2**20
        raise ChannelReset(
            "overrun", f"--json holds no more than {mebibytes} MiB of each stream", by="local"
        )
    data += block


def output_value(name: str, data: Output) -> dict[str, Output]:
    """Return the key and the value of one stream, for `json_pieces`."""
    try:
        for _ in _texts(data):
            pass
    except UnicodeDecodeError:
        return {f"{name}_base64": data}
    return {name: data}


def json_pieces(values: Mapping[str, object]) -> Iterator[bytes]:
    """Yield a line with one JSON object, piece by piece; a value of bytes is some output."""
    before = "{"
    for key, value in values.items():
        yield f"{before}{json.dumps(key)}: ".encode("ascii")
        if isinstance(value, (bytes, bytearray)):
            yield b'"'
            yield from _base64(value) if key.endswith("_base64") else _escaped(value)
            yield b'"'
        else:
            yield json.dumps(value).encode("ascii")
        before = ", "
    yield b"}\n"


def _base64(data: Output) -> Iterator[bytes]:
    for at in range(0, len(data), _PIECE):
        yield base64.b64encode(data[at : at + _PIECE])


def _escaped(data: Output) -> Iterator[bytes]:
    for text in _texts(data):
        yield json.dumps(text)[1:-1].encode("ascii")


def _texts(data: Output) -> Iterator[str]:
    """Yield the text that `data` is. Raises UnicodeDecodeError where it is none."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    for at in range(0, len(data), _PIECE):
        yield decoder.decode(data[at : at + _PIECE])
    yield decoder.decode(b"", final=True)
