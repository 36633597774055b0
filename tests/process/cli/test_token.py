"""`rshell-token`: what it prints where, and that a failure takes no name."""

from __future__ import annotations

import shutil
import socket
import stat
from pathlib import Path

import pytest

from rshell.cli.token import main
from rshell.security.files import server_directory
from rshell.security.tokens import TokenLine, TokenStore

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")


def store() -> TokenStore:
    return TokenStore(server_directory() / "tokens.json")


def test_the_line_alone_goes_to_stdout_and_advice_to_stderr(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["add", "laptop", "--address", "web.lan"]) == 0
    shown = capsys.readouterr()
    line = TokenLine.parse(shown.out)
    assert shown.out == f"{line}\n" and str(line.address) == "web.lan:7000"
    assert line.token not in shown.err and "--login" in shown.err
    assert [record.name for record in store().list()] == ["laptop"]
    path = server_directory() / "tokens.json"
    assert line.token not in path.read_text() and stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_address_is_this_machine_unless_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["add", "laptop"]) == 0
    assert TokenLine.parse(capsys.readouterr().out).address.host == socket.gethostname()


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
def test_what_fails_takes_no_name(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A token that was stored and never shown could not be used, nor its name be given again."""
    assert main(arguments) == 1
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.startswith("rshell-token: ")
    assert shown.err.count("\n") == 1
    assert store().list() == []


def test_list_and_revoke_and_path(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("b", "a"):
        assert main(["add", name, "--address", "h"]) == 0
    tokens = [TokenLine.parse(text).token for text in capsys.readouterr().out.splitlines()]
    assert main(["list"]) == 0
    shown = capsys.readouterr().out
    assert [line.split("\t")[0] for line in shown.splitlines()] == ["a", "b"]
    assert not any(token in shown for token in tokens)
    assert main(["revoke", "a"]) == 0
    assert main(["revoke", "a"]) == 1
    assert [record.name for record in store().list()] == ["b"]
    capsys.readouterr()
    assert main(["path"]) == 0
    assert Path(capsys.readouterr().out.strip()) == server_directory() / "tokens.json"


@pytest.mark.bare
def test_another_state_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = str(tmp_path / "state")
    assert main(["--state", state, "add", "laptop", "--address", "h"]) == 0
    assert (tmp_path / "state" / "tokens.json").exists() and not server_directory().exists()
    assert capsys.readouterr().out
