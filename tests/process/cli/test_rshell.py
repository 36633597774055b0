"""`rshell`'s own words, its limits, and `--login`: from stdin or a terminal without echo."""

from __future__ import annotations

import asyncio
import json
import stat
from pathlib import Path

import pytest

from rshell import __version__
from rshell.aio import timeout
from rshell.cli.options import Options
from rshell.cli.report import Report
from rshell.cli.rshell import _limits, _run, main
from rshell.security.credentials import Credentials
from rshell.security.files import state_directory
from rshell.security.tokens import TokenLine, new_token
from rshell.values import Address, Limits, TerminalSize
from tests.support.commands import Terminal, argv, only_line, run


def test_help_and_version(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == main(["--version"]) == 0
    shown = capfd.readouterr()
    assert shown.out.startswith("usage: rshell") and shown.out.endswith(f"rshell {__version__}\n")
    assert shown.err == ""


def test_nonsense_is_one_line_and_255() -> None:
    for arguments in (["--no-such-option"], ["-c", "a", "h", "b"], ["-p", "x", "h"]):
        done = run(*arguments)
        assert done.returncode == 255
        assert only_line(done.stderr)


def test_the_window_is_the_one_that_was_asked_for() -> None:
    for window, expected in ((None, 300.0), (1.5, 1.5), (0.0, 0.0)):
        assert _limits(Options(resume_window=window), Limits()).resume_window == expected


def test_a_named_shell_without_a_terminal_is_one_line_that_says_what_to_do() -> None:
    done = run("-S", "work", "localhost:1")
    assert done.returncode == 255 and "--detach" in only_line(done.stderr)


def test_a_refused_command_is_an_object_too(tmp_path: Path) -> None:
    done = run("--json", "-c", "true", f"unix:{tmp_path / 'none'}")
    shown = json.loads(done.stdout)
    assert (shown["outcome"], done.returncode, done.stderr) == ("refused", 255, b"")


async def test_a_callback_that_fails_ends_the_run_and_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """asyncio logs it, and who waits for what it would have done waits for ever."""

    def fail() -> None:
        raise KeyError("lost")

    async def serve(*_: object) -> int:
        asyncio.get_running_loop().call_soon(fail)
        await asyncio.Event().wait()
        return 0

    monkeypatch.setattr("rshell.cli.rshell._serve", serve)
    with pytest.raises(KeyError, match="lost"):
        async with timeout(30.0):
            await _run(Options(), Limits(), Report())


LINE = TokenLine(Address("web.lan"), "SHA256:" + "1" * 64, "laptop", new_token())


def stored(line: TokenLine) -> TokenLine | None:
    return Credentials(state_directory() / "credentials").find(line.address)


def test_a_line_from_stdin_is_stored_for_us_alone() -> None:
    done = run("--login", input=f"  {LINE}  \nmore\n".encode())
    assert done.returncode == 0 and b"web.lan:7000" in done.stdout
    assert LINE.token.encode() not in done.stdout + done.stderr
    assert stored(LINE) == LINE
    assert stat.S_IMODE((state_directory() / "credentials").stat().st_mode) == 0o600


def test_a_second_line_for_the_same_server_replaces_the_first() -> None:
    newer = TokenLine(LINE.address, LINE.fingerprint, "other", new_token())
    for line in (LINE, newer):
        assert run("--login", input=str(line).encode()).returncode == 0
    assert stored(LINE) == newer


def test_a_line_pasted_at_a_terminal_is_not_shown() -> None:
    with Terminal(argv("rshell", "--login"), TerminalSize(200, 24)) as terminal:
        terminal.expect(b"Paste the line")
        terminal.type(f"{LINE}\r".encode())
        assert terminal.wait() == 0
        assert LINE.token.encode() not in terminal.seen and b"Stored" in terminal.seen
    assert stored(LINE) == LINE


def test_nothing_and_nonsense_are_refused_without_being_repeated() -> None:
    for text in (b"", b"\n", b"secret-thing\n", str(LINE).encode()[:-1]):
        done = run("--login", input=text)
        assert done.returncode == 255
        shown = only_line(done.stderr)
        assert "secret-thing" not in shown and LINE.token[:20] not in shown
    assert stored(LINE) is None


def test_a_line_that_can_not_be_read_is_told() -> None:
    with Path("/dev/null").open("wb") as write_only:
        done = run("--login", stdin=write_only)
        assert done.returncode == 255 and "can't read stdin" in only_line(done.stderr)
    done = run("--login", input=b"\xff\n")
    assert done.returncode == 255 and "not a token line" in only_line(done.stderr)
