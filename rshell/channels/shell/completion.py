"""Candidates for the word at the cursor, from the shell and from the file system.

Strategy: the shell says what only it knows (commands, variables, what is registered for a
command); names of files are read here, which copes with blanks and quotes. Both become texts
that replace the word, written as the shell reads them.

Hazard: a directory may hold a million names, or be on a dead network. Whoever calls what "may
block" does it in a thread (lookups.py); what is not there by the deadline is not shown.
"""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from rshell.channels.shell.messages import Completions
from rshell.channels.shell.words import CursorWord, quote_candidate

MOST = 500  # candidates shown


def from_shell(number: int, word: CursorWord, options: set[str], found: list[str]) -> Completions:
    """Return the candidates that the shell named."""
    candidates = sorted({item for item in found if item})[:MOST]
    closing = "" if "nospace" in options or "users" in options else " "
    texts = []
    for item in candidates:
        bare = item.rstrip(" ")
        if item.startswith(("$", "~")) and not options.isdisjoint({"users", "nospace"}):
            written = item  # its first character must stay bare
        else:
            written = quote_candidate(bare, word.quote, has_home=word.has_home)
        ends = item.endswith(("/", "=")) or closing == ""
        texts.append(written if ends else written + word.quote + closing)
    typed = word.words[-1]
    is_for_rest = not any(item.startswith(typed) for item in candidates)
    start = word.rest_start if is_for_rest else word.start
    return Completions(number, start, tuple(texts), tuple(candidates))


def from_files(
    number: int, word: CursorWord, cwd: str, home: str, *, programs: bool = False
) -> Completions:
    """Return the names of files that begin as the word does. May block.

    With `programs`, only directories and what can be executed.
    """
    found = _files(number, word, word.words[-1], word.start, cwd, home, programs=programs)
    if not found.texts and word.rest_start > word.start:
        found = _files(number, word, word.rest, word.rest_start, cwd, home, programs=programs)
    return found


def _files(
    number: int, word: CursorWord, typed: str, start: int, cwd: str, home: str, *, programs: bool
) -> Completions:
    has_home = word.has_home and start == word.start
    directory, slash, beginning = typed.rpartition("/")
    directory += slash
    place = Path(cwd) / (_expand(directory, home) if has_home else directory)
    names: list[tuple[str, bool]] = []
    try:
        with os.scandir(place) as entries:
            for entry in entries:
                if not entry.name.startswith(beginning):
                    continue
                if entry.name.startswith(".") and not beginning.startswith("."):
                    continue
                is_directory = _is_directory(entry)
                if programs and not is_directory and not os.access(entry.path, os.X_OK):
                    continue
                names.append((entry.name, is_directory))
    except OSError:
        return Completions(number, start, (), ())
    texts, labels = [], []
    for name, is_directory in sorted(names)[:MOST]:
        # Without a slash, a `~` is a user's, and no file's.
        written = quote_candidate(directory + name, word.quote, has_home=has_home and bool(slash))
        texts.append(written + "/" if is_directory else written + word.quote + " ")
        labels.append(name + "/" if is_directory else name)
    return Completions(number, start, tuple(texts), tuple(labels))


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # a link that can't be followed


def from_path(number: int, word: CursorWord, search: str) -> Completions:
    """Return the programs of a PATH that begin as the word does. May block."""
    found: set[str] = set()
    for directory in search.split(":"):
        try:
            with os.scandir(directory or ".") as entries:
                found |= {
                    entry.name
                    for entry in entries
                    if entry.name.startswith(word.words[-1]) and os.access(entry.path, os.X_OK)
                }
        except OSError:
            continue
    return from_shell(number, word, set(), sorted(found))


def _expand(directory: str, home: str) -> str:
    """Return a directory as typed with its `~` or `~user` resolved."""
    if not directory.startswith("~"):
        return directory
    name, slash, rest = directory[1:].partition("/")
    if not name:
        return home + slash + rest
    try:
        return pwd.getpwnam(name).pw_dir + slash + rest
    except KeyError:
        return directory
