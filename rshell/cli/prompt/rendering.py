"""The shell's own prompt, as our line editor can show it. Pure.

A shell renders its prompt for a terminal: text, colours, and sequences without a width, which bash
puts between the characters 1 and 2. Our editor draws the prompt itself, again and again, so it gets
styled text instead. Of what a prompt holds

- colours and attributes become styles;
- a title for the window is taken out, and kept apart;
- what leaves the text as it is (marks, links, modes, the shape of the cursor, an erased rest of the
  line) is taken out;
- what moves the cursor, or is not known, makes the whole prompt one that can't be shown: ours is.

Hazard: a prompt comes from the other side. Whatever is in it, the result holds no control
character, and no style but those made here; text that would be read in another direction is taken
out; a prompt that is too long, or has too many lines, can't be shown.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from rshell.terminal.output import printable
from rshell.values import frozen

Fragments = list[tuple[str, str]]

_LINES, _CHARACTERS, _TITLE = 10, 2000, 256

_PIECE = re.compile(
    r"(?P<text>[^\x00-\x1f\x7f-\x9f]+)"
    r"|\x1b\[(?P<colours>[0-9;:]*)m"
    r"|\x1b\](?:[02];(?P<title>[^\x07\x1b]*)|[^\x07\x1b]*)(?:\x07|\x1b\\)"
    r"|\x1b[PX^_][^\x07\x1b]*(?:\x1b[^\\][^\x07\x1b]*)*\x1b\\"  # tmux has doubled escapes in one
    r"|\x1bk[^\x07\x1b]*\x1b\\"  # a title for screen
    r"|(?P<newline>\r*\n)"
    r"|(?P<start>\r)"
    r"|(?:"
    r"\x1b\[[?>][0-9;]*[hlmu]"  # modes, how keys are reported
    r"|\x1b\[[0-9]* q"  # the cursor's shape
    r"|\x1b\[0?[KJ]"  # erase the rest
    r"|\x1b\(B|\x1b[=>]"  # `tput sgr0` has one of these
    r"|[\x00\x01\x02\x07\x0f\x7f]"
    r")"
)

_COLOURS = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "gray")
_BRIGHT = (
    *("brightblack", "brightred", "brightgreen", "brightyellow"),
    *("brightblue", "brightmagenta", "brightcyan", "white"),
)
_NAMES = tuple(f"ansi{name}" for name in (*_COLOURS, *_BRIGHT))
_LEVELS = (0, 95, 135, 175, 215, 255)
_ATTRIBUTES = {
    1: "bold",
    2: "dim",
    3: "italic",
    4: "underline",
    5: "blink",
    6: "blink",
    7: "reverse",
    8: "hidden",
    9: "strike",
    21: "underline",
}
_ENDS = {
    22: ("bold", "dim"),
    23: ("italic",),
    24: ("underline",),
    25: ("blink",),
    27: ("reverse",),
    28: ("hidden",),
    29: ("strike",),
}


@frozen
class Rendered:
    """A prompt that can be shown. `title` is for the window, None where the prompt sets none."""

    fragments: tuple[tuple[str, str], ...] = ()
    title: str | None = None

    def rows(self, columns: int) -> int:
        """Return about how many rows of a window it takes, the line of the cursor with them."""
        lines = "".join(text for _, text in self.fragments).split("\n")
        return sum(1 + _width(line) // max(1, columns) for line in lines)


def render(text: str) -> Rendered | None:
    """Return what the editor can show for the prompt `text`, None where it can't."""
    fragments: Fragments = []
    title: str | None = None
    style = _Style()
    position = 0
    is_at_start = True
    while position < len(text):
        found = _PIECE.match(text, position)
        if found is None:
            return None
        position = found.end()
        if (shown := found["text"]) is not None:
            fragments.append((style.text, _harmless(shown)))
            is_at_start = False
        elif found["newline"] is not None:
            fragments.append(("", "\n"))
            is_at_start = True
        elif found["start"] is not None:
            if not is_at_start:
                return None
        elif found["colours"] is not None:
            style.change(found["colours"])
        elif found["title"] is not None:
            title = printable(found["title"], limit=_TITLE)
    shown = "".join(part for _, part in fragments)
    if shown.count("\n") >= _LINES or len(shown) > _CHARACTERS:
        return None
    return Rendered(tuple(fragments), title)


def _harmless(text: str) -> str:
    """Return text without what reorders it or is no character; glyphs of private use stay."""
    if text.isascii():
        return text
    return "".join(filter(None, map(_harmless_character, text)))


def _harmless_character(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Cs":
        return "\ufffd"
    if category in ("Zl", "Zp") or (category == "Cf" and character != "\u200d"):
        return ""
    return character


def _width(line: str) -> int:
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in line)
    return len(line) + wide


class _Style:
    """The colours and attributes that are on. `text` is the editor's word for them."""

    def __init__(self) -> None:
        self.text = ""
        self._attributes: dict[str, None] = {}
        self._colours = {"fg": "", "bg": ""}

    def change(self, numbers: str) -> None:
        """Take the numbers of one sequence; those that are not known change nothing."""
        # With colons, what belongs to one number is in one part.
        parts = iter(numbers.split(";"))
        for part in parts:
            self._take(part, parts)
        words = [f"{key}:{colour}" for key, colour in self._colours.items() if colour]
        self.text = " ".join([*words, *self._attributes])

    def _take(self, part: str, parts: Iterator[str]) -> None:
        head, *rest = part.split(":")
        number = _number(head)
        if number == 0:
            self._attributes.clear()
            self._colours = {"fg": "", "bg": ""}
        elif number in _ATTRIBUTES:
            name = _ATTRIBUTES[number]
            if number == 4 and rest[:1] == ["0"]:
                self._attributes.pop(name, None)
            else:
                self._attributes[name] = None
        elif number in _ENDS:
            for name in _ENDS[number]:
                self._attributes.pop(name, None)
        elif number in (38, 48, 58):
            colour = _extended(rest) if rest else _extended_of(parts)
            if number != 58 and colour is not None:
                self._colours["fg" if number == 38 else "bg"] = colour
        elif number in (39, 49):
            self._colours["fg" if number == 39 else "bg"] = ""
        elif 30 <= number <= 37 or 90 <= number <= 97:
            self._colours["fg"] = _NAMES[number - 30 if number < 90 else number - 82]
        elif 40 <= number <= 47 or 100 <= number <= 107:
            self._colours["bg"] = _NAMES[number - 40 if number < 100 else number - 92]


def _number(text: str) -> int:
    return int(text) if text.isdigit() and len(text) < 4 else (0 if not text else -1)


def _extended_of(parts: Iterator[str]) -> str | None:
    """Take the numbers of a colour, `5;N` or `2;R;G;B`, from those that follow."""
    kind = next(parts, "")
    count = {"5": 1, "2": 3}.get(kind, 0)
    return _extended([kind, *(next(parts, "") for _ in range(count))])


def _extended(numbers: list[str]) -> str | None:
    kind, *rest = numbers
    if kind == "2" and len(rest) > 3:
        rest = rest[1:4]  # with colons, the number of a colour space comes first
    values = [_number(number) for number in rest]
    if any(not 0 <= value <= 255 for value in values):
        return None
    if kind == "5" and len(values) == 1:
        return _palette(values[0])
    if kind == "2" and len(values) == 3:
        return "#{:02x}{:02x}{:02x}".format(*values)
    return None


def _palette(index: int) -> str:
    """Return one of the 256 colours; the editor finds the same one again where it has no more."""
    if index < 16:
        return _NAMES[index]
    if index < 232:
        index -= 16
        levels = [_LEVELS[index // 36], _LEVELS[index // 6 % 6], _LEVELS[index % 6]]
    else:
        levels = [8 + 10 * (index - 232)] * 3
    return "#{:02x}{:02x}{:02x}".format(*levels)
