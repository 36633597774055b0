"""What travels in a `process` channel beside DATA (docs/protocol.md, "Kind: process").

Text that is not UTF-8 (paths, arguments) travels as lone surrogates, Python's surrogateescape.
"""

from __future__ import annotations

from collections.abc import Mapping

from rshell.errors import LocalProtocolError
from rshell.protocol import fields
from rshell.protocol.codec import Message
from rshell.values import ExitStatus, TerminalSize

# Stream numbers of the kinds that run commands.
STDIN, STDOUT, STDERR = 0, 1, 2


class Terminal(Message, label="the terminal"):
    """A terminal to be made: its size, and its type for TERM, "" if that is not known."""

    size: TerminalSize = fields.size()
    term: str = fields.text(100, default="", always=True)


class ProcessRequest(Message, label="the request"):
    """What to run, and how.

    `command` goes through the user's shell, `argv` does not; with neither, the user's shell
    itself runs and reads its stdin. `stdin` False gives an empty stdin. `timeout` in seconds.
    """

    command: str | None = fields.text(default=None)
    argv: tuple[str, ...] = fields.texts(default=())
    cwd: str | None = fields.text(default=None)
    env: Mapping[str, str] = fields.text_map(default={})
    clear_env: bool = fields.boolean(default=False)
    stdin: bool = fields.boolean(default=False)
    merge_stderr: bool = fields.boolean(default=False, key="merge")
    terminal: Terminal | None = fields.nested(Terminal, default=None)
    timeout: float | None = fields.timeout(default=None)

    def check(self) -> None:
        """Raise LocalProtocolError for two commands in one."""
        if self.command is not None and self.argv:
            raise LocalProtocolError("the request has both 'command' and 'argv'; one may be given")


class ProcessReply(Message, label="the reply"):
    """The reply of OPENED: the process's number, 0 when it could not be started."""

    pid: int = fields.integer(default=0)


class Signal(Message, type="signal"):
    """From the client: send a signal, such as "SIGINT", to the process group."""

    name: str = fields.text(32)


class Resize(Message, type="resize"):
    """From the client: the terminal's new size."""

    size: TerminalSize = fields.size()


class StdinClosed(Message, type="stdin-closed"):
    """From the server: the command no longer reads; further input is thrown away."""


class Notice(Message, type="notice"):
    """From the server: a sentence for the user. It is any text."""

    text: str = fields.text()


class ProcessEnding(Message, type="exit"):
    """How a command ended. `stdout` and `stderr` count the bytes that were sent.

    `timed_out` says that its timeout ended it; `held_open` that a background child still holds
    its output; `duration` is seconds on the server's clock.
    """

    status: ExitStatus = fields.status()
    stdout: int = fields.integer()
    stderr: int = fields.integer()
    duration: float = fields.duration()
    timed_out: bool = fields.boolean(default=False)
    held_open: bool = fields.boolean(default=False)
