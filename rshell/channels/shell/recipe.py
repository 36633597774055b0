"""How a persistent shell is started and told what to run. Text, and no I/O but a look.

An interactive shell (`-i`) reads its own stdin, a pipe that only we write, line by
line. Each command is one line, an `eval` of the quoted text with the command's own descriptors
put in place by redirections; a second line reports the status and the directory through a pipe of
its own. So nothing is scraped from output, no marker travels in-band, and a syntax error can't
swallow what follows.

An interactive shell is what makes SIGINT right: it gives up the whole command, also in a loop
or a function, and keeps its state, where a script would die or go on with the next step. On a
terminal it also brings job control: a stopped job is the status 148, and `fg` works.

Hazards:
- On pipes the redirections are undone after each `eval`, so `exec >file` lasts for that command
  only. They also keep our descriptors away from the commands: no child inherits them.
- Shells drop input they have buffered when they are interrupted, and may lose the report
  line. It is sent again after a SIGINT; the number in it tells a late one from the next.
- `command eval` keeps dash from leaving at a syntax error; bash and zsh have `builtin` for it. A
  function or an alias of that name would be run in its place: the backslash is for aliases, and
  a function is taken away with each report, or no command would ever be reported again.
- An interactive bash sets the modes of its terminal, its own stderr, after each command that a
  signal has ended (`yes | head`), and complains on the command's stderr where that is none. On
  pipes it is given one that nobody else has, and which it can't write to.
- A command may set PS1 or PROMPT_COMMAND. The line that ran it takes them back before the next
  prompt is due, for on a terminal the shell's prompt would be part of the reply. It says nothing
  of those that are readonly, nor of itself under `set -x`.
- `$_` and PIPESTATUS are gone once `eval` returns. So a last line inside of it keeps them, and the
  next command is given them back: bash by arithmetic in the words of `eval`, for any command would
  set PIPESTATUS anew; zsh by an assignment in front of it, and by what `eval` was last given, the
  rest of a here-document there. A text that could take such a line for its own (`<<`, a last
  `|`) runs without, and so does all that follows where it would be seen (`set -v`, DEBUG traps).
- `set -o vi` has bash turn its input into that of readline in the midst of an `eval`, and die. It
  is refused where the text says it; not in what the text quotes, evaluates or reads.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePath

from rshell.values import frozen

# The shell's descriptors for its commands' stdin, stdout and stderr, and for reports. The low
# ones are left to the user; plain shells have only those of one digit.
STDIN_FD, STDOUT_FD, STDERR_FD, REPORT_FD = 6, 7, 8, 9

_ON_PIPES = (
    f"<&{STDIN_FD} >&{STDOUT_FD} 2>&{STDERR_FD} "
    f"{STDIN_FD}<&- {STDOUT_FD}>&- {STDERR_FD}>&- {REPORT_FD}>&-"
)
_ON_TERMINAL = f"<&{STDIN_FD} {STDIN_FD}<&- {REPORT_FD}>&-"
_RETURN = '__rshell_return() { return "$1"; }'
_REPORT = re.compile(rb"((?:\d{1,3},)*)(\d{1,3}) (\d{1,19}) (\S*) (.*)\Z", re.DOTALL)

_REFUSAL = (
    "echo 'rshell: set -o {0}: a shell on pipes edits no lines; open it on a terminal' >&2; "
    "(exit 2)"
)
# How a text ends that would go on with our line behind it, and where that would be seen.
_GOES_ON = re.compile(r"(?:\\|\||&&|\(\s*\)|\bfunction\s+\S+)\Z|(?:^|[\s;&|()])#")
_EXITS = re.compile(r"\s*\\?(?:exit|logout)(?:\s+\d+)?\s*\Z")
_SHOWS_LINES = re.compile(r"\bset\s+-\w*v|(?:\bset\s+-\w*o|\bshopt\s+-\w+|\bsetopt)\s+verbose\b")
_TRACES = re.compile(r"\bset\s+-\w*x|\bxtrace\b", re.IGNORECASE)

_SETS_EDITING = re.compile(r"\bset\s+(?:[-+]\w+\s+)*-\w*o\s+(vi|emacs)\b")
_MAY_PRECEDE = re.compile(r"(?:[;&|({\n]|\b(?:then|do|else|builtin|command)|^)[ \t]*\\?\Z")
_QUOTED = re.compile(
    r"""\\.|'[^']*'|"(?:\\.|[^"\\])*"|<<-?\s*(["']?)(\w+)\1[^\n]*\n.*?(?:^\t*\2$|\Z)""",
    re.DOTALL | re.MULTILINE,
)


@frozen
class Report:
    """What the shell said after the command `number`: its status, its `$-` and its directory.

    `parts` has the statuses of its pipeline's parts, where the shell knows them.
    """

    number: int
    status: int
    flags: str
    cwd: str
    parts: tuple[int, ...] = ()


@frozen
class ShellRecipe:
    """The way to drive one kind of shell: `argv` starts it, `prepare` is its first line.

    `reset` takes back what a command did to prompts, `place` puts descriptors in place, `call`
    has a builtin run whatever functions and aliases of its name there are, and functions called
    `banned` are taken away with each report.
    `resets_terminal` says that it wants a terminal for its own stderr, and dies of being
    told to edit lines: both are true of bash.
    `keep`, run behind a text, keeps what the next one may ask for; `parts` names the statuses of
    a pipeline, if the shell knows those.
    """

    argv: tuple[str, ...]
    prepare: str
    call: str = "command"
    banned: str = "command"
    place: str = _ON_PIPES
    reset: str = "PS1= PS2="
    resets_terminal: bool = False
    keep: str = "{ __rshell_status=$? __rshell_last=$_; } >/dev/null 2>&1"
    parts: str = ""

    @classmethod
    def choose(cls, shell: str, *, terminal: bool) -> ShellRecipe:
        """Return the recipe for the program `shell`, the plain one for names it doesn't know.

        With a `terminal` it is for a plain shell; the others are not driven like this there.
        """
        name = PurePath(shell).name
        place = _ON_TERMINAL if terminal else _ON_PIPES
        # These shells know `logout` only as login shells, if at all.
        more = "; alias logout=exit" if terminal else ""
        if name == "bash":
            return cls(
                (shell, "--noprofile", "--norc", "--noediting", "-i"),
                "set +H +o history; unset HISTFILE PROMPT_COMMAND",
                call="builtin",
                banned="builtin",
                reset="PS1= PS2= PROMPT_COMMAND=",
                resets_terminal=True,
                keep='{ __rshell_status=$? __rshell_last=$_ __rshell_parts=("${PIPESTATUS[@]}"); }'
                " >/dev/null 2>&1",
                parts="PIPESTATUS",
            )
        if name == "zsh":
            # With its line editor (Z), it would read the terminal instead of its stdin.
            return cls(
                (shell, "-f", "-i", "+Z"),
                "unsetopt banghist prompt_sp prompt_cr; unset HISTFILE; disable suspend",
                call="builtin",
                banned="builtin",
                reset="PS1= PS2= RPS1= precmd_functions= preexec_functions=",
                # A redirection would empty `$_`; what `set -x` says goes to the shell's own stderr.
                keep='__rshell_status=$? __rshell_last=$_ __rshell_parts=("${pipestatus[@]}")',
                parts="pipestatus",
            )
        return cls((shell, "-i"), ":" + more, place=place)

    def start(self) -> bytes:
        """Return the first lines; a report with the number 0 answers them."""
        return f"{self.reset}; {self.prepare}\n".encode() + self.report(0)

    def run(
        self, number: int, command: str, last: int, parts: Sequence[int] = (), *, keeps: bool = True
    ) -> bytes:
        """Return the lines that run `command`, which holds no NUL, and report as `number`.

        `last` is the status of the command before, which this one may ask for as `$?`, and `parts`
        those of its pipeline. Unless it `keeps` it, the next one can't ask for its last argument.
        """
        if self.resets_terminal and (mode := _editing_mode(command)):
            command = _REFUSAL.format(mode)
        is_traced = self.parts == "pipestatus" and _TRACES.search(command) is not None
        keeps = keeps and not is_traced and not _goes_on(command)
        text = quote(command)
        before = ""
        if self.parts == "PIPESTATUS" and len(parts) > 1:
            given = ",".join(f"PIPESTATUS[{at}]={part}" for at, part in enumerate(parts))
            text = f"${{__rshell_status:{given}:0}}{text}"
        elif self.parts == "pipestatus" and len(parts) > 1:
            before = f"pipestatus=({' '.join(map(str, parts))}) "
        if keeps and self.parts == "pipestatus":
            tail = quote(f"\n{self.keep} || : <<\\__rshell_last\n")
            text = f'{text}{tail} "${{__rshell_last-}}"'
        elif keeps:
            text += quote(f"\n{self.keep}")
        forget = "" if keeps else " __rshell_last="
        # In a list, a failure does not end a shell that was told `set -e`.
        line = (
            f'{_RETURN}; __rshell_return {last} "${{__rshell_last-}}" {"||" if last else "&&"} '
            f"{before}\\{self.call} eval {text} {self.place}; "
            f"{{ __rshell_status=${{__rshell_status:-$?}}{forget} {self.reset}; }} 2>/dev/null\n"
        )
        return line.encode(errors="surrogateescape") + self.report(number)

    def report(self, number: int) -> bytes:
        """Return the line that asks for a report.

        An interrupted command never reaches the end of its line; `$?` then has its status.
        """
        parts = forget = ""
        if self.parts:
            parts = f'\\{self.call} printf "%d," ${{__rshell_parts[@]+"${{__rshell_parts[@]}}"}}; '
            forget = "__rshell_parts=() "
        # The empty line ends what a quote without its end left in the parser of bash.
        return (
            f"\n{{ __rshell_status=${{__rshell_status:-$?}}; \\unset -f {self.banned} || PS2=; "
            f"{{ {parts}\\{self.call} printf '%d {number} %s %s\\0' "
            f'"$__rshell_status" "$-" "${{PWD:-$(pwd)}}"; }} >&{REPORT_FD}; '
            f"__rshell_status= {forget}{self.reset}; }} 2>/dev/null\n"
        ).encode()


def quote(text: str) -> str:
    """Quote `text` as one word for every shell; unlike shlex.quote, always."""
    return "'" + text.replace("'", "'\\''") + "'"


def is_exit(text: str) -> bool:
    """Whether `text` asks the shell to leave, and no more."""
    return _EXITS.match(text) is not None


def shows_lines(command: str) -> bool:
    """Whether a line of ours behind a text may be seen from `command` on."""
    is_trap = "DEBUG" in command and "trap" in command
    return is_trap or _SHOWS_LINES.search(command) is not None


def _goes_on(command: str) -> bool:
    """Whether a line behind `command` might become a part of it; in doubt it might."""
    if "<<" in command or command.rfind("${") > command.rfind("}"):
        return True
    return _GOES_ON.search(command.rstrip().rpartition("\n")[2]) is not None


def _editing_mode(command: str) -> str | None:
    """Return the way of editing lines that `command` itself asks its shell for."""
    if _SETS_EDITING.search(command) is None:
        return None
    bare = _QUOTED.sub(lambda found: found[0] if found[0][0] == "\\" else "''", command)
    for found in _SETS_EDITING.finditer(bare):
        if _MAY_PRECEDE.search(bare, max(0, found.start() - 40), found.start()):
            return found[1]
    return None


class ReportReader:
    """Cuts the report pipe's bytes into reports. What is none is skipped: commands
    may write to any descriptor they can find, and a forged report harms only its forger.
    """

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Report]:
        """Return what `data` completes."""
        *whole, self._rest = (self._rest + data).split(b"\0")
        self._rest = self._rest[-(1 << 20) :]
        found: list[Report] = []
        for item in whole:
            if match := _REPORT.search(item):
                flags, cwd = (part.decode(errors="surrogateescape") for part in match.group(4, 5))
                parts = tuple(map(int, match[1].split(b",")[:-1]))
                found.append(Report(int(match[3]), int(match[2]), flags, cwd, parts))
        return found
