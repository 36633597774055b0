"""Candidates for the word at the cursor: from the shell, and from the file system.

`find_word` reads enough of the quoting rules to know the words of the present command and the one
that is being typed, what it means without its quotes, and how to write a candidate in its place.
It is no shell's parser: a line that it misreads gets no candidates or odd ones, and is never run
from here. The shell says what only it knows (commands, variables, what is registered for a
command); names of files are read here, which copes with blanks and quotes.

bash's line editor puts every candidate into the line, in the place of the word, each as it would
write it and a blank behind it: so programmable completion, quoting and the breaks between words are
bash's own. What the editor does only to a single candidate (a blank behind it, a slash behind a
directory) is done here, by the options that the hooks report.

Hazard: there, only names of files are quoted. Of others, one that holds a blank can't be told from
two, but where all begin with what was typed, or where its blank is at its end.

Hazard: a directory may hold a million names, or be on a dead network. What "may block" runs in a
thread of its own (`LookUps`), which neither the loop nor the end of the process waits for. A few
such threads are the most; then there is nothing to be found.

Hazard: a thread that works keeps the loop's thread waiting, for 5 ms after each system call. One
that looks through a directory pauses again and again.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from rshell.aio import in_thread
from rshell.channels.shell.messages import Completions
from rshell.values import frozen

CANDIDATES = 2000  # told; who sees them shows fewer
_LOOKS = 4  # at a time
_BREATH = 64  # entries of a directory between two pauses
_PAUSE = 0.0002  # seconds
_BREAKS = "|&;()\n"
_REDIRECTIONS = "<>"
_PARTS = ":="
_NEEDS_QUOTE = re.compile(r"[^A-Za-z0-9_@%+=:,./~^-]")
_SKIPPED = {"sudo", "nohup", "time", "exec", "command", "then", "do", "else", "if", "while", "!"}
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")

Found = TypeVar("Found")


# The word at the cursor.


@frozen
class CursorWord:
    """The command at the cursor: `words` without quotes up to it, the last one at the cursor.

    `start` is where that word begins in the line, its quote included; `quote` is the quote that
    is still open there, or "". `has_home` says that the word begins with a `~` that the shell
    replaces, which a name that is called so has to be told from. `rest` is what follows the last
    bare `:` or `=` in the word, which is a word of its own to many completions (`HEAD:ma`,
    `--color=al`), and `rest_start` is where it begins; without one they are those of the word.
    """

    words: tuple[str, ...]
    start: int
    quote: str
    has_home: bool
    rest: str
    rest_start: int

    @property
    def index(self) -> int:
        """The number of the word at the cursor; 0 is the command itself."""
        return len(self.words) - 1


def find_word(line: str) -> CursorWord:
    """Read `line`, all of it before the cursor."""
    words: list[str] = []
    current: list[str] = []
    start = 0
    inside = False
    quote = ""
    rest_from = rest_start = 0
    at = 0
    while at < len(line):
        character = line[at]
        if quote:
            if character == quote:
                quote = ""
            elif character == "\\" and quote == '"' and line[at + 1 : at + 2] in ('"', "\\", "$"):
                at += 1
                current.append(line[at])
            else:
                current.append(character)
        elif character in "'\"":
            quote = character
            start, inside = (start, True) if inside else (at, True)
        elif character == "\\" and at + 1 < len(line):
            start, inside = (start, True) if inside else (at, True)
            at += 1
            current.append(line[at])
        elif character in _BREAKS or character in _REDIRECTIONS or character in " \t":
            if inside:
                words.append("".join(current))
            if character in _BREAKS:
                words = []
            elif character in _REDIRECTIONS:
                words.append(">")
            current, inside = [], False
            rest_from = 0
        else:
            start, inside = (start, True) if inside else (at, True)
            current.append(character)
            if character in _PARTS:
                rest_from, rest_start = len(current), at + 1
        at += 1
    if not inside:
        start = len(line)
    words.append("".join(current))
    while len(words) > 1 and (words[0] in _SKIPPED or _ASSIGNMENT.match(words[0])):
        del words[0]
    has_home = line.startswith("~", start)
    rest = "".join(current[rest_from:])
    return CursorWord(
        tuple(words), start, quote, has_home, rest, rest_start if rest_from else start
    )


def quote_candidate(text: str, quote: str, *, has_home: bool = False) -> str:
    """Write `text` as the shell would have to read it, keeping an open quote open.

    With `has_home` a leading `~` is the home directory's, else a name's like any other letter.
    """
    if quote == "'":
        return "'" + text.replace("'", "'\\''")
    if quote == '"':
        return '"' + re.sub(r'(["\\$`])', r"\\\1", text)
    if text.startswith("~") and not has_home:
        return "\\" + quote_candidate(text, quote, has_home=True)
    return _NEEDS_QUOTE.sub(lambda match: "\\" + match[0] if match[0] != "\n" else "$'\\n'", text)


# Candidates for it.


def from_shell(number: int, fields: list[str]) -> Completions:
    """Return the candidates of a shell's own answer: where they begin, and three fields of each."""
    start, *rest = fields
    texts, labels, descriptions = (tuple(rest[at::3][:CANDIDATES]) for at in range(3))
    if len(rest) % 3 or not start.isdigit():
        return Completions(number, 0, (), ())
    return Completions(number, int(start), texts, labels, descriptions if any(descriptions) else ())


def from_files(number: int, word: CursorWord, cwd: str, home: str) -> Completions:
    """Return the names of files that begin as the word does. May block."""
    found = _files(number, word, word.words[-1], word.start, cwd, home)
    if not found.texts and word.rest_start > word.start:
        found = _files(number, word, word.rest, word.rest_start, cwd, home)
    return found


def _files(
    number: int, word: CursorWord, typed: str, start: int, cwd: str, home: str
) -> Completions:
    has_home = word.has_home and start == word.start
    directory, slash, beginning = typed.rpartition("/")
    directory += slash
    place = Path(cwd) / (_expand(directory, home) if has_home else directory)
    names: list[tuple[str, bool]] = []
    try:
        with os.scandir(place) as entries:
            for entry in _breathing(entries):
                if not entry.name.startswith(beginning):
                    continue
                if entry.name.startswith(".") and not beginning.startswith("."):
                    continue
                names.append((entry.name, _is_directory(entry)))
    except OSError:
        return Completions(number, start, (), ())
    texts, labels = [], []
    for name, is_directory in sorted(names)[:CANDIDATES]:
        # Without a slash, a `~` is a user's, and no file's.
        written = quote_candidate(directory + name, word.quote, has_home=has_home and bool(slash))
        texts.append(written + "/" if is_directory else written + word.quote + " ")
        labels.append(name + "/" if is_directory else name)
    return Completions(number, start, tuple(texts), tuple(labels))


def _breathing(entries: Iterable[os.DirEntry[str]]) -> Iterator[os.DirEntry[str]]:
    """Yield entries, and let the loop's thread run between some of them."""
    for number, entry in enumerate(entries):
        if number % _BREATH == _BREATH - 1:
            time.sleep(_PAUSE)
        yield entry


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # a link that can't be followed


def from_path(number: int, word: CursorWord, search: str) -> Completions:
    """Return the programs of a PATH that begin as the word does. May block."""
    found = [name for name in programs(search) if name.startswith(word.words[-1])][:CANDIDATES]
    texts = (quote_candidate(name, word.quote) + word.quote + " " for name in found)
    return Completions(number, word.start, tuple(texts), tuple(found))


def programs(search: str) -> list[str]:
    """Return the names of the programs of a PATH, sorted. May block."""
    found: set[str] = set()
    for directory in search.split(":"):
        try:
            with os.scandir(directory or ".") as entries:
                found |= {e.name for e in _breathing(entries) if os.access(e.path, os.X_OK)}
        except OSError:
            continue
    return sorted(found)


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


# Candidates from a line that bash's editor has completed.

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
    start, quote = _broken_word(text, breaks)
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
            and all(os.path.lexists(_named_path(item, cwd)) for item in quoted[:CANDIDATES])
        )
    )
    items = quoted if are_files or is_command else _split_at_blanks(tail, typed.lstrip("'\""))
    texts, labels = [], []
    for item in items[:CANDIDATES]:
        written, label = item, item.rstrip(" ")
        closing = "" if "nospace" in options or item.endswith("\n") else " "
        if item.startswith("$") and "/" not in item:
            closing = ""  # its value may be a directory
        elif are_files:
            path = _named_path(item, cwd)
            label = path.name or item
            if not item.endswith("/") and path.is_dir():
                written = item[: -len(quote)] if quote and item.endswith(quote) else item
                written, label, closing = written + "/", label + "/", ""
        elif quote and not item.startswith(quote):
            written = quote + item + (quote if closing else "")
        texts.append(written + closing)
        labels.append(label)
    return Completions(number, start, tuple(texts), tuple(labels))


def _broken_word(text: str, breaks: str) -> tuple[int, str]:
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


def _split_at_blanks(tail: str, typed: str) -> list[str]:
    items: list[str] = []
    for piece in tail[:-1].split(" "):
        is_more = bool(items) and items[0].startswith(typed) and not piece.startswith(typed)
        if items and not items[-1].endswith(" ") and (not piece or is_more):
            items[-1] += " " + piece
        else:
            items.append(piece)
    return [item for item in items if item]


def _named_path(item: str, cwd: str) -> Path:
    """Return what `item` names without its quotes, from `cwd`."""
    name = Path(find_word("x " + item).words[-1])
    return Path(cwd, name.expanduser() if item.startswith("~") else name)


# Who is asked.


class LookUps:
    """Looks into directories for one client."""

    def __init__(self) -> None:
        self._free = threading.Semaphore(_LOOKS)

    async def run(self, look: Callable[[], Found], otherwise: Found) -> Found:
        """Return what `look()` returns or raises, `otherwise` where too many are under way.

        Cancelling stops the wait; the look goes on by itself.
        """
        if not self._free.acquire(blocking=False):
            return otherwise

        def work() -> Found:
            try:
                return look()
            finally:
                self._free.release()

        return await asyncio.wrap_future(in_thread(work, "looking into a directory"))
