"""The config file: what may be in it, and what is said of what may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from rshell.cli.config import Config, load_config
from rshell.errors import ConfigurationError
from rshell.security.files import config_directory


def test_an_absent_file_is_an_empty_one(tmp_path: Path) -> None:
    assert load_config() == load_config(tmp_path / "none") == Config()
    (tmp_path / "empty").write_text("# nothing\n")
    assert load_config(tmp_path / "empty") == Config()


def test_the_default_host() -> None:
    config_directory().mkdir(parents=True)
    (config_directory() / "config.toml").write_text('default_host = "web:7000"\n')
    assert load_config() == Config(default_host="web:7000")


MISTAKES = [
    (b"default_hots = 'x'", "unknown key 'default_hots'"),
    (b"default_host = 7", "must be a string"),
    (b"editing_mode = 'ed'", 'must be "emacs" or "vi"'),
    (b"prompt = ''", 'must be "own" or "rshell"'),
    (b"prompt = []", 'must be "own" or "rshell"'),
    (b"marks = 1", "must be true or false"),
    (b"up_searches = 'no'", "must be true or false"),
    (b"default_host =", "is not TOML"),
    (b"\xff\xfe", "is not TOML"),
]


def test_a_mistake_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    for content, message in MISTAKES:
        path = tmp_path / "config.toml"
        path.write_bytes(content)
        with pytest.raises(ConfigurationError, match=message) as caught:
            load_config(path)
        assert str(path) in str(caught.value)


def test_a_file_that_can_not_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="can't read"):
        load_config(tmp_path)


def test_what_the_file_says_of_the_prompt(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('editing_mode = "vi"\nprompt = "rshell"\nmarks = false\nup_searches = false\n')
    assert load_config(path) == Config(None, "vi", "rshell", marks=False, up_searches=False)
