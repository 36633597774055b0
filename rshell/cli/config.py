"""The user's config file, `$XDG_CONFIG_HOME/rshell/config.toml`.

Strategy: an absent file is an empty one; anything in it that is not understood is an error, so
that a typing mistake is never a silent default.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rshell.errors import ConfigurationError
from rshell.security.files import config_directory


@dataclass(frozen=True, slots=True)
class Config:
    """What the file says. `default_host` is the address used where none is given.

    `editing_mode` is how the prompt edits: "emacs" or "vi".
    """

    default_host: str | None = None
    editing_mode: str = "emacs"


def load_config(path: Path | None = None) -> Config:
    """Read the config file. Raises ConfigurationError naming the line or key that is wrong."""
    where = path or config_directory() / "config.toml"
    try:
        data = where.read_bytes()
    except FileNotFoundError:
        return Config()
    except OSError as error:
        raise ConfigurationError(f"can't read {where}: {error.strerror}") from error
    import tomllib

    try:
        values = tomllib.loads(data.decode())
    except ValueError as error:
        raise ConfigurationError(f"{where} is not TOML: {error}") from error
    unknown = sorted(set(values) - {"default_host", "editing_mode"})
    if unknown:
        raise ConfigurationError(f"{where} has the unknown key {unknown[0]!r}")
    host = values.get("default_host")
    if host is not None and not isinstance(host, str):
        raise ConfigurationError(f"default_host in {where} must be a string, such as 'web:7000'")
    mode = values.get("editing_mode", "emacs")
    if mode not in ("emacs", "vi"):
        raise ConfigurationError(f'editing_mode in {where} must be "emacs" or "vi"')
    return Config(default_host=host, editing_mode=mode)
