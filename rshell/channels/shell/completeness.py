"""Whether a text is whole: as far as it says itself, and as its shell says (`sh -n`).

The shell is the judge of its own language, and never runs what it judges. It costs a process:
texts that can't be incomplete are not asked about, and a judge that takes too long is not heard.
Not every shell tells of a heredoc without its end, of a last backslash, or of an operator with
nothing behind it. These are looked for here, where they are no part of a quote or comment. A quote
that is open at the end is left to the shell, which tells of it.

Hazard: a wrong "more follows" locks the user into the text. In doubt it is whole, and the shell
says what it thinks of it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rshell.aio import timeout
from rshell.channels.shell import scanner
from rshell.channels.shell.scanner import scan
from rshell.errors import SpawnError

if TYPE_CHECKING:  # a client, whose prompt looks at texts, starts no commands
    from rshell.channels.base import Context

_DEADLINE = 3.0  # seconds; a text that is not judged by then is run as it is
_ENOUGH = 16384  # bytes of complaints

# What stands for pieces that are not looked into.
_BARE = {
    scanner.QUOTE: "_",
    scanner.ESCAPE: "_",
    scanner.ARITHMETIC: "_",
    scanner.HEREDOC: "_",
    scanner.VARIABLE: "$",
    scanner.COMMENT: "",
    scanner.BODY: "",
    scanner.HERESTRING: "",
}
_FOR = re.compile(r"(?:^|[;&|(]|\b(?:do|then|else)\b)\s*for\s+\w+(?:\s+in\b[^;&|()]*)?$")
_OPERATOR = re.compile(r"(?:&&|(?<!>)\|)\s*$")
_WANTS_MORE = re.compile(
    r"unexpected end of file|unexpected EOF|delimited by end-of-file|end of file unexpected"
    r"|Unterminated quoted string|unterminated quoted string|EOF in backquote"
    r"|Missing '\)\)'|unmatched ['\"`]|parse error near `\\n'|here-document"
    # fish shows the line as well, which may say anything.
    r"|(?m:^[^:\n]*: (?:Missing end to balance|Unexpected end of string))"
)

_MAY_BE_INCOMPLETE = re.compile(
    r"['\"`({]|<<|[|&]\s*$"
    r"|\b(?:if|for|while|until|case|select|do|then|begin|function|switch)\b"
)


async def wants_more(context: Context, shell: str, text: str) -> bool:
    """Return whether `text` is the beginning of something longer. Cancelling is safe."""
    if wants_more_text(text):
        return True
    if not may_be_incomplete(text):
        return False
    try:
        async with timeout(_DEADLINE):
            return says_incomplete(await _complaint(context, shell, text))
    except (SpawnError, OSError, TimeoutError):
        return False  # then the shell itself will say what it thinks of it


class _Complaint:
    """The outlet of a judge: what it says, and no more of it than is needed."""

    room = _ENOUGH

    def __init__(self) -> None:
        self.said = bytearray()

    @property
    def is_over(self) -> bool:
        return len(self.said) >= _ENOUGH

    def want_room(self) -> None:
        """There always is some."""

    def write_nowait(self, data: bytes, stream: int = 0) -> None:
        self.said += data


async def _complaint(context: Context, shell: str, text: str) -> str:
    from rshell.execution.piped_process import PipedProcess
    from rshell.execution.spawn import Command

    outlet = _Complaint()
    command = Command((shell, "-n"), "/", {**context.environment, "LC_ALL": "C"})
    piped = await PipedProcess.start(
        context.spawner, command, outlet, context.limits, inputs={0: True}, outputs={2: 2}
    )
    try:
        try:
            await piped.sinks[0].write(text.encode(errors="surrogateescape") + b"\n")
        except BrokenPipeError:
            pass  # it has made up its mind
        piped.sinks[0].close()
        await piped.wait()
    finally:
        piped.close()
        piped.process.close()
    return outlet.said.decode(errors="replace")


def may_be_incomplete(text: str) -> bool:
    """Whether it is worth asking the shell if `text` wants more lines. Cheap and generous."""
    return wants_more_text(text) or bool(_MAY_BE_INCOMPLETE.search(text))


def wants_more_text(text: str) -> bool:
    """Whether the text says by itself that more follows, which not every shell would tell.

    A last backslash or operator, an open heredoc, a `for` whose list may be all that is there.
    """
    bare: list[str] = []  # without what is quoted, comments, arithmetic and heredocs
    for kind, start, end in scan(text):
        if kind == scanner.OPEN:
            return False
        if kind == scanner.WAITING or (kind == scanner.ESCAPE and end - start == 1):
            return True
        bare.append(_BARE.get(kind, text[start:end]))
    shown = "".join(bare)
    return bool(_OPERATOR.search(shown) or _FOR.search(shown.rpartition("\n")[2]))


def says_incomplete(complaint: str) -> bool:
    """Whether what a shell said of a text (`sh -n`) means that it ended too early."""
    return bool(_WANTS_MORE.search(complaint))
