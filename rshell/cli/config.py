"""The config file of `rshell`: `$XDG_CONFIG_HOME/rshell/config.toml`.

An absent file is an empty one. Anything in it that is not understood is an error: a typing mistake
is never a silent default.

The file is TOML, of which it has what its keys need: comments, texts on one line, true and false.
That much is read here, alike on every Python; `tomllib` came with 3.11.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rshell.errors import ConfigurationError
from rshell.values import frozen

if TYPE_CHECKING:
    from pathlib import Path

PROMPTS = ("own", "rshell")


@frozen
class Config:
    """What the file says. `default_host` is the address used where none is given.

    At the prompt: `editing_mode` is "emacs" or "vi", where the shell does not say which; `prompt`
    whose prompt is shown, the shell's "own" or that of "rshell"; `marks` whether this terminal is
    told where prompts and commands begin, and `up_searches` whether Up looks for what is typed.
    """

    default_host: str | None = None
    editing_mode: str = "emacs"
    prompt: str = "own"
    marks: bool = True
    up_searches: bool = True


def _one_of(*words: str) -> tuple[Callable[[object], bool], str]:
    return lambda value: value in words, "must be " + " or ".join(f'"{word}"' for word in words)


_BOOLEAN = (lambda value: isinstance(value, bool), "must be true or false")

# Each key that there is: what its value must pass, and what is said of others.
_KEYS: dict[str, tuple[Callable[[object], bool], str]] = {
    "default_host": (lambda value: isinstance(value, str), "must be a string, such as 'web:7000'"),
    "editing_mode": _one_of("emacs", "vi"),
    "prompt": _one_of(*PROMPTS),
    "marks": _BOOLEAN,
    "up_searches": _BOOLEAN,
}

_LINE = re.compile(
    r"""[ \t]*
    (?:(?P<key>[A-Za-z0-9_-]+)[ \t]*=[ \t]*
        (?: "(?P<basic>(?:[^"\\\x00-\x08\x0a-\x1f\x7f] | \\["\\bfnrt])*)"
          | '(?P<literal>[^'\x00-\x08\x0a-\x1f\x7f]*)'
          | (?P<bare>[^\s"'\#]+)
        )[ \t]*)?
    (?:\#.*)?""",
    re.VERBOSE,
)
_ESCAPED = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


def load_config(path: Path | None = None) -> Config:
    """Read the config file. Raises ConfigurationError naming the line or key that is wrong."""
    from rshell.security.files import config_directory

    try:
        where = path or config_directory() / "config.toml"
    except ConfigurationError:  # no home directory is known, and so nobody has written one
        return Config()
    try:
        data = where.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return Config()
    except OSError as error:
        raise ConfigurationError(f"can't read {where}: {error.strerror}") from error
    try:
        lines = data.decode().split("\n")
    except ValueError as error:
        raise ConfigurationError(f"{where} is not UTF-8 text: {error}") from error
    values: dict[str, Any] = {}
    for number, line in enumerate(lines, 1):
        found = _LINE.fullmatch(line.rstrip("\r"))
        if found is None:
            raise ConfigurationError(
                f"line {number} of {where} is not understood: {line.strip()!r}. Write KEY = VALUE, "
                "where VALUE is true, false or a text in quotes"
            )
        key, value = found["key"], _value(found)
        if key is None:
            continue
        if key not in _KEYS:
            raise ConfigurationError(f"{where} has the unknown key {key!r}")
        if key in values:
            raise ConfigurationError(f"{where} has the key {key!r} twice")
        is_right, wanted = _KEYS[key]
        if not is_right(value):
            raise ConfigurationError(f"{key} in {where} {wanted}")
        values[key] = value
    return Config(**values)


def _value(line: re.Match[str]) -> object:
    """Return what a line gives its key: True, False, a text, or None for what no key takes."""
    if line["basic"] is not None:
        return re.sub(r"\\(.)", lambda it: _ESCAPED.get(it[1], it[1]), line["basic"])
    if line["literal"] is not None:
        return line["literal"]
    return {"true": True, "false": False}.get(line["bare"])
