"""What the parts of a text are to a shell, for colours: commands, options, operators.

Built on the pieces of scanner.py, in linear time as well. It follows where the name of a command
may stand, as far as that takes no shell: separators, keywords, assignments, redirections, `case`,
`[[`, arrays, functions. Commands within double quotes are not looked into.

Hazard: who sees a good command called unknown trusts no colour any more. A name is a COMMAND, which
may be judged, only where nothing in the text can make it something else: not with a slash, a quote,
a variable or a wildcard in it, nor if the text itself defines it, nor behind `source`, `eval` or
a new PATH.
"""

from __future__ import annotations

import re

from rshell.channels.shell import scanner
from rshell.channels.shell.scanner import Piece, scan

QUOTE = "quote"
COMMENT = "comment"
VARIABLE = "variable"
OPERATOR = "operator"
KEYWORD = "keyword"
OPTION = "option"
COMMAND = "command"

Span = tuple[int, int, str]  # from, up to, what it is

_COLOURED = {
    scanner.QUOTE: QUOTE,
    scanner.OPEN: QUOTE,
    scanner.BODY: QUOTE,
    scanner.COMMENT: COMMENT,
    scanner.VARIABLE: VARIABLE,
    scanner.ARITHMETIC: VARIABLE,
    scanner.HERESTRING: OPERATOR,
}
_IN_WORDS = {
    *(scanner.PLAIN, scanner.ESCAPE, scanner.QUOTE, scanner.OPEN),
    *(scanner.VARIABLE, scanner.ARITHMETIC),
}
_OPERATOR = re.compile(r";;&|;[;&]?|&&|&>>?|&|\|[|&]?|<>|[<>]&(?:\d+-?|-)?|>>|>\||[<>]")
_EMPTY = re.compile(r"\([ \t]*\)")
_NAME = re.compile(r"\w[\w.+:@,-]*|\[")
_ASSIGNMENT = re.compile(r"\w+(?:\[[^\]]*\])?\+?=")
_PATH = re.compile(r"(?:PATH|path)(?:\+?=|$)")
_IN_STRING = re.compile(r"\\.|\$(?:\w+|[@*#?$!-]|\{[^}]*\})", re.DOTALL)

_BEFORE_COMMAND = {"if", "then", "elif", "else", "while", "until", "do", "!", "{", "time"}
_KEYWORDS = {"fi", "done", "}", "for", "select", "case", "esac", "function", "coproc", "[["}
_DEPTH = 100  # brackets that are looked back over for the one to close
_BRINGS_NAMES = {".", "source", "eval"}


def highlight(text: str, *, is_fish: bool = False) -> list[Span]:
    """Return what is worth a colour in `text`, in its order; no two of them overlap."""
    reader = _Reader(text, is_fish)
    reader.read()
    return sorted(
        span
        for span in reader.spans
        if span[2] != COMMAND or text[span[0] : span[1]] not in reader.defined
    )


class _Frame:
    """What stands between two brackets, or in a `case` or `[[`, and where in it the text is.

    `kind` is "list" (of commands), "case", "test" or "words"; `closed_by` the bracket, if any.
    """

    def __init__(self, kind: str, closed_by: str = "") -> None:
        self.kind = kind
        self.closed_by = closed_by
        self.at_command = kind == "list"
        self.at_pattern = False  # of a `case`
        self.command = ""  # the name of the present one, as far as it can be told
        self.has_arguments = False


class _Reader:
    def __init__(self, text: str, is_fish: bool) -> None:
        self._text = text
        self._is_fish = is_fish
        self.spans: list[Span] = []
        self.defined: set[str] = set()  # functions and aliases
        self._frames = [_Frame("list")]
        self._word: list[Piece] = []
        self._awaited = ""  # what the next word is: a "target" of a redirection, a "function"
        self._is_sure = True  # that names are what they were
        self._closed_at = -1  # where the word may go on behind a bracket

    def read(self) -> None:
        """Go through the text."""
        behind = 0  # an operator of several characters
        for piece in scan(self._text, is_fish=self._is_fish):
            kind, start, _ = piece
            if start < behind:
                continue
            if kind in _IN_WORDS or (kind == scanner.OTHER and self._text[start] in "#$"):
                self._word.append(piece)
            elif kind == scanner.OTHER:
                behind = self._operate(start)
            else:
                self._end_word()
                self._between(piece)
        self._end_word()

    def _between(self, piece: Piece) -> None:
        kind, start, end = piece
        if kind == scanner.NEWLINE:
            self._separate()
        elif kind == scanner.HEREDOC:
            name = start + (3 if self._text.startswith("<<-", start) else 2)
            self.spans += [(start, name, OPERATOR), (name, end, QUOTE)]
        elif kind in _COLOURED:
            self.spans.append((start, end, _COLOURED[kind]))
            if kind == scanner.HERESTRING:
                self._awaited = "target"

    # Operators.

    def _operate(self, at: int) -> int:
        """Read the operator at `at` and return the position behind it."""
        character = self._text[at]
        end = at + 1
        if character == "(":
            self._open(at)
        elif character == ")":
            self._end_word()
            if self._frames[-1].at_pattern:
                self._frames[-1].at_pattern, self._frames[-1].at_command = False, True
            else:
                self._close(")", at)
        elif character == "`":
            if not self._close("`", at):
                self._begin("list", "`")
        elif match := _OPERATOR.match(self._text, at):
            return self._separate_or_redirect(match)
        else:  # a blank that is none of the usual ones
            self._end_word()
            return end
        self.spans.append((at, end, OPERATOR))
        return end

    def _separate_or_redirect(self, match: re.Match[str]) -> int:
        start, end = match.span()
        if "<" in match[0] or ">" in match[0]:
            if self._bare(self._word).isdigit():
                start = self._word[0][1]  # the descriptor
                self._word = []
            self._end_word()
            self._awaited = "" if match[0][-1] in "-0123456789" else "target"
        else:
            self._end_word()
            frame = self._frames[-1]
            if frame.kind == "case" and match[0] in (";;", ";&", ";;&"):
                frame.at_command, frame.at_pattern, frame.command = False, True, ""
                self._awaited = ""
            else:
                self._separate()
        self.spans.append((start, end, OPERATOR))
        return end

    def _separate(self) -> None:
        """A command is over, where commands stand."""
        self._awaited = ""
        frame = self._frames[-1]
        is_in_case = frame.kind == "case" and (frame.at_command or bool(frame.command))
        if frame.kind == "list" or is_in_case:
            frame.at_command, frame.command, frame.has_arguments = True, "", False

    def _open(self, at: int) -> None:
        """Begin with what stands in parentheses."""
        frame = self._frames[-1]
        word = self._word
        is_close = bool(word) and word[-1][2] == at
        if is_close and self._text[at - 1] == "$" and word[-1][0] == scanner.OTHER:
            self.spans.append((at - 1, at, OPERATOR))
            word.pop()
            self._begin("list", ")")
        elif frame.at_pattern:
            self._end_word()
        elif _EMPTY.match(self._text, at) and not _is_assigned(self._text, word):
            self._end_word()
            if frame.command and not frame.has_arguments:
                self.defined.add(frame.command)
                frame.at_command = True
            self._frames.append(_Frame("words", ")"))
        else:
            is_list = frame.at_command and not is_close
            is_list |= self._awaited == "target"  # `<(...)`
            is_list |= self._is_fish and frame.kind == "list"  # a command's output
            self._begin("list" if is_list else "words", ")")  # an array, a pattern

    def _begin(self, kind: str, closed_by: str) -> None:
        """Open a frame in the midst of a word, or in place of one."""
        frame = self._frames[-1]
        is_assignment = _is_assigned(self._text, self._word)
        self._end_word()
        self._awaited = ""
        if not (frame.at_command and is_assignment):
            frame.at_command, frame.has_arguments = False, True
            frame.command = frame.command or "?"
        self._frames.append(_Frame(kind, closed_by))

    def _close(self, bracket: str, at: int) -> bool:
        """Leave what `bracket` closes; return whether there is such a thing."""
        innermost = len(self._frames) - 1
        for number in range(innermost, max(0, innermost - _DEPTH), -1):
            if self._frames[number].closed_by == bracket:
                self._end_word()
                self._awaited = ""
                del self._frames[number:]
                self._closed_at = at + 1
                return True
        return False

    # Words.

    def _bare(self, word: list[Piece]) -> str:
        """Return the word if its letters mean themselves, else ""."""
        if not word or any(kind != scanner.PLAIN for kind, _, _ in word):
            return ""
        return self._text[word[0][1] : word[-1][2]]

    def _end_word(self) -> None:
        word, self._word = self._word, []
        if not word:
            return
        awaited, self._awaited = self._awaited, ""
        self._colour_pieces(word)
        frame, bare = self._frames[-1], self._bare(word)
        start, end = word[0][1], word[-1][2]
        if awaited == "function":
            self.defined.add(bare)
            frame.at_command = True
        elif awaited == "target" or start == self._closed_at or frame.kind == "words":
            pass
        elif frame.kind == "case" and not frame.at_command and not frame.command:
            self._read_case(frame, bare, start, end)
        elif frame.at_command:
            self._read_command(frame, word, bare)
        else:
            self._read_argument(frame, word, bare)

    def _read_case(self, frame: _Frame, bare: str, start: int, end: int) -> None:
        """Read a word of a `case` that belongs to no command."""
        if not frame.at_pattern and bare == "in":
            frame.at_pattern = True
        elif frame.at_pattern and bare == "esac":
            self._frames.pop()
        else:
            return
        self.spans.append((start, end, KEYWORD))

    def _read_command(self, frame: _Frame, word: list[Piece], bare: str) -> None:
        start, end = word[0][1], word[-1][2]
        if _is_assigned(self._text, word):
            self._is_sure = self._is_sure and not _PATH.match(self._text, start, end)
            return
        frame.at_command = bare in _BEFORE_COMMAND
        if frame.at_command or bare in _KEYWORDS:
            self.spans.append((start, end, KEYWORD))
            self._awaited = "function" if bare == "function" else ""
            frame.command, frame.has_arguments = bare, True
            if bare in ("case", "[[") and not self._is_fish:
                self._frames.append(_Frame("case" if bare == "case" else "test"))
            elif bare == "esac" and frame.kind == "case":
                self._frames.pop()
            return
        frame.command = bare or "?"
        if bare in _BRINGS_NAMES:
            self._is_sure = False
        elif self._is_sure and _NAME.fullmatch(bare):
            self.spans.append((start, end, COMMAND))

    def _read_argument(self, frame: _Frame, word: list[Piece], bare: str) -> None:
        kind, start, end = word[0]
        frame.has_arguments = True
        name, equals, _ = self._text[start:end].partition("=")
        if kind != scanner.PLAIN:
            return
        if name.startswith("-") and name != "-":
            self.spans.append((start, start + len(name), OPTION))
        elif bare == "]]" and frame.kind == "test":
            self.spans.append((start, end, KEYWORD))
            self._frames.pop()
        elif bare == "in" and frame.command in ("for", "select"):
            self.spans.append((start, end, KEYWORD))
        elif equals and frame.command == "alias":
            self.defined.add(name)
        elif name in ("PATH", "path"):
            self._is_sure = False

    def _colour_pieces(self, word: list[Piece]) -> None:
        for kind, start, end in word:
            if kind not in _COLOURED:
                continue
            coloured = _COLOURED[kind]
            if coloured == QUOTE and self._text[start] == '"':
                for match in _IN_STRING.finditer(self._text, start, end):
                    if match[0][0] == "$":
                        self.spans.append((start, match.start(), QUOTE))
                        self.spans.append((*match.span(), VARIABLE))
                        start = match.end()
            if start < end:
                self.spans.append((start, end, coloured))


def _is_assigned(text: str, word: list[Piece]) -> bool:
    """Whether the word gives a variable its value."""
    if not word or word[0][0] != scanner.PLAIN:
        return False
    return bool(_ASSIGNMENT.match(text, word[0][1], word[0][2]))
