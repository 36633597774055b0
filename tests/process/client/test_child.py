"""Links over the stdio of a program, which ends with its link; what it prints instead is quoted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import rshell
from rshell.client.child import ChildLink, local_server_argv
from rshell.errors import ConnectError, OpenTimeout
from rshell.values import Bounds

HASTY = Bounds(open_timeout=0.3)


async def test_a_program_that_never_answers_is_ended() -> None:
    with pytest.raises(OpenTimeout, match="opened no session"):
        await ChildLink.open(("sh", "-c", "cat > /dev/null"), HASTY)
    with pytest.raises(ConnectError, match="status 3"):
        await ChildLink.open(("sh", "-c", "exit 3"), Bounds())
    with pytest.raises(ConnectError, match="can't start"):
        await ChildLink.open(("/no/such/program",), Bounds())


async def test_a_program_deaf_to_the_end_of_its_input_is_killed() -> None:
    deaf = ("sh", "-c", "trap '' TERM; exec 0<&- 1>&-; while :; do sleep 0.05; done")
    with pytest.raises(ConnectError, match="status -9"):
        await ChildLink.open(deaf, Bounds(close_seconds=0.2))


def test_our_own_server_is_started_by_this_very_python_and_package() -> None:
    argv = local_server_argv(background=False)
    assert argv[0] == sys.executable and argv[-1] == "--stdio"
    root = Path(rshell.__file__).parents[1]
    done = subprocess.run(
        [*argv[:-1], "--version"], cwd="/", check=True, capture_output=True, text=True, env={}
    )
    assert str(root) in argv and done.stdout.split()[-1] == rshell.__version__


async def test_what_a_program_prints_before_the_protocol_is_quoted() -> None:
    """A banner was "a frame of 1466264675 bytes"."""
    server = " ".join(f"'{word}'" for word in local_server_argv(background=False))
    welcome = "printf 'Welcome \\033[31mto box\\n'"
    for script in (f"{welcome}; cat", f"{welcome}; exec {server}"):
        with pytest.raises(ConnectError) as caught:
            await ChildLink.open(("sh", "-c", script), Bounds())
        assert "'sh' printed 'Welcome \\x1b[31mto box\\n" in str(caught.value)
    with pytest.raises(ConnectError, match=r"'echo' printed 'hi\\n' .* status 0"):
        await ChildLink.open(("echo", "hi"), Bounds())
    with pytest.raises(ConnectError, match=r"'sh' printed 'hi\\n'"):
        await ChildLink.open(("sh", "-c", "echo hi; cat > /dev/null"), HASTY)
