"""Odd lines at the prompt of a real server's shell, and in the same shell on a terminal of its own.

`python -m tests.support.side_by_side [bash|zsh|fish [GROUP...]]` types each line of `odd_commands`
in both and prints what differs: what was printed, the status, the prompt, and the state of the
shell after it (variables, options, traps, jobs, descriptors, the terminal's modes, and so on).
Differences that are meant (docs/commands.md, "What differs from a terminal of one's own") are
counted; any other makes it exit with 1.

Both shells have homes and environments that are alike. Numbers of processes and times are taken
out. A line may end a shell, and then its group ends at both sides.
"""

from __future__ import annotations

import asyncio
import difflib
import math
import os
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import rshell
from rshell.aio import timeout
from rshell.channels.shell.client import ShellLine
from rshell.channels.shell.messages import ShellEnding
from rshell.client.client import Client
from rshell.errors import RshellError
from rshell.values import Bounds, TerminalSize
from tests.support.odd_commands import ODD, Group, why
from tests.support.plain_terminal import LONGEST, QUIET, SIZE, PlainShell, Ran

Run = Callable[[str, Sequence[str]], Awaitable[Ran]]

TERM = "xterm-256color"
_AT_ONCE = 3  # groups
_LOOK = {
    "bash": '. "$ODD/probe" "$?" "$_" "${PIPESTATUS[*]}"',
    "zsh": '. "$ODD/probe" "$?" "$_" "$pipestatus"',
    "fish": 'source $ODD/probe $status "$pipestatus"',
}
_RC = {
    "bash": (".bash_profile", "PS1='{$? \\j \\! \\# \\w}$ '\n"),
    "zsh": (".zshrc", "PS1='{%? %j %! %~}$ '\nunsetopt prompt_sp\nHISTSIZE=100\n"),
    "fish": (
        ".config/fish/config.fish",
        "function fish_prompt; printf '{%s %s}$ ' $status (string replace $HOME '~' $PWD); end\n"
        "set -g fish_greeting\nset -g fish_features no-keyboard-protocols\n"
        "function fish_title; end\n",
    ),
}
_LOOK_BASH = r"""
{
builtin echo "== status"; builtin echo "$1"; builtin echo "== pipe"; builtin echo "$3"
builtin echo "== last argument"; builtin echo "$2"
builtin echo "== variables"; builtin declare -p
builtin echo "== functions"; builtin declare -F
builtin echo "== options"; builtin set -o; builtin shopt -p; builtin echo "$-"
builtin echo "== traps"; builtin trap -p
builtin echo "== jobs"; builtin jobs
builtin echo "== directory"; builtin pwd; builtin umask; builtin dirs
builtin echo "== aliases"; builtin alias
builtin echo "== history"; builtin history 2
builtin echo "== limits"; builtin ulimit -a
builtin echo "== builtins"; builtin enable -n
builtin echo "== keys"; builtin bind -s; builtin bind -X; builtin bind -v
builtin echo "== completions"; builtin complete -p
builtin echo "== descriptors"; /bin/ls /proc/$$/fd
builtin echo "== environment"; /usr/bin/env
builtin echo "== terminal"; /usr/bin/stty -a </dev/tty
} >|"$ODD/state" 2>&1
builtin return "$1"
"""
_LOOK_ZSH = r"""
{
builtin echo "== status"; builtin echo "$1"; builtin echo "== pipe"; builtin echo "$3"
builtin echo "== last argument"; builtin echo "$2"
builtin echo "== variables"; builtin typeset -p
builtin echo "== functions"; builtin print -l ${(ok)functions} | /bin/cat
builtin echo "== options"; builtin setopt; builtin echo "$-"
builtin echo "== traps"; builtin trap
builtin echo "== jobs"; builtin jobs
builtin echo "== directory"; builtin pwd; builtin umask; builtin dirs
builtin echo "== aliases"; builtin alias -L
builtin echo "== history"; builtin fc -ln -2
builtin echo "== limits"; builtin ulimit -a
builtin echo "== builtins"; builtin print -l ${(ok)dis_builtins}
builtin echo "== keys"; builtin bindkey -L
builtin echo "== descriptors"; builtin print -l /proc/$$/fd/*
builtin echo "== environment"; /usr/bin/env
builtin echo "== terminal"; /usr/bin/stty -a </dev/tty
} >|"$ODD/state" 2>&1
builtin return "$1"
"""
_LOOK_FISH = r"""
begin
printf '%s\n' "== status" "$argv[1]" "== pipe" "$argv[2]" "== variables"; set -L
printf '== %s\n' functions; functions -an | string split ', '
printf '== %s\n' jobs; jobs
printf '== %s\n' directory; pwd; umask; dirs
printf '== %s\n' limits; ulimit -a
printf '== %s\n' keys; bind --user
printf '== %s\n' environment; /usr/bin/env
printf '== %s\n' terminal; /usr/bin/stty -a </dev/tty
end >$ODD/state 2>&1
return $argv[1]
"""
_LOOKS = {"bash": _LOOK_BASH, "zsh": _LOOK_ZSH, "fish": _LOOK_FISH}
# Told by no two runs alike.
_CHANGING = (
    r"BASHPID|BASH_SUBSHELL|BASH_COMMAND|BASH_LINENO|EPOCH\w*|LINENO|PPID|RANDOM|SECONDS|SRANDOM|TTY"
    r"|_|argv|HISTCMD|CMD_DURATION|__fish\w*|fish_pid|last_pid|TTYIDLE|sysparams|funcsourcetrace"
    r"|status_generation|history|COLUMNS|LINES"
)
_DECLARED = r"(?:declare|typeset|export)(?: -g)? (?:-\S+ )*"
_DROPPED = re.compile(rf"{_DECLARED}(?:{_CHANGING})(?:=.*)?|(?:{_CHANGING})[ =].*|__fish\w*")
_COMMANDS = re.compile(r"(?::|\s+)'?[^\s:'\"()]*/errands-[^\s:'\"()]*'?")  # at the end of PATH
_OURS = re.compile(
    r".*\b(__rs_|RSHELL_CLIENT\b)|declare \S+ PROMPT_COMMAND\b|.*\\e\[777[1-9]~|.*\^\[\[777[1-9]~"
)
# A probe has the line editor draw again what it has drawn.
_REDRAWN = re.compile(r"([^\r\n]{1,200})(?:\r\x1b\[K\r\1)+")


@dataclass
class Side:
    """What happened at one side."""

    ran: list[Ran] = field(default_factory=list)
    states: list[str] = field(default_factory=list)


class World:
    """One side's home for one group. The two are called alike but for a letter."""

    def __init__(self, name: str, home: Path) -> None:
        self.name = name
        self.home = home
        self.odd = home.with_name(home.name + ".odd")
        self.env = {"HOME": str(home), "ODD": str(self.odd)}
        self.odd.mkdir()
        (self.odd / "probe").write_text(_LOOKS[name])
        (home / "deep/er").mkdir(parents=True)
        for file, text in (
            ("a b", "a and b\n"),
            ("c.txt", "c\n"),
            ("日本", "Japan\n"),
            (".hidden", ""),
        ):
            (home / file).write_text(text)
        file, text = _RC[name]
        (home / file).parent.mkdir(parents=True, exist_ok=True)
        (home / file).write_text(text + "cd\n")

    def state(self) -> str:
        """Return what the last look at the state found, and forget it."""
        try:
            text = (self.odd / "state").read_text(errors="surrogateescape")
            (self.odd / "state").unlink()
        except OSError:
            return "== nothing\n"
        return text


async def at_prompt(client: Client, world: World, group: Group) -> Side:
    """Run a group as the prompt does, in a shell of a real server."""
    side = Side()
    async with client.open_line(TerminalSize(*SIZE), term=TERM, env=world.env) as line:
        typist = _Typist(line)
        reading = asyncio.create_task(typist.read())
        try:
            side.ran.append(await typist.follow())
            await _run_all(group, world, side, typist.run)
        finally:
            reading.cancel()
    return side


async def on_terminal(world: World, group: Group, base: Mapping[str, str]) -> Side:
    """Run a group in the shell on a terminal of its own."""
    side = Side()
    env = {**base, **world.env, "TERM": TERM}
    async with PlainShell((base["SHELL"], "-l"), env, str(world.home.parent), world.name) as plain:
        side.ran.append(await plain.start())
        await _run_all(group, world, side, plain.run)
    return side


async def _run_all(group: Group, world: World, side: Side, run: Run) -> None:
    look = _LOOK[world.name]
    typed = group.typed()
    for at, (text, keys) in enumerate(typed):
        ran = await run(text, keys)
        side.ran.append(ran)
        if ran.ended is not None or ran.is_stuck:
            return
        state = ""
        if group.each or at == len(typed) - 1:
            looked = await run(look, ())
            state = (
                world.state() + "== printed by looking\n" + looked.output.decode(errors="replace")
            )
            if looked.ended is not None or looked.is_stuck:
                side.states.append(state + f"\n== ended by looking\n{looked.ended}")
                return
        side.states.append(state)


class _Typist:
    """Runs lines by a `ShellLine`, and types keys meanwhile."""

    def __init__(self, line: ShellLine) -> None:
        self._line = line
        self._data = bytearray()
        self._read = 0  # bytes, of the output since the last ending
        self._news = asyncio.Event()

    async def read(self) -> None:
        """Take the output as it comes."""
        async for block in self._line.channel.stream(1):
            self._data += block
            self._read += len(block)
            self._news.set()

    async def follow(self) -> Ran:
        """Wait for the end of the startup files."""
        return await self._finish(self._line.follow())

    async def run(self, text: str, keys: Sequence[str]) -> Ran:
        """Run a line."""
        self._data.clear()
        typing = asyncio.create_task(self._type(keys))
        try:
            return await self._finish(self._line.run(text))
        finally:
            typing.cancel()

    async def _type(self, keys: Sequence[str]) -> None:
        for text in keys:
            while True:
                self._news.clear()
                try:
                    async with timeout(QUIET):
                        await self._news.wait()
                except TimeoutError:
                    break
            self._line.write_nowait(text.encode())

    async def _finish(self, ending: Coroutine[Any, Any, ShellEnding]) -> Ran:
        try:
            async with timeout(LONGEST):
                done = await ending
        except TimeoutError:
            return Ran(bytes(self._data), is_stuck=True)
        except RshellError as error:
            return Ran(bytes(self._data) + str(error).encode(), ended=-1)
        while self._read < done.stdout:
            self._news.clear()
            await self._news.wait()
        self._read -= done.stdout
        output = bytes(self._data)
        if done.left or done.restarted:
            return Ran(output, None, done.status.shell_status)
        shown = self._line.prompt.text if self._line.prompt else ""
        found = re.fullmatch(r"\{([^{}\n]*)\}\$ ", shown.replace("\1", "").replace("\2", ""))
        return Ran(output, found[1] if found else None)


def _plain(text: str) -> list[str]:
    """Return the lines of a state or an output without what no two runs have alike."""
    text = re.sub(r"/(\d\d\d)-theirs", r"/\1-prompt", text)
    text = "\n".join(line for line in text.split("\n") if not _OURS.match(line))
    text = _COMMANDS.sub("", text)
    text = re.sub(r"/proc/\d+/", "/proc/PID/", text)
    text = re.sub(r"(\[\d+\][-+]? *)\d+", r"\1PID", text)
    text = re.sub(r"\b\d+m\d+\.\d+s|\b\d+[.,]\d+( total|s user|s system)?", "TIME", text)
    text = re.sub(r"(?<!\w)\d{4,7}\b", "NUMBER", text)
    return [line for line in text.replace("\r\n", "\n").split("\n") if not _DROPPED.fullmatch(line)]


def compare(group: Group, ours: Side, theirs: Side) -> list[str]:
    """Return what differs, as "GROUP: LINE: WHAT: HOW"; + is the prompt's, - the terminal's."""
    found = []

    def note(at: int, what: str, one: Sequence[str], other: Sequence[str]) -> None:
        text = group.typed()[at][0] if at >= 0 else "the start"
        for line in difflib.unified_diff(other, one, n=0, lineterm=""):
            if not line.startswith(("---", "+++", "@@")):
                found.append(f"{group.name}: {text[:60]!r}: {what}: {line[:300]}")

    for at, (one, other) in enumerate(zip(ours.ran, theirs.ran), -1):
        note(at, "printed", *(_shown(ran) for ran in (one, other)))
        is_told = one.prompt is not None and other.prompt is not None
        for what in ("prompt",) * is_told + ("ended", "is_stuck"):
            note(at, what, *(_plain(str(getattr(ran, what))) for ran in (one, other)))
    if len(ours.ran) != len(theirs.ran):
        found.append(f"{group.name}: {len(ours.ran) - 1} lines ran, not {len(theirs.ran) - 1}")
    for at, (state, their_state) in enumerate(zip(ours.states, theirs.states)):
        sections, others = _sections(state), _sections(their_state)
        for name in {**sections, **others}:
            if name in sections and name in others:
                note(at, name, sections[name], others[name])
            else:
                note(at, name, [str(name in sections)], [str(name in others)])
    return found


def _shown(ran: Ran) -> list[str]:
    text = ran.output.decode(errors="backslashreplace")
    while (once := _REDRAWN.sub(r"\1", text)) != text:
        text = once
    text = text.replace("\r\x1b[K\r", "")
    text = re.sub(r"\x1b\[\?2004h(?=\x1b\[\?2004l|\Z)", "", text)
    return [repr(line)[1:-1] for line in _plain(text)]


def _sections(state: str) -> Mapping[str, list[str]]:
    parts: dict[str, list[str]] = {}
    name = ""
    for line in _plain(state):
        if line.startswith("== "):
            name = line[3:]
        else:
            parts.setdefault(name, []).append(line)
    if "last argument" in parts:  # it may be the number of a process
        parts["last argument"] = [re.sub(r"^\d{3,}$", "PID", x) for x in parts["last argument"]]
    for name in ("environment", "variables", "functions", ""):
        parts.get(name, []).sort()
    return parts


async def side_by_side(name: str, groups: Sequence[Group]) -> AsyncIterator[list[str]]:
    """Run the groups at both sides; yield what differs in each.

    Changes this process's environment meanwhile.
    """
    before = dict(os.environ)
    with tempfile.TemporaryDirectory() as directory:
        base = {
            "HOME": directory,
            "SHELL": shutil.which(name) or name,
            "PATH": "/usr/bin:/bin",
            "USER": "somebody",
            "LOGNAME": "somebody",
            "LANG": "C.UTF-8",
            "XDG_STATE_HOME": directory,
            "XDG_RUNTIME_DIR": directory,
        }
        os.environ.clear()
        os.environ.update(base)
        try:
            async with (
                rshell.serve("127.0.0.1", 0, cwd=directory) as server,
                rshell.connect(
                    server.addresses[0], limits=Bounds(witness_after=math.inf)
                ) as client,
            ):
                turns = asyncio.Semaphore(_AT_ONCE)

                async def compared(at: int, group: Group) -> list[str]:
                    async with turns:
                        home = Path(directory, f"{at:03}-prompt")
                        other = World(name, home.with_name(f"{at:03}-theirs"))
                        ours, theirs = await asyncio.gather(
                            at_prompt(client, World(name, home), group),
                            on_terminal(other, group, base),
                        )
                        return compare(group, ours, theirs)

                tasks = [asyncio.create_task(compared(*each)) for each in enumerate(groups)]
                try:
                    for task in tasks:
                        yield await task
                finally:
                    for task in tasks:
                        task.cancel()
                    await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            os.environ.clear()
            os.environ.update(before)


async def main(arguments: Sequence[str]) -> int:
    """Compare, print what differs, return the exit status."""
    unknown = 0
    for name in arguments[:1] or [name for name in ODD if shutil.which(name)]:
        groups = [group for group in ODD[name] if group.name in arguments[1:] or not arguments[1:]]
        reasons: Counter[str] = Counter()
        async for found in side_by_side(name, groups):
            for line in found:
                reason = why(name, line)
                reasons[reason] += 1
                if not reason:
                    print(line, flush=True)
        lines = sum(len(group.lines) for group in groups)
        unknown += reasons[""]
        print(f"{name}: {lines} lines in {len(groups)} groups; {reasons.pop('', 0)} differences")
        for reason, count in reasons.items():
            print(f"{name}: {count} more: {reason}")
    return 1 if unknown else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
