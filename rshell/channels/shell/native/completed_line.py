"""Candidates for the word at the cursor, from a line that bash's line editor has completed.

The editor puts every candidate into the line, in the place of the word, each as it would write it
and a blank behind it: so programmable completion, quoting and the breaks between words are bash's
own. What the editor does only to a single candidate (a blank behind it, a slash behind a
directory) is done here, by the options that the hooks report.

Hazard: only names of files are quoted. Of others, one that holds a blank can't be told from two,
but where all begin with what was typed, or where its blank is at its end.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from rshell.channels.shell.completion import CANDIDATES, find_word
from rshell.channels.shell.messages import Completions

CUT = 200_000  # characters of a line; the hooks report no more
_OPTION = re.compile(r"([-+])o\s(\w+)")  # a blank, or a newline by IFS
_ACTIONS = re.compile(r" -(?:[dfG]|A (?:file|directory)) ")
_FALLBACKS = {"default", "bashdefault", "dirnames", "plusdirs"}
_BLANK = re.compile(r"(?:[^\\'\" ]|\\.|'[^']*'?|\"(?:[^\\\"]|\\.)*\"?)+", re.DOTALL)


def from_completed_line(number: int, fields: Sequence[str], cwd: str) -> Completions:
    """Return the candidates; `fields` are what the hooks say of the question. May block.

    They are the text asked about, the line, the characters that break words, the options set
    while it was completed, and how the command's completion was registered.
    """
    text, line, breaks, noted, registered = fields
    word = find_word(text)
    if word.index == 0:
        registered = ""  # that is for the words behind it
    start, quote = _word(text, breaks)
    options = _options(registered + " " + noted)
    tail = line[start:]
    if line == text or not line.startswith(text[:start]) or not tail.endswith(" "):
        if len(line) < CUT:
            return Completions(number, start, (), ())
        tail = tail.rpartition(" ")[0] + " "
    typed = text[start:]
    is_command = not registered and word.index == 0 and "/" not in typed and word.start == start
    quoted = _BLANK.findall(tail)
    are_files = not is_command and (
        "filenames" in options
        or not registered
        or (
            (bool(options & _FALLBACKS) or _ACTIONS.search(registered) is not None)
            and all(os.path.lexists(_path(item, cwd)) for item in quoted[:CANDIDATES])
        )
    )
    items = quoted if are_files or is_command else _split(tail, typed.lstrip("'\""))
    texts, labels = [], []
    for item in items[:CANDIDATES]:
        written, label = item, item.rstrip(" ")
        closing = "" if "nospace" in options or item.endswith("\n") else " "
        if item.startswith("$") and "/" not in item:
            closing = ""  # its value may be a directory
        elif are_files:
            path = _path(item, cwd)
            label = path.name or item
            if not item.endswith("/") and path.is_dir():
                written = item[: -len(quote)] if quote and item.endswith(quote) else item
                written, label, closing = written + "/", label + "/", ""
        elif quote and not item.startswith(quote):
            written = quote + item + (quote if closing else "")
        texts.append(written + closing)
        labels.append(label)
    return Completions(number, start, tuple(texts), tuple(labels))


def _word(text: str, breaks: str) -> tuple[int, str]:
    """Return where the word at the end of `text` begins, and the quote that is open there."""
    start, quote, at = 0, "", 0
    while at < len(text):
        character = text[at]
        if quote:
            if character == quote:
                quote = ""
            elif character == "\\" and quote == '"':
                at += 1
        elif character == "\\":
            at += 1
        elif character in "'\"":
            start, quote = at, character
        elif character in breaks:
            start = at + 1
        at += 1
    return start, quote


def _options(said: str) -> set[str]:
    options: set[str] = set()
    for sign, name in _OPTION.findall(said):
        (options.add if sign == "-" else options.discard)(name)
    return options


def _split(tail: str, typed: str) -> list[str]:
    items: list[str] = []
    for piece in tail[:-1].split(" "):
        is_more = bool(items) and items[0].startswith(typed) and not piece.startswith(typed)
        if items and not items[-1].endswith(" ") and (not piece or is_more):
            items[-1] += " " + piece
        else:
            items.append(piece)
    return [item for item in items if item]


def _path(item: str, cwd: str) -> Path:
    """Return what `item` names without its quotes, from `cwd`."""
    name = Path(find_word("x " + item).words[-1])
    return Path(cwd, name.expanduser() if item.startswith("~") else name)
