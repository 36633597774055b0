"""Arguments and texts near the limits of the system, and beyond them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from rshell.errors import SpawnError
from rshell.execution.arguments import in_pieces
from rshell.execution.spawn import spawn
from rshell.values import ExitStatus
from tests.support.execution import command, finish, no_leak, on_terminal, piped

LONGEST = 32 * os.sysconf("SC_PAGE_SIZE") - 1
SHELLS = [name for name in ("sh", "bash", "dash", "zsh") if shutil.which(name)]


def padded(text: str, size: int) -> str:
    """Make a script so many bytes long, by what is not cut well everywhere."""
    room = size - len(text.encode()) - 2
    return f"{text}\n#" + "é" * (room // 2) + "x" * (room % 2)


async def test_a_text_of_any_length_is_run_by_each_shell_as_a_short_one() -> None:
    text = 'read -r line; echo $# "$0" "$1" $LINENO "$line"; exit 7'
    for shell in SHELLS:
        said = []
        for size in (100, LONGEST - 1, LONGEST, LONGEST + 1, 2 * LONGEST + 1):
            script = padded(text, size)
            assert len(script.encode()) == size
            async with piped(command(shell, "-c", script, "me", "a b", "c")) as running:
                assert await finish(*running) == ExitStatus(code=7), (shell, size)
                said.append(running[2].text)
        assert len(set(said)) == 1 and b"2 me a b" in said[0], shell
        # The name of a shell that was given none is its own.
        async with piped(command(shell, "-c", padded("echo $# $0", LONGEST + 9))) as running:
            await finish(*running)
            assert running[2].text == f"0 {shell}\n".encode()


async def test_a_long_text_is_run_on_a_terminal_too() -> None:
    script = padded("tty >/dev/null && echo é; exit 3", LONGEST + 9)
    async with on_terminal(command("bash", "-c", script)) as (process, source, output, _):
        assert await finish(process, source, output) == ExitStatus(code=3)
        assert output.text == "é\r\n".encode()


def test_pieces_hold_whole_characters_and_all_of_the_text() -> None:
    for size in range(LONGEST - 3, LONGEST + 4):
        text = "x" * (size % 4) + "é" * size
        found = in_pieces(("/bin/sh", "-c", text, "name", "argument"))
        pieces = [piece for piece in found[4:-1] if isinstance(piece, bytes)]
        assert b"".join(pieces).decode() == text
        assert all(len(piece) <= LONGEST and piece.decode() for piece in pieces)
        assert [found[0], found[1], found[3], found[-1]] == ["/bin/sh", "-c", "name", "argument"]
    binary = os.fsdecode(b"\x80" * (LONGEST + 9))  # no UTF-8, which is cut anywhere
    assert b"".join(map(os.fsencode, in_pieces(("sh", "-c", binary))[4:])) == os.fsencode(binary)
    for argv in (("true", "-c", text), ("sh", "-x", text), ("sh", "-c", "short"), ("sh", "-c")):
        assert in_pieces(argv) == list(argv)


async def test_what_is_too_large_is_named_with_its_limit(tmp_path: Path) -> None:
    env = dict(os.environ)
    stranger = tmp_path / "fish"
    stranger.symlink_to("/bin/true")
    long = "x" * (LONGEST + 1)
    for what, said in (
        (command("true", long), f"an argument of {len(long)} bytes"),
        (command(str(stranger), "-c", long), f"an argument of {len(long)} bytes"),
        (command("true", env=env | {"LONG": long}), f"the variable LONG of {len(long) + 5} bytes"),
        (command("true", *["x" * LONGEST] * 40), "arguments and environment of"),
    ):
        null = os.open(os.devnull, os.O_RDWR)
        try:
            with no_leak(), pytest.raises(SpawnError, match=said) as caught:
                spawn(what, dict.fromkeys((0, 1, 2), null))
        finally:
            os.close(null)
        assert caught.value.status == 126
