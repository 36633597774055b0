"""`rshell --login`: from stdin or a terminal without echo, into a private file."""

from __future__ import annotations

import stat

from rshell.security.credentials import Credentials
from rshell.security.files import state_directory
from rshell.security.tokens import TokenLine, new_token
from rshell.values import Address, TerminalSize
from tests.support.commands import Terminal, argv, only_line, run

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
