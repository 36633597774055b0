"""The config file of `rshell`: `$XDG_CONFIG_HOME/rshell/config.toml`.

An absent file is an empty one. Anything in it that is not understood is an error: a typing mistake
is never a silent default.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

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
    import tomllib

    try:
        values = tomllib.loads(data.decode())
    except ValueError as error:
        raise ConfigurationError(f"{where} is not TOML: {error}") from error
    for key, value in sorted(values.items()):
        if key not in _KEYS:
            raise ConfigurationError(f"{where} has the unknown key {key!r}")
        is_right, wanted = _KEYS[key]
        if not is_right(value):
            raise ConfigurationError(f"{key} in {where} {wanted}")
    return Config(**values)
