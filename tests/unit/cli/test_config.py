"""The config file: what may be in it, and what is said of what may not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from rshell.cli.config import Config, load_config
from rshell.errors import ConfigurationError
from rshell.security.files import config_directory
from tests.support.rows import row


def test_an_absent_file_is_an_empty_one(tmp_path: Path) -> None:
    assert load_config() == load_config(tmp_path / "none") == Config()
    (tmp_path / "empty").write_text("# nothing\n")
    assert load_config(tmp_path / "empty") == Config()


def test_the_default_host() -> None:
    config_directory().mkdir(parents=True)
    (config_directory() / "config.toml").write_text('default_host = "web:7000"\n')
    assert load_config() == Config(default_host="web:7000")


HOSTS = {"web": "ssh://me@web", "7-b_": "10.0.0.5:7000"}
LINES = [
    (r'default_host="web"', Config("web")),
    ("\tdefault_host  =\t'a\\b # \"c'  # d\r", Config('a\\b # "c')),
    (r'default_host = "a\\\"\t#é"#', Config('a\\"\t#é')),
    ("marks = false#", Config(marks=False)),
    (" # marks = false", Config()),
    ("[hosts]", Config()),
    (" [ hosts ] # mine\nweb = 'ssh://me@web'\n\n7-b_ = \"10.0.0.5:7000\"", Config(hosts=HOSTS)),
    ("default_host = 'web'\n[hosts]\nmarks = 'unix:/s'", Config("web", hosts={"marks": "unix:/s"})),
]


def test_a_line_is_read_as_toml_would(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    for line, config in LINES:
        path.write_bytes(f"\n{line}\n\n".encode())
        with row(line):
            assert load_config(path) == config
            if sys.version_info >= (3, 11):
                import tomllib

                assert Config(**tomllib.loads(path.read_text())) == config


MISTAKES = [
    (b"default_hots = 'x'", "unknown key 'default_hots'"),
    (b"default_host = 7", "must be a string"),
    (b"editing_mode = 'ed'", 'must be "emacs" or "vi"'),
    (b"prompt = ''", 'must be "own" or "rshell"'),
    (b"prompt = []", 'must be "own" or "rshell"'),
    (b"marks = 1", "must be true or false"),
    (b"up_searches = 'no'", "must be true or false"),
    (b"default_host = web:7000", "must be a string"),
    (b"default_host =", "line 1 of .* is not understood: 'default_host ='"),
    (b"# one\n[[hosts]]", "line 2 of .* is not understood: '\\[\\[hosts\\]\\]'"),
    (b"[hosts] web = 'x'", "not understood"),
    (b"[hosts.web]", "not understood"),
    (b"[hots]", "line 1 of .* begins the unknown table .hots."),
    (b"[hosts]\n[hosts]", "line 2 of .* begins a second table"),
    (b"[hosts]\nweb = 'a:1'\nweb = 'a:2'", "line 3 of .* has the alias 'web' again"),
    (b"[hosts]\nweb = true", "line 2 of .*: the alias 'web' must be a string"),
    (b"[hosts]\nweb = 'a b'", "line 2 of .*: the alias 'web' leads nowhere: not a host name"),
    (b"[hosts]\nweb = 'me@web'", "leads nowhere"),
    (b"[hosts]\nweb = 'telnet://web'", "leads nowhere: no way in is called 'telnet'"),
    (b"[hosts]\nweb:7000 = 'x'", "line 2 of .* is not understood"),
    (b"[hosts]\na.b = 'x'", "line 2 of .* is not understood"),
    (b"[hosts]\nweb = 'db'\ndb = 'x:1'", "the alias 'web' leads to 'db', which is an alias, too"),
    (b"[hosts]\nweb = 'web'", "which is an alias, too"),
    (b"default_host", "not understood"),
    (b"default_host = 'x", "not understood"),
    (b"default_host = 'x' y", "not understood"),
    (b"default_host = 'x'marks = true", "not understood"),
    (b'default_host = "\\q"', "not understood"),
    (b"marks = true\nmarks = true", "the key 'marks' twice"),
    (b"\xff\xfe", "is not UTF-8 text"),
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
