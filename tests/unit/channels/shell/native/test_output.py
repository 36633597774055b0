"""What the user's own shell draws is told from what its commands print, however it comes cut."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rshell.channels.shell.native.output import OutputFilter
from rshell.channels.shell.native.startup import UNKNOWN, native_kind

# What each draws around a line, as it was recorded: until the echo is at its end, and behind it.
ECHOES = {
    "bash": b"$ echo hi\r\n\x1b[?2004l\r",
    "zsh": b"\x1b[1m\x1b[0mecho hi\x1b[?1l\x1b>\x1b[?2004l\r\r\n",
    "fish": b"echo hi\r\n\x1b[30m\x1b(B\x1b[m\x1b[?2004l\x1b]0;echo hi\x07\x1b[30m\x1b(B\x1b[m\r",
}

EDITOR = b"\x1b[?2004h"
SIGN = "\x1b[2m⏎\x1b(B\x1b[m".encode() + b" " * 19 + "\r⏎ \r\x1b[K".encode()
ZSH_MARK = b"\x1b[1m\x1b[7m%\x1b[27m\x1b[1m\x1b[0m" + b" " * 19 + b"\r \r"
ZSH_PROMPT = b"\r\x1b[0m\x1b[27m\x1b[24m\x1b[Jtwo\r\nlines> \x1b[K\x1b[?1h\x1b=" + EDITOR


def every_split(data: bytes) -> Iterator[list[bytes]]:
    """Yield `data` in two pieces cut at each place, and byte by byte."""
    for at in range(len(data) + 1):
        yield [data[:at], data[at:]]
    yield [data[at : at + 1] for at in range(len(data))]


def new_filter(shell: str, *, may_be_prompt: bool = False) -> OutputFilter:
    kind = native_kind("/bin/" + shell)
    assert kind is not None
    return OutputFilter(kind.drawing, lambda: may_be_prompt)


def passed(shell: str, pieces: list[bytes]) -> bytes:
    """Return what is output of a line whose echo begins with these pieces."""
    output = new_filter(shell)
    output.begin_echo()
    return b"".join(map(output.take, pieces)) + output.finish()


@pytest.mark.parametrize("shell", ECHOES)
@pytest.mark.parametrize("said", [b"", b"hi\r\n", b"\r50 %\r", b"\x1b[31mred\x1b[m\r\n", b"\x1b"])
def test_the_echo_is_dropped_and_the_output_whole_at_every_cut(shell: str, said: bytes) -> None:
    for pieces in every_split(ECHOES[shell] + said):
        assert passed(shell, pieces) == said, pieces


def test_a_line_that_is_drawn_again_behind_its_echo_is_dropped() -> None:
    """As zsh does where a plugin colours lines."""
    again = b"\x1b[0m\x1b[39m\r\x1b[32me\x1b[39mcho\r\n\x1b[A\rcho\n\r\r\n"
    for pieces in every_split(ECHOES["zsh"][:-3] + again + b"\r\nhi\r\r\n"):
        assert passed("zsh", pieces) == b"\r\nhi\r\r\n", pieces


def test_an_editor_without_bracketed_paste_fills_the_first_line() -> None:
    for pieces in every_split(b"$ echo hi\r\nhi\r\n"):
        assert passed("bash", pieces) == b"hi\r\n"


def test_an_echo_of_any_length_is_not_kept() -> None:
    output = new_filter("bash")
    output.begin_echo()
    for _ in range(100):
        assert output.take(bytes(1 << 20)) == b""
    assert output.is_echoing
    assert output.take(b"\x1b[?2004l\rhi") == b"hi"


def test_what_a_job_prints_at_the_prompt_is_output_and_the_prompt_is_not() -> None:
    output = new_filter("bash")
    output.begin_idle(b"\1\x1b[32m\2me$ ")
    assert output.take(b"\x1b[?2004h\x1b[32mme$ ") == b""
    assert output.take(b"job done\r\n") == b"job done\r\n"
    assert output.take(b"again\r\n\x1b[?2004h\x1b[K") == b"again\r\n"
    assert output.take(b"\x07\x1b[K\r") == b""


def test_the_echo_of_an_interrupt_is_dropped_before_its_report_and_behind_it() -> None:
    output = new_filter("bash")
    output.begin_idle(b"")
    output.begin_interrupt()
    assert output.take(b"^C\r\n") == b""
    output.begin_idle(b"")
    assert output.take(b"^C\r\nsaid by a job\r\n") == b"said by a job\r\n"
    assert output.take(b"^C is said by another\r\n") == b"^C is said by another\r\n"
    output.begin_idle(b"")  # without an interrupt
    assert output.take(b"^C\r\n") == b"^C\r\n"


def test_a_line_editor_of_a_command_is_seen_at_every_cut() -> None:
    for pieces in every_split(b"name? \x1b[?2004h"):
        output = new_filter("bash")
        assert b"".join(map(output.take, pieces)) == b"name? \x1b[?2004h"
        assert output.sees_editor


def test_a_key_of_ours_that_came_when_the_editor_had_gone_is_no_output() -> None:
    for end in (OutputFilter.show, OutputFilter.finish):
        output = new_filter("bash", may_be_prompt=True)
        assert output.take(b"said \x1b[?2004hmore ") == b"said "
        assert output.is_holding and not output.sees_editor
        assert output.take(b"x\r\n\x1b[?2004l\r^[[7772~out\r\n") == b""
        assert end(output).endswith(b"more x\r\n\x1b[?2004l\rout\r\n")


@given(st.lists(st.binary(max_size=20)))
def test_a_program_that_is_no_shell_of_ours_is_passed_as_it_is(pieces: list[bytes]) -> None:
    output = OutputFilter(UNKNOWN.drawing)
    assert b"".join(map(output.take, pieces)) + output.finish() == b"".join(pieces)


class Run:
    """A filter that has seen the echo of a line."""

    def __init__(self, name: str, *, may_be_prompt: bool = False) -> None:
        self.filter = new_filter(name, may_be_prompt=may_be_prompt)
        self.filter.begin_echo()
        assert self.feed(ECHOES[name]) == b""

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
        ("zsh", b"no newline" + ZSH_MARK, b"no newline"),
        ("zsh", b"\x1b[1m\x1b[7mbright", b"\x1b[1m\x1b[7mbright"),
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
        for at in range(len(prompt)):
            run = Run(name, may_be_prompt=True)
            shown = run.feed(b"out\r\n", prompt[:at], prompt[at:])
            assert shown.rstrip(b"\r\n\x1b[?0247mh") == b"out", (name, at)  # no more than a piece
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
