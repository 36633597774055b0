"""A server that was killed or stopped, and another one in its place, under a running command.

Strategy: each client has a command that notes in a file that it ran. Whatever becomes of the
server, the client ends with a clear word, and the file has one line.

Hazard: this machine may be slow to start the second server, so clients go through a relay that
is always there; a machine that refuses connections is given up after 3 seconds.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

import rshell
from rshell.aio import timeout
from rshell.errors import ResumeFailed, SessionClosed
from tests.support.commands import ServerProcess, argv, begin, read_line, run, serving
from tests.support.commands import until as wait_until
from tests.support.cutting import Cutter
from tests.support.terminal import ENTER, at_prompt

pytestmark = [
    pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl"),
    pytest.mark.parametrize("end", ["killed", "stopped", "stopped and cut"]),
]

DEADLINE = 120.0
COMMAND = "echo run >> ~/runs; echo u''p; sleep 1000"
WORDS = {
    "killed": "does not keep that session",
    "stopped": "the server is shutting down",
    "stopped and cut": "does not keep that session",
}


@asynccontextmanager
async def relayed() -> AsyncIterator[tuple[ServerProcess, Cutter]]:
    """Run the first server and a relay to wherever its port leads."""
    with serving("--port", "0") as server:
        async with timeout(DEADLINE), Cutter(server.port) as relay:
            yield server, relay


@contextmanager
def started_anew(first: ServerProcess) -> Iterator[ServerProcess]:
    """Run a second server on the port of the first, which may be draining still."""
    log = Path(os.environ["XDG_RUNTIME_DIR"]) / "second.log"
    with serving("--port", str(first.port), log=log) as second:
        assert run("-c", "echo next", second.address).stdout == b"next\n"
        yield second


@asynccontextmanager
async def replaced(
    first: ServerProcess, relay: Cutter, end: str, hear: Callable[[], None] = lambda: None
) -> AsyncIterator[None]:
    """End the first server and have another in its place.

    `hear` waits until the client was told, where that can be; the relay would cut that, too.
    """
    if end == "killed":
        first.popen.kill()
        first.popen.wait()
    else:
        first.popen.terminate()
        await asyncio.to_thread(wait_until, lambda: "draining" in first.complaints(), "draining")
        await asyncio.to_thread(hear)
    with started_anew(first):
        if end == "stopped and cut":
            await relay.cut()
        elif end == "stopped":
            first.popen.terminate()
        yield


def ran_once() -> bool:
    return Path(os.environ["HOME"], "runs").read_text() == "run\n"


async def test_a_oneshot_ends_with_a_word_and_runs_nothing_twice(end: str) -> None:
    async with relayed() as (first, relay):
        arguments = argv("rshell", "-c", COMMAND, relay.address)
        with begin(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as client:
            assert await asyncio.to_thread(read_line, client.stdout) == b"up"
            told: list[bytes] = []
            async with replaced(first, relay, end, lambda: told.append(read_line(client.stderr))):
                stdout, stderr = await asyncio.to_thread(client.communicate, timeout=DEADLINE)
                assert (client.returncode, stdout) == (255, b"")
                (line,) = stderr.decode().splitlines()
                assert line.startswith("rshell: ") and WORDS[end] in line
                assert len(told) == (0 if end == "killed" else 1)
                assert all(line.startswith(b"rshell: ") for line in told)
                assert ran_once()


async def test_a_program_gets_the_error_that_says_so_and_runs_nothing_twice(end: str) -> None:
    async with (
        relayed() as (first, relay),
        rshell.connect(relay.address) as client,
        client.open_process(COMMAND) as process,
    ):
        assert await process.stdout.readline() == b"up\n"
        async with replaced(first, relay, end):
            with pytest.raises(SessionClosed, match=WORDS[end]) as caught:
                await process.wait()
            assert isinstance(caught.value, ResumeFailed) is (end != "stopped")
            assert client.is_closed
            with pytest.raises(SessionClosed):
                await client.run("echo run >> ~/runs")
            assert ran_once()


async def test_a_prompt_ends_with_a_word_and_runs_nothing_twice(end: str) -> None:
    async with relayed() as (first, relay), at_prompt(relay.address) as person:
        person.send(COMMAND + ENTER)
        await person.wait_for("up")
        async with replaced(first, relay, end):
            assert await person.wait() == 255
            await person.see(WORDS[end])
            assert person.modes == person.before
            assert ran_once()
