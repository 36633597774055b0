"""What travels in `shell` channels beside DATA, and in `sessions` channels (docs/protocol.md).

`Signal`, `Resize` and `Notice` are those of the kind `process`.
"""

from __future__ import annotations

from collections.abc import Mapping

from rshell.channels.process.messages import Terminal
from rshell.errors import LocalProtocolError
from rshell.protocol import fields
from rshell.protocol.codec import Json, Message
from rshell.values import ExitStatus, TerminalSize

_MODES_LIMIT = 1024  # characters; there are few modes
_PROMPT_LIMIT = 2**14  # characters; what is longer is not shown
_EDITING_MODES = ("emacs", "vi", "")
_UNREAD = 2**14  # characters in one message; each may take six bytes
COMMAND_LIMIT = 2**18  # characters in a command or a question
ERRAND_PATHS = 10_000  # in one errand


class ShellRequest(Message, label="the request"):
    """Which shell to start. `stdin` False gives its commands an empty stdin.

    With a `terminal` it is the user's own shell on that, which as a `login` shell reads what one
    reads. With a `name` as well it is the named shell to attach to, made where there is none;
    `share` only watches one that is there. The client takes `errands`.
    Raises LocalProtocolError for a name that no shell can have, or one without a terminal.
    """

    cwd: str | None = fields.text(default=None)
    env: Mapping[str, str] = fields.text_map(default={})
    clear_env: bool = fields.boolean(default=False)
    stdin: bool = fields.boolean(default=False)
    terminal: Terminal | None = fields.nested(Terminal, default=None)
    login: bool = fields.boolean(default=False)
    name: str | None = fields.name(default=None)
    share: bool = fields.boolean(default=False)
    errands: bool = fields.boolean(default=False)

    def check(self) -> None:
        """Raise LocalProtocolError for a name that can't be, and for what needs a name."""
        fields.check_name(self.name, "a named shell's")
        if self.name is not None and self.terminal is None:
            raise LocalProtocolError("a named shell needs a terminal")
        if self.share and self.name is None:
            raise LocalProtocolError("only a named shell can be watched")


class ShellReply(Message, label="the reply"):
    """The reply of OPENED: the shell's program and directory, whom and where commands run as.

    A shell on a terminal may be `starting`: its startup files have the terminal, as a command has,
    until a ShellEnding with the number 0.
    """

    shell: str = fields.text()
    cwd: str = fields.text()
    home: str = fields.text()
    user: str = fields.text()
    host: str = fields.text()
    starting: bool = fields.boolean(default=False)


class RunCommand(Message, type="run"):
    """Run `command` in the shell. `number` grows from 1; `timeout` in seconds."""

    number: int = fields.integer(1)
    command: str = fields.text(COMMAND_LIMIT, without="\0")
    timeout: float | None = fields.timeout(default=None)


class Cancel(Message, type="cancel"):
    """Interrupt the command; a shell that does not yield is ended."""


class ShellPrompt(Message, type="prompt"):
    """The prompt that the shell on a terminal would show now, as it renders it itself.

    `text` and `right` hold its escape sequences, those without a width between `\\1` and `\\2`.
    `mode` is how its line editor is used: "emacs", "vi", or "" where that is not known.
    """

    text: str = fields.text(_PROMPT_LIMIT)
    right: str = fields.text(_PROMPT_LIMIT, default="")
    mode: str = fields.choice(*_EDITING_MODES, default="")

    @classmethod
    def of(cls, text: str, right: str, mode: str) -> ShellPrompt:
        """Return what can be told of what a shell says, which may be anything.

        A text is cut where it is longer than any that is shown.
        """
        known = mode if mode in _EDITING_MODES else ""
        return cls(text[:_PROMPT_LIMIT], right[:_PROMPT_LIMIT], known)


class Unread(Message, type="unread"):
    """What was typed on the terminal while no command ran, given back."""

    text: str = fields.text()


def split_unread(text: str) -> list[str]:
    """Cut what is given back into pieces that fit into a frame, whatever they hold."""
    return [text[at : at + _UNREAD] for at in range(0, len(text), _UNREAD)]


class ShellEnding(Message, type="done"):
    """How the command `number` ended, and where the shell is now.

    `stdout` and `stderr` count the bytes sent since the last ShellEnding. `restarted` says that the
    shell itself ended, with `status`, and a new one has taken its place in `cwd`; `left` that
    it was asked to (`exit`), and the channel closes. `unread` is what was typed on a terminal
    and not read by the command, undecodable bytes as surrogates; `taken` how many bytes of
    input the server had taken by then. What it takes later comes back as `Unread`.
    """

    number: int = fields.integer()
    status: ExitStatus = fields.status()
    cwd: str = fields.text()
    stdout: int = fields.integer()
    stderr: int = fields.integer()
    duration: float = fields.duration()
    timed_out: bool = fields.boolean(default=False)
    restarted: bool = fields.boolean(default=False)
    left: bool = fields.boolean(default=False)
    unread: str = fields.text(default="")
    taken: int = fields.integer(default=0)

    def split(self) -> tuple[ShellEnding, list[Unread]]:
        """Return it with no more of `unread` than fits into a frame, and the rest to follow it."""
        first, *rest = split_unread(self.unread) or [""]
        late = sum(len(text.encode(errors="surrogateescape")) for text in rest)
        done = self.replace(unread=first, taken=max(0, self.taken - late))
        return done, [Unread(text) for text in rest]

    def facts(self) -> Json:
        """Return what the audit log says: all but what was typed, which may be a password."""
        return self.replace(unread="").encode()


class Joined(Message, label="the reply"):
    """What the reply of OPENED says of a named shell, beside the keys of `ShellReply`.

    `attached` says that it was there already. `number` is the largest of a command so far and
    `running` the command that runs now, None when none does. `kept` counts the bytes at the
    beginning of the output that nobody may have seen yet, `dropped` those before them that are
    lost. `modes` are the sequences that give another terminal the modes it should have before
    them. `last` is an ending that nobody may have been told of; it counts no bytes.
    """

    attached: bool = fields.boolean()
    number: int = fields.integer()
    size: TerminalSize = fields.size()
    kept: int = fields.integer()
    dropped: int = fields.integer()
    running: str | None = fields.shown_command(default=None)
    modes: str = fields.ascii_text(_MODES_LIMIT, default="")
    last: ShellEnding | None = fields.nested(ShellEnding, default=None)


class Leave(Message, type="leave"):
    """From an attached client: it closes, and has shown so many bytes of the output."""

    shown: int = fields.integer()


class Moved(Message, type="moved"):
    """To an attached client: another one has taken its place."""


class CommandBegun(Message, type="command"):
    """To watchers: a command begins, in `cwd`; of a long one its beginning."""

    number: int = fields.integer(1)
    command: str = fields.shown_command()
    cwd: str = fields.text()


class Resized(Message, type="resized"):
    """To watchers: the terminal's new size."""

    size: TerminalSize = fields.size()


class Skipped(Message, type="skipped"):
    """To watchers: so many bytes are missing here, for this watcher reads too slowly."""

    bytes: int = fields.integer(1)


class Errand(Message, type="errand"):
    """To a client that takes them: what rshell-get or rshell-put asks for, and a person allows.

    "get": the client is to fetch `files`, and `directories` with all that is in them, which are
    absolute paths here: `count` files of `bytes` in all, as far as they were counted (`more`).
    "put": it is to send `files`, as they were typed, into `cwd` here; directories if `recursive`.
    Without any it is for the person to say which.
    """

    number: int = fields.integer(1)
    verb: str = fields.choice("get", "put")
    cwd: str = fields.text()
    files: tuple[str, ...] = fields.texts(ERRAND_PATHS, default=())
    directories: tuple[str, ...] = fields.texts(ERRAND_PATHS, default=())
    recursive: bool = fields.boolean(default=False)
    count: int = fields.integer(default=0)
    bytes: int = fields.integer(default=0)
    more: bool = fields.boolean(default=False)

    def check(self) -> None:
        """Raise LocalProtocolError for paths that can't be any, or don't fit the verb."""
        paths = (*self.files, *self.directories)
        if not (paths or self.verb == "put") or any(not path or "\0" in path for path in paths):
            raise LocalProtocolError("an errand needs paths, without NUL characters")
        absolute = (self.cwd, *(paths if self.verb == "get" else ()))
        if not all(path.startswith("/") for path in absolute):
            raise LocalProtocolError("the paths of a server in an errand are absolute")


class ErrandOver(Message, type="errand-over"):
    """To the client: nobody waits for the errand any more, which is to be given up."""

    number: int = fields.integer(1)


class ErrandDone(Message, type="errand-done"):
    """From the client: what became of an errand, as the status of the command and its sentence."""

    number: int = fields.integer(1)
    status: int = fields.integer(0, 255)
    reason: str = fields.sentence(default="")


class Question(Message):
    """Asks about `text`. A later `number` makes earlier questions stale."""

    number: int = fields.integer(1)
    text: str = fields.text(COMMAND_LIMIT, without="\0")


class Complete(Question, type="complete"):
    """Asks for candidates at the end of `text`."""


class Check(Question, type="check"):
    """Asks whether `text` wants more lines."""


class Checked(Message, type="checked"):
    """Whether the text of the question `number` wants more lines."""

    number: int = fields.integer(1)
    incomplete: bool = fields.boolean()


class Completions(Message, type="completions"):
    """Candidates: each replaces the line from `start` on. `texts` are written as the shell
    reads them, `labels` as people do; `descriptions` say what each is, where any has one.
    """

    number: int = fields.integer(1)
    start: int = fields.integer(0, 2**20)
    texts: tuple[str, ...] = fields.texts()
    labels: tuple[str, ...] = fields.texts()
    descriptions: tuple[str, ...] = fields.texts(default=())

    def check(self) -> None:
        """Raise LocalProtocolError unless each text has its label, and if any, its description."""
        if len(self.texts) != len(self.labels):
            raise LocalProtocolError("completions need as many labels as texts")
        if self.descriptions and len(self.descriptions) != len(self.texts):
            raise LocalProtocolError("completions need as many descriptions as texts, or none")


class ListNames(Message, type="names"):
    """Asks for every name that may stand as the first word of a command."""

    number: int = fields.integer(1)


class Names(Message, type="names"):
    """All names that the question `number` asked for; none where the shell can't tell them all."""

    number: int = fields.integer(1)
    names: tuple[str, ...] = fields.texts()


# The kind `sessions`: which named shells there are, and ending one.


class NamedShellsRequest(Message, label="the request"):
    """What is asked of a server's named shells: "list", or "end" with a `name`.

    Raises LocalProtocolError for a name that no shell can have.
    """

    verb: str = fields.choice("list", "end")
    name: str | None = fields.name(default=None)

    def check(self) -> None:
        """Raise LocalProtocolError for a name that can't be, and for an end of nothing."""
        fields.check_name(self.name, "a named shell's")
        if self.name is None and self.verb == "end":
            raise LocalProtocolError("'end' needs the 'name' of a shell")


class NamedShellInfo(Message, type="session", label="the named shell"):
    """A named shell as its server knows it.

    `created` is in seconds since 1970 on the server's clock. `attached` says whether a client
    uses it, `watchers` how many more look on. `shell` is its program and `cwd` its directory,
    `size` that of its terminal. `running` is the command that runs, None when none does.
    """

    name: str = fields.name()
    identity: str = fields.text(200)
    created: float = fields.moment()
    attached: bool = fields.boolean()
    watchers: int = fields.integer(0, 2**31)
    shell: str = fields.text()
    cwd: str = fields.text()
    size: TerminalSize = fields.size()
    running: str | None = fields.shown_command(default=None)


class NamedShellsEnd(Message, type="end", label="the end of the list of named shells"):
    """The end of a list of named shells: how many it held."""

    count: int = fields.integer(key="sessions")
