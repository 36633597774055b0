"""What a person is asked before files go either way, and what of their keys is an answer. Pure.

Names and paths come from the other side, or from one's own disk, where anybody may have put them.
Each is shown so that it can't act, and quoted where it could be read as more than a name.

Of one's own files, everything that would be sent is in the question: what does not fit on the
screen is not asked for at all. Of those that come, names that replace something and hidden ones are
first, and the rest is counted where there are many.

Hazard: a question may come while somebody types. Keys are an answer only once it has been quiet for
a moment, and with Enter; what was typed before is kept for the command. So is what a terminal
answers to a program, and what is pasted.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable

from rshell.channels.shell.errands.client import ErrandItem, ErrandPlan
from rshell.cli.cp_progress import count_files, format_size
from rshell.terminal.output import printable
from rshell.values import TerminalSize

_PLAIN = re.compile(r"[\w./~+@%=-]+\Z")
_NAMES = 10  # that are shown of those that come
_NAME = 80  # characters of one of them
_LINES_LEFT = 4  # of the screen, beside a question
_LONGEST_ANSWER = 8
YES, NO, NEVER, INTERRUPTED = "yes", "no", "never", "interrupted"
_ANSWERS = {"y": YES, "yes": YES, "never": NEVER}


def question(plan: ErrandPlan, where: str, size: TerminalSize, *, again: bool) -> str | None:
    """Return what is to be asked, None where it does not fit on a screen of this size.

    `where` names the machine; `again` says that the answer was no before.
    """
    wanted = _get(plan) if plan.verb == "get" else _put(plan)
    choices = "[y/N, or never in this session]" if again else "[y/N]"
    text = f"{printable(where, limit=_NAME)} {wanted} {choices} "
    fits = len(text) <= size.columns * max(size.rows - _LINES_LEFT, 1)
    return text if fits or plan.verb == "get" else None


def _get(plan: ErrandPlan) -> str:
    is_one = len(plan.items) == 1 and not plan.items[0].is_directory
    amount = _amount(plan)
    first = sorted(plan.items, key=lambda item: (not item.replaces, not item.name.startswith(".")))
    names = [shown(item.name, limit=_NAME) + "/" * item.is_directory for item in first[:_NAMES]]
    if len(first) > _NAMES:
        names.append(f"and {len(first) - _NAMES} more")
    there = [item for item in plan.items if item.replaces]
    replaced = ""
    if there:
        some = [shown(item.name, limit=_NAME) + "/" * item.is_directory for item in there[:_NAMES]]
        if len(there) > _NAMES:
            some.append(f"and {len(there) - _NAMES} more")
        replaced = f" It replaces {', '.join(some)}."
    what = f"{names[0]} ({amount})" if is_one else amount
    rest = "" if is_one else f": {', '.join(names)}"
    return f"sends {what} to {shown(plan.target)}{rest}.{replaced} Write {_it(plan)}?"


def _put(plan: ErrandPlan) -> str:
    amount = _amount(plan)
    if len(plan.items) == 1 and not plan.items[0].is_directory:
        wanted = f"{_with_name(plan.items[0], plan.items[0].path)} ({amount})"
    else:
        wanted = f"{amount}: {'; '.join(_by_directory(plan.items))}"
    return f"asks for {wanted}. Send {_it(plan)}?"


def _by_directory(items: Iterable[ErrandItem]) -> Iterable[str]:
    """Yield the files of one directory after the other, each with all its names."""
    groups: dict[str, list[str]] = {}
    for item in items:
        before, _, name = item.path.rpartition("/")
        groups.setdefault(before, []).append(_with_name(item, name) + "/" * item.is_directory)
    for before, names in groups.items():
        if len(names) == 1:
            yield f"{shown(before) if before else ''}/{names[0]}"
        else:
            yield f"in {shown(before)}/: {', '.join(names)}"


def _with_name(item: ErrandItem, path: str) -> str:
    """Return a path, and the name that it goes by if that is another one."""
    is_other = item.path.rpartition("/")[2] != item.name
    return shown(path) + (f" (as {shown(item.name)})" if is_other else "")


def _amount(plan: ErrandPlan) -> str:
    size = format_size(plan.bytes)
    if len(plan.items) == 1 and not plan.items[0].is_directory:
        return size
    more = "more than " if plan.more else ""
    return f"{more}{count_files(plan.count)} ({size})"


def _it(plan: ErrandPlan) -> str:
    return "it" if len(plan.items) == 1 else "them"


def shown(text: str, *, limit: int = 10_000) -> str:
    """Return a name or path as it is safe to show, in quotes where it is not plain."""
    safe = printable(text, limit=limit)
    if _PLAIN.match(safe) and safe == text:
        return safe
    return "'" + safe.replace("'", "'\\''") + "'"


class AnswerKeys:
    """Makes an answer of keys. `kept` are those that are for the command; `pause` is in seconds."""

    _LONGEST = _LONGEST_ANSWER

    def __init__(self, pause: float, now: float) -> None:
        self.kept = bytearray()
        self._pause = pause
        self._opens = now + pause
        self._typed = ""

    def feed(self, keys: bytes, now: float) -> tuple[str, str]:
        """Return (the answer or "", what is to be shown of the keys)."""
        if not keys:
            return "", ""
        if b"\x03" in keys:
            self.kept += keys  # for the command, too: a loop that asks on and on is left by it
            return INTERRUPTED, ""
        if now < self._opens and not self._typed:
            self._opens = now + self._pause
            self.kept += keys
            return "", ""
        if b"\x1b" in keys or len(keys) > self._LONGEST:
            self.kept += keys
            return "", ""
        echo, text = "", keys.decode(errors="surrogateescape")
        for at, key in enumerate(text):
            if key in "\r\n\x04":
                self.kept += text[at + 1 :].encode(errors="surrogateescape")
                return self._answer(self._typed), echo
            if key in "\b\x7f\x15":
                erased = len(self._typed) if key == "\x15" else min(1, len(self._typed))
                self._typed = self._typed[: len(self._typed) - erased]
                echo += "\b \b" * erased
            elif key.isprintable() and len(self._typed) < self._LONGEST:
                self._typed += key
                echo += key
        return "", echo

    def _answer(self, typed: str) -> str:
        return _ANSWERS.get(typed.strip().lower(), NO)


class NameKeys(AnswerKeys):
    """Makes names of files of keys; the answer is YES where any is in `names`."""

    _LONGEST = 1000

    @property
    def names(self) -> tuple[str, ...]:
        """The names that were typed, quoted as in shells; a quote without its end is a letter."""
        try:
            return tuple(filter(None, shlex.split(self._typed)))
        except ValueError:
            return tuple(self._typed.split())

    def _answer(self, typed: str) -> str:
        return YES if self.names else NO
