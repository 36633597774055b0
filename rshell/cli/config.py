"""The config file of `rshell`: `$XDG_CONFIG_HOME/rshell/config.toml`.

An absent file is an empty one. Anything in it that is not understood is an error: a typing mistake
is never a silent default.

The file is TOML, of which it has what its keys need: comments, texts on one line, true and false,
and at its end one table, `[hosts]`, with a name of the user's own for each host. That much is read
here, alike on every Python; `tomllib` came with 3.11.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Any

from rshell.errors import AddressError, ConfigurationError
from rshell.reach.ways import Way
from rshell.values import Address, frozen

if TYPE_CHECKING:
    from pathlib import Path

PROMPTS = ("own", "rshell")


@frozen
class Config:
    """What the file says. `default_host` is the address used where none is given.

    `hosts` holds the address or way in that stands behind each alias.

    At the prompt: `editing_mode` is "emacs" or "vi", where the shell does not say which; `prompt`
    whose prompt is shown, the shell's "own" or that of "rshell"; `marks` whether this terminal is
    told where prompts and commands begin, and `up_searches` whether Up looks for what is typed.
    """

    default_host: str | None = None
    editing_mode: str = "emacs"
    prompt: str = "own"
    marks: bool = True
    up_searches: bool = True
    hosts: Mapping[str, str] = field(default_factory=dict)

    def find(self, host: str) -> str:
        """Return what an alias stands for, and any other host as it is."""
        return self.hosts.get(host, host)


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

_ALIAS = re.compile(r"[A-Za-z0-9_-]+")  # what TOML takes without quotes
_LINE = re.compile(
    r"""[ \t]*
    (?:\[[ \t]*(?P<table>[A-Za-z0-9_-]+)[ \t]*\][ \t]*
      |(?P<key>[A-Za-z0-9_-]+)[ \t]*=[ \t]*
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
    hosts: dict[str, Any] | None = None  # since the line [hosts]
    for number, line in enumerate(lines, 1):
        found = _LINE.fullmatch(line.rstrip("\r"))
        if found is None:
            raise ConfigurationError(
                f"line {number} of {where} is not understood: {line.strip()!r}. Write KEY = VALUE, "
                "where VALUE is true, false or a text in quotes"
            )
        table, key, value = found["table"], found["key"], _value(found)
        if table is not None:
            if table != "hosts" or hosts is not None:
                what = "a second" if table == "hosts" else "the unknown"
                raise ConfigurationError(f"line {number} of {where} begins {what} table [{table}]")
            values["hosts"] = hosts = {}
        if key is None:
            continue
        if hosts is not None:
            if key in hosts:
                raise ConfigurationError(f"line {number} of {where} has the alias {key!r} again")
            if wrong := _wrong_host(value):
                raise ConfigurationError(f"line {number} of {where}: the alias {key!r} {wrong}")
            hosts[key] = value
            continue
        if key not in _KEYS:
            raise ConfigurationError(f"{where} has the unknown key {key!r}")
        if key in values:
            raise ConfigurationError(f"{where} has the key {key!r} twice")
        is_right, wanted = _KEYS[key]
        if not is_right(value):
            raise ConfigurationError(f"{key} in {where} {wanted}")
        values[key] = value
    for alias, host in (hosts or {}).items():
        if host in (hosts or {}):
            raise ConfigurationError(
                f"{where}: the alias {alias!r} leads to {host!r}, which is an alias, too. Give it "
                "an address with a port, or a way in"
            )
    return Config(**values)


def may_be_alias(host: str) -> bool:
    """Whether this is a single word, without a port, dots or a scheme."""
    return _ALIAS.fullmatch(host) is not None


def _wrong_host(value: object) -> str:
    """Return what is wrong with the host of an alias, "" where nothing is."""
    if not isinstance(value, str):
        return "must be a string, such as '10.0.0.5:7000' or 'ssh://me@web'"
    try:
        if Way.parse(value) is None:
            Address.parse(value)
    except AddressError as error:
        return f"leads nowhere: {error}"
    return ""


def _value(line: re.Match[str]) -> object:
    """Return what a line gives its key: True, False, a text, or None for what no key takes."""
    if line["basic"] is not None:
        return re.sub(r"\\(.)", lambda it: _ESCAPED.get(it[1], it[1]), line["basic"])
    if line["literal"] is not None:
        return line["literal"]
    return {"true": True, "false": False}.get(line["bare"])
