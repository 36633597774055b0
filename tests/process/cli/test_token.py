"""`rshell-token`: what it prints where, and that a failure takes no name."""

from __future__ import annotations

import os
import shutil
import socket
import stat
from pathlib import Path

import pytest

from rshell.cli.token import main
from rshell.security.certificates import ensure_certificate
from rshell.security.files import server_directory
from rshell.security.tokens import TokenLine, TokenStore
from rshell.server.state import Listening
from tests.support.commands import run

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")


def store() -> TokenStore:
    return TokenStore(server_directory() / "tokens.json")


def test_the_line_alone_goes_to_stdout_and_advice_to_stderr(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert main(["add", "laptop", "--address", "web.lan"]) == 0
    shown = capfd.readouterr()
    line = TokenLine.parse(shown.out)
    assert shown.out == f"{line}\n" and str(line.address) == "web.lan:7000"
    assert line.token not in shown.err and "--login" in shown.err
    assert [record.name for record in store().list()] == ["laptop"]
    path = server_directory() / "tokens.json"
    assert line.token not in path.read_text() and stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_address_is_this_machine_unless_told(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["add", "laptop"]) == 0
    assert TokenLine.parse(capfd.readouterr().out).address.host == socket.gethostname()


@pytest.mark.parametrize(
    "arguments",
    [
        ["add", "laptop", "--address", "unix:/s"],
        ["add", "laptop", "--address", "a b"],
        ["add", "lap top"],
        ["add", "laptop", "--cert", "/no/such/cert.pem"],
        ["add", "laptop", "--cert", "/dev/null"],
    ],
)
def test_what_fails_takes_no_name(arguments: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    """A token that was stored and never shown could not be used, nor its name be given again."""
    assert main(arguments) == 1
    shown = capfd.readouterr()
    assert shown.out == "" and shown.err.startswith("rshell-token: ")
    assert shown.err.count("\n") == 1
    assert store().list() == []


def test_the_line_names_what_the_server_said_of_itself(capfd: pytest.CaptureFixture[str]) -> None:
    mark = "SHA256:" + "0a" * 32
    store().add("first")
    for elsewhere, arguments, expected in (
        ("web.lan:7300", [], "web.lan:7300"),
        ("web.lan:7300", ["--address", "other"], "other:7300"),
        ("web.lan:7300", ["--address", "other:1"], "other:1"),
        (None, [], "localhost:7300"),  # for a tunnel
    ):
        Listening(mark, "localhost:7300", elsewhere).save(server_directory())
        assert main(["add", "laptop", *arguments]) == 0
        shown = capfd.readouterr()
        line = TokenLine.parse(shown.out)
        assert (str(line.address), line.fingerprint) == (expected, mark)
        assert ("this machine alone" in shown.err) is (elsewhere is None)
        assert main(["revoke", "laptop"]) == 0
        capfd.readouterr()
        (server_directory() / "listening.json").unlink()


def test_no_certificate_and_no_directory_is_made_here(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The server that runs, with its directory deleted, has another certificate."""
    (tmp_path / "empty").mkdir(mode=0o700)
    for directory in (tmp_path / "none", tmp_path / "empty"):
        for arguments in (["add", "x", "--address", "h"], ["list"], ["revoke", "x"]):
            if directory.exists() and arguments[0] != "add":
                continue
            assert main(["--state", str(directory), *arguments]) == 1, arguments
            assert "was started with the state directory" in capfd.readouterr().err
    assert [path.name for path in tmp_path.iterdir() if path.name in ("none", "empty")] == ["empty"]
    assert not list((tmp_path / "empty").iterdir())


def test_a_lost_token_file_is_not_begun_anew(capfd: pytest.CaptureFixture[str]) -> None:
    """The server would take it for the truth, and end everybody's sessions."""
    assert main(["add", "first", "--address", "h"]) == 0
    Listening("SHA256:" + "0a" * 32, "localhost:7000", None).save(server_directory())
    (server_directory() / "tokens.json").unlink()
    for arguments in (["add", "second"], ["list"], ["revoke", "first"]):
        assert main(arguments) == 1
        assert "tokens.json is gone. Restore it" in capfd.readouterr().err
    assert not (server_directory() / "tokens.json").exists()


def test_what_can_not_be_printed_takes_no_name_and_a_lost_word_fails_nothing() -> None:
    full, null = (os.open(path, os.O_WRONLY) for path in ("/dev/full", os.devnull))
    try:
        for arguments, out, err, status in (
            (["add", "a", "--address", "h"], full, full, 1),
            (["add", "a", "--address", "h"], null, full, 0),
            (["list"], full, full, 1),
            (["path"], full, null, 1),
            (["revoke", "a"], full, full, 0),
        ):
            done = run(*arguments, command="token", stdout=out, stderr=err)
            assert done.returncode == status, arguments
            names = [record.name for record in store().list()]
            assert names == ([] if (arguments[0], status) in (("add", 1), ("revoke", 0)) else ["a"])
    finally:
        os.close(full)
        os.close(null)


def test_list_and_revoke_and_path(capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("b", "a"):
        assert main(["add", name, "--address", "h"]) == 0
    tokens = [TokenLine.parse(text).token for text in capfd.readouterr().out.splitlines()]
    assert main(["list"]) == 0
    shown = capfd.readouterr().out
    assert [line.split("\t")[0] for line in shown.splitlines()] == ["a", "b"]
    assert not any(token in shown for token in tokens)
    assert main(["revoke", "a"]) == 0
    assert main(["revoke", "a"]) == 1
    assert [record.name for record in store().list()] == ["b"]
    capfd.readouterr()
    assert main(["path"]) == 0
    assert Path(capfd.readouterr().out.strip()) == server_directory() / "tokens.json"


def test_another_state_directory(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    state = tmp_path / "other"
    ensure_certificate(state)
    assert main(["--state", str(state), "add", "laptop", "--address", "h"]) == 0
    assert (state / "tokens.json").exists() and store().list() == []
    assert capfd.readouterr().out
