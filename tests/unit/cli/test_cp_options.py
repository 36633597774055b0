"""Which paths are on which machine, and which options go together."""

from __future__ import annotations

import pytest

from rshell.channels.files.messages import TransferOptions
from rshell.cli.cp_options import Place, parse
from rshell.cli.options import UsageError
from rshell.reach.ways import Way
from rshell.security.files import config_directory
from rshell.values import Address
from tests.support.rows import row


def test_a_colon_names_a_machine_unless_a_slash_comes_first() -> None:
    for text, host, path in (
        ("a", None, "a"),
        ("./a:b", None, "./a:b"),
        ("dir/a:b", None, "dir/a:b"),
        ("/a:b", None, "/a:b"),
        ("-", None, "-"),
        ("host:", "host", "."),
        ("host:a", "host", "a"),
        ("host:a:b", "host", "a:b"),
        ("host:7000:a", "host:7000", "a"),
        ("host:7000", "host", "7000"),
        ("host:~/a", "host", "~/a"),
        (":a", "", "a"),
        ("[::1]:a", "[::1]", "a"),
        ("[::1]:70:a", "[::1]:70", "a"),
        ("unix:/run/s:a", "unix:/run/s", "a"),
        ("unix:/run/s:/a:b", "unix:/run/s", "/a:b"),
        ("ssh://me@web:/srv", "ssh://me@web", "/srv"),
        ("ssh://web:2222:a", "ssh://web:2222", "a"),
        ("ssh://[::1]:22:a", "ssh://[::1]:22", "a"),
        ("docker://web:a/b", "docker://web", "a/b"),
        ("kubectl://ns/pod/c:/a", "kubectl://ns/pod/c", "/a"),
        ("host:a\nb", "host", "a\nb"),
    ):
        with row(text):
            assert Place.parse(text) == Place(path, host)


def test_what_is_asked_for() -> None:
    options = parse(["-rp", "a", "host:b", "--delete", "--resume-window", "0"])
    assert options.sources == (Place("a"),) and options.target == Place("b", "host")
    assert options.transfer == TransferOptions(recursive=True, preserve=True, delete=True)
    assert options.resume_window == 0.0
    assert options.find("host:7001") == Address("host", 7001)
    assert isinstance(options.find("docker://web"), Way)
    assert parse(["--local", "a", ":b"]).find("") is None
    assert parse(["--help"]).action == "help" and parse(["--version"]).action == "version"


def test_an_alias_names_a_machine() -> None:
    config_directory().mkdir(parents=True)
    (config_directory() / "config.toml").write_text("[hosts]\nweb = 'docker://web-1'\n")
    options = parse(["-X", "web:a", "b"])
    assert options.sources == (Place("a", "web"),) and options.transfer.attributes
    assert options.find("web") == Way.parse("docker://web-1")
    assert options.find("web:7000") == Address("web")


def test_what_makes_no_sense_is_told() -> None:
    for arguments, said in (
        (["a"], "a SOURCE and a TARGET"),
        (["a", "b"], "no machine is named"),
        (["a", "host:b", "c"], "on this machine"),
        (["a", "host:b", "host:c"], "all on this machine"),
        (["-", "a", "host:b"], "stdin and stdout"),
        (["--local", "a", "host:b"], "does not go with"),
        (["--local", "--via", "x", "a", ":b"], "one of"),
        (["--delete", "a", "h:b"], "'delete' needs 'recursive'"),
        (["--nonsense", "a", "h:b"], "See rshell-cp --help"),
        (["--resume-window", "x", "a", "h:b"], "--resume-window"),
    ):
        with row(arguments), pytest.raises(UsageError, match=said):
            parse(arguments)
