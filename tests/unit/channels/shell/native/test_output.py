"""What of a shell's terminal is output: the bytes are fed whole, and cut at each place."""

from __future__ import annotations

import pytest

from rshell.channels.shell.native.output import OutputFilter, RecordReader
from rshell.channels.shell.native.startup import NativeKind, native_kind

EDITOR = b"\x1b[?2004h"
SIGN = "\x1b[2m⏎\x1b(B\x1b[m".encode() + b" " * 19 + "\r⏎ \r\x1b[K".encode()
ZSH_PROMPT = b"\r\x1b[0m\x1b[27m\x1b[24m\x1b[Jtwo\r\nlines> \x1b[K\x1b[?1h\x1b=" + EDITOR


def kind(name: str) -> NativeKind:
    found = native_kind("/bin/" + name)
    assert found is not None
    return found


class Run:
    """A filter that has seen the echo of a line."""

    def __init__(self, name: str, *, may_be_prompt: bool = False) -> None:
        the = kind(name)
        self.filter = OutputFilter(
            the.between, the.behind, the.opening, the.unfinished, lambda: may_be_prompt
        )
        self.filter.begin_echo()
        assert (
            self.filter.take(b"\x1b[7mecho\x1b[?2004l" + (b"\r\r\n" if name == "zsh" else b"\r"))
            == b""
        )

    def feed(self, *pieces: bytes) -> bytes:
        return b"".join(map(self.filter.take, pieces))


@pytest.mark.parametrize(
    ("name", "data", "output"),
    [
        ("fish", b"out\r\n" + SIGN, b"out\r\n"),
        ("fish", b"no newline" + SIGN + EDITOR, b"no newline"),
        ("fish", SIGN, b""),
        ("fish", "⏎ of its own\r".encode() + SIGN, "⏎ of its own\r".encode()),
        ("fish", b"\x1b[2mdim", b"\x1b[2mdim"),
        ("fish", "dim\x1b[2m⏎ ".encode(), "dim\x1b[2m⏎ ".encode()),
        ("fish", EDITOR + b">>> ", EDITOR + b">>> "),
        ("zsh", ZSH_PROMPT, ZSH_PROMPT),
        ("bash", b"a" + EDITOR + b"read> ", b"a" + EDITOR + b"read> "),
    ],
)
def test_what_a_shell_draws_before_its_report_is_no_output(
    name: str, data: bytes, output: bytes
) -> None:
    for at in range(len(data) + 1):
        run = Run(name)
        assert run.feed(data[:at], data[at:]) + run.filter.finish() == output, at
        run.filter.begin_idle(b"> ")
        idle = run.feed(b"\r", data[:at], data[at:]) if output == b"" else b""
        assert idle == b"", at


def test_a_prompt_without_hooks_is_held_until_it_is_known_for_one() -> None:
    for name, prompt in (
        ("bash", EDITOR + b"two\r\nlines> "),
        ("zsh", ZSH_PROMPT),
        ("fish", SIGN + EDITOR + b"two\r\nlines> "),
    ):
        run = Run(name, may_be_prompt=True)
        assert run.feed(b"out\r\n", prompt) == b"out\r\n", name
        assert run.filter.is_holding and run.filter.show() == prompt
        assert run.feed(b"more") == b"more" and not run.filter.is_holding
        assert run.feed(prompt, b"keys") == b""
        run.filter.begin_echo()
        assert run.feed(b"\x1b[?2004l") + run.filter.finish() == b""
    run = Run("bash", may_be_prompt=True)
    flood = b"x" * 70_000
    assert run.feed(EDITOR, flood) == EDITOR + flood  # no prompt is as long


def test_of_what_is_written_to_the_reports_the_records_are_taken() -> None:
    data = b"noise\0S\x001\0\xff\0K\x000\0L\0x\0C\x002\0a\0\0"
    wanted = [["S", "\udcff"], ["K"], ["C", "a", ""]]
    for at in range(len(data)):
        reader = RecordReader()
        assert reader.feed(data[:at]) + reader.feed(data[at:]) == wanted
