"""The client's side of a `process` channel: `Process` while it runs, `CompletedProcess` after.

A process ends when the server says how, and the byte counts in that ending match what
arrived. Anything else that ends the channel is an exception, never a status.

Hazard: stdout and stderr share one window. Who reads only one of them while the other fills
waits for ever; merge them (`merge_stderr=True`), read both, or use `run`, which does.
"""

from __future__ import annotations

import os
import signal as signals
import subprocess
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Generic, TypeVar, Union

from rshell import aio
from rshell.channels.base import ask, check_count, listen, read_reply
from rshell.channels.process.feeding import Input, blocks_of
from rshell.channels.process.messages import (
    STDERR,
    STDIN,
    STDOUT,
    Notice,
    ProcessEnding,
    ProcessReply,
    ProcessRequest,
    Resize,
    Signal,
    StdinClosed,
)
from rshell.errors import (
    ChannelReset,
    OutputTruncated,
    ProcessFailed,
    ProcessTimeout,
    RemoteProtocolError,
)
from rshell.protocol.codec import Message
from rshell.protocol.fields import SECONDS_LIMIT
from rshell.protocol.frames import Buffer
from rshell.transport.channel import Channel
from rshell.transport.live_session import LiveSession
from rshell.transport.streams import ByteReader, TextReader
from rshell.values import Bounds, ExitStatus, TerminalSize, frozen

PIPE = subprocess.PIPE

PathLike = Union[str, "os.PathLike[str]"]
Command = Union[str, Sequence[PathLike]]

Text = TypeVar("Text", bytes, str)
Reader = TypeVar("Reader", ByteReader, TextReader)

_TIMEOUT_MARGIN = 10.0  # seconds for the server's own word about a timeout


@frozen
class CompletedProcess(Generic[Text]):
    """A command that has ended.

    Exactly one of `exit_status` (0 to 255) and `signal` (such as "SIGTERM") is not None;
    `status` has both forms and `status.shell_status` the number a shell would show.
    `duration` is seconds on the server's clock. `held_open` says that a background child still
    held the output when the command ended; what it writes later is not in here.
    """

    command: Command
    status: ExitStatus
    stdout: Text
    stderr: Text
    duration: float
    held_open: bool = False

    @property
    def exit_status(self) -> int | None:
        """The status it exited with, None when a signal ended it."""
        return self.status.code

    @property
    def signal(self) -> str | None:
        """The name of the signal that ended it, None when it exited."""
        return self.status.signal

    def check(self) -> None:
        """Raise ProcessFailed unless it exited with status 0."""
        if self.status.code != 0:
            last = _last_line(self.stderr)
            raise ProcessFailed(
                f"the command {self.status}: {self.command!r}" + (f": {last}" if last else ""),
                exit_status=self.exit_status,
                signal=self.signal,
                stdout=self.stdout,
                stderr=self.stderr,
            )


def _last_line(text: bytes | str) -> str:
    shown = text.decode(errors="replace") if isinstance(text, bytes) else text
    lines = shown.strip().splitlines()
    return lines[-1][:200] if lines else ""


class ProcessInput:
    """The stdin of a remote process."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._is_closed = False
        self.is_refused = False  # the process no longer reads

    async def write(self, data: Buffer) -> None:
        """Send all of `data`, waiting for room as the process reads.

        Raises BrokenPipeError once the process has ended or closed its stdin, LinkLost when the
        link is lost. Cancelling leaves a part unsent.
        """
        if self._is_closed or self.is_refused:
            raise BrokenPipeError("the stdin of the remote process is closed")
        try:
            await self._channel.write(data, STDIN)
        except ChannelReset as error:
            raise BrokenPipeError("the remote process has ended") from error
        if self.is_refused:
            raise BrokenPipeError("the remote process does not read its stdin")

    async def close(self) -> None:
        """End the input: the process reads its end of file. May be called again."""
        self._is_closed = True
        self._channel.send_eof()


class Process(Generic[Reader]):
    """A remote process. Leaving its `async with` block ends it, if it still runs.

    `pid` is its id on the server, `ending` all that the server said of its end, None before.
    `stdin` is None unless it was asked for with PIPE. `stdout` and `stderr` are read with
    `async for`, `read` or `readline`; `stderr` is empty when merged or on a terminal.
    `on_notice` gets what the server has to say meanwhile, such as that it is about to stop;
    `notice` is the last of it, which may have come before there was an `on_notice`.
    """

    def __init__(
        self, channel: Channel, request: ProcessRequest, stdout: Reader, stderr: Reader
    ) -> None:
        self._channel = channel
        self.pid = read_reply(channel, ProcessReply).pid
        self.ending: ProcessEnding | None = None
        self._timeout = request.timeout
        self.stdin = ProcessInput(channel) if request.stdin else None
        self.stdout: Reader = stdout
        self.stderr: Reader = stderr
        self.notice = ""
        self.on_notice: Callable[[str], None] = lambda text: None
        listen(channel, self._hear, ProcessEnding, StdinClosed, Notice)

    async def __aenter__(self) -> Process[Reader]:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if not self._channel.is_over:
            self.end("the caller let go of it")

    async def wait(self) -> ExitStatus:
        """Wait for the end and return how it ended. Safe to cancel; the process goes on.

        The output must be read meanwhile, or the process may wait for room for ever. Raises
        ProcessTimeout when its timeout ended it, and what cut the session or channel short.
        """
        ending = await self.wait_ending()
        if ending.timed_out:
            raise passed_timeout(self._timeout or 0.0)
        return ending.status

    async def wait_ending(self) -> ProcessEnding:
        """Wait for the end like `wait`, but return a timeout's ending too."""
        await self._channel.wait_closed()
        if self._channel.error is not None:
            raise self._channel.error
        if self.ending is None:
            raise RemoteProtocolError("the server closed the command without saying how it ended")
        for stream, count in ((STDOUT, self.ending.stdout), (STDERR, self.ending.stderr)):
            check_count(self._channel.stream(stream).received, count)
        return self.ending

    def send_signal(self, signal: int | str) -> None:
        """Send a signal, by name ("SIGINT") or number, to the remote process group.

        Does nothing once it has ended. It overtakes input that is still on its way.
        """
        name = signals.Signals(signal).name if isinstance(signal, int) else signal
        self._channel.send_message(Signal(name).encode(), urgent=True)

    def resize(self, size: TerminalSize) -> None:
        """Tell the process's terminal its new size."""
        self._channel.send_message(Resize(size).encode(), urgent=True)

    def end(self, reason: str = "the client ended it") -> None:
        """End the process and its group: SIGTERM, and SIGKILL 5 s later. Does not wait."""
        self._channel.reset("cancelled", reason)

    def _hear(self, heard: Message) -> None:
        if isinstance(heard, ProcessEnding):
            self.ending = heard
        elif isinstance(heard, StdinClosed) and self.stdin is not None:
            self.stdin.is_refused = True
        elif isinstance(heard, Notice):
            self.notice = heard.text
            self.on_notice(self.notice)


def passed_timeout(
    timeout: float, command: Command = "", stdout: bytes = b"", stderr: bytes = b""
) -> ProcessTimeout:
    """Return the error for a command that its timeout has ended."""
    text = f"the command passed its timeout of {timeout:g} s and was ended"
    text += f": {command!r}" if command else ""
    return ProcessTimeout(text, timeout=timeout, stdout=stdout, stderr=stderr)


def make_request(
    command: Command | None,
    *,
    cwd: PathLike | None = None,
    timeout: float | None = None,
    **options: Any,
) -> ProcessRequest:
    """Return the request for a command: a string for the shell, a sequence for no shell.

    Raises TypeError and ValueError for arguments that can't be.
    """
    options |= {"cwd": as_path(cwd), "timeout": check_timeout(timeout)}
    if command is None or isinstance(command, str):
        return ProcessRequest(command=command, **options)
    if isinstance(command, (bytes, os.PathLike)) or not command:
        raise TypeError("a command is a string, or a sequence of at least one string")
    return ProcessRequest(argv=tuple(_as_word(word) for word in command), **options)


def as_path(path: PathLike | None) -> str | None:
    """Return a directory as text. Raises TypeError for what is neither text nor a path."""
    return None if path is None else _as_word(path)


def _as_word(word: PathLike) -> str:
    text = os.fspath(word)
    if not isinstance(text, str):
        raise TypeError(f"a word of a command, or a directory, is text or a path: {word!r}")
    return text


def check_encoding(encoding: str | None) -> str | None:
    """Return `encoding` if text can be decoded with it. Raises LookupError."""
    if encoding is not None:
        b" ".decode(encoding, "replace")
    return encoding


def check_timeout(timeout: float | None) -> float | None:
    """Return a timeout that can be. Raises ValueError and TypeError."""
    if timeout is not None and not 0 < timeout < SECONDS_LIMIT:
        raise ValueError(f"a timeout is a positive number below {SECONDS_LIMIT:g}: {timeout}")
    return timeout


def check_max_output(count: int | None) -> None:
    """Raise TypeError or ValueError for what is no number of bytes."""
    if count is not None and type(count) is not int:
        raise TypeError(f"max_output is a number of bytes, not {type(count).__name__}")
    if count is not None and count < 0:
        raise ValueError(f"max_output is a number of bytes, not below 0: {count}")


async def start_process(
    live: LiveSession, request: ProcessRequest, encoding: str | None
) -> Process[Any]:
    """Open the channel and wait for the process to start.

    Raises ChannelRefused and what cuts the session short. Cancelling ends what was started.
    """
    channel = await ask(live, "process", request)
    stdout, stderr = channel.stream(STDOUT), channel.stream(STDERR)
    if encoding is None:
        return Process(channel, request, stdout, stderr)
    return Process(channel, request, TextReader(stdout, encoding), TextReader(stderr, encoding))


async def _feed(stdin: ProcessInput, blocks: AsyncIterator[Buffer]) -> None:
    """Write all blocks, as far as the process reads. Raises what the blocks raise."""
    async for block in blocks:
        try:
            await stdin.write(block)
        except BrokenPipeError:
            break  # it need not read it all; its ending tells
    await stdin.close()


async def run_process(
    live: LiveSession,
    command: Command,
    *,
    input: Input | None,
    encoding: str = "utf-8",
    limits: Bounds,
    max_output: int | None = None,
    timeout: float | None = None,
    **options: Any,
) -> CompletedProcess[bytes]:
    """Run a command and collect its output. Cancelling ends the remote process group.

    `options` are fields of the request; `encoding` is for an `input` of text.
    Raises ProcessTimeout, OutputTruncated past `max_output` bytes, ChannelRefused, what cuts the
    session or channel short, and what reading the `input` raises, which ends the command, too.
    """
    check_max_output(max_output)
    blocks = None if input is None else blocks_of(input, encoding)
    request = make_request(command, stdin=input is not None, timeout=timeout, **options)
    process: Process[ByteReader] = await start_process(live, request, None)
    async with process:
        outputs = process.stdout, process.stderr

        def is_passed() -> bool:
            received = sum(reader.received for reader in outputs)
            return max_output is not None and received > max_output

        def arrived(_: int) -> None:
            if is_passed():
                process.end("the output passed what the caller allows")

        for reader in outputs:
            reader.collect(arrived)
        backstop = None if timeout is None else timeout + limits.kill_grace + _TIMEOUT_MARGIN
        try:
            async with aio.timeout(backstop) as deadline:
                if blocks is not None and process.stdin is not None:
                    # An input need not end when the command does.
                    feeding = _feed(process.stdin, blocks)
                    await aio.first_of(process.wait_ending(), feeding)
                ending = await process.wait_ending()
        except ChannelReset:
            if not is_passed():
                raise
            ending = None
        except TimeoutError:
            if not deadline.expired():
                raise  # the input's own
            ending = None
        stdout, stderr = process.stdout.take(), process.stderr.take()
    # Asked of one that has ended as well: it may have done so in the same breath.
    if max_output is not None and is_passed():
        raise OutputTruncated(
            f"the output passed {max_output} bytes and the command was ended",
            max_output=max_output,
            stdout=stdout,
            stderr=stderr,
        )
    if timeout is not None and (ending is None or ending.timed_out):
        raise passed_timeout(timeout, command, stdout, stderr)
    assert ending is not None
    return CompletedProcess(
        command=command,
        status=ending.status,
        stdout=stdout,
        stderr=stderr,
        duration=ending.duration,
        held_open=ending.held_open,
    )
