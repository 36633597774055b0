"""Rows about the interactive prompt: when it is there, and how long one command takes it."""

from __future__ import annotations

import os
import pty
import re
import select
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

from rshell.terminal.pty import set_size
from rshell.values import TerminalSize
from tests.benchmarks.bench import Bench
from tests.benchmarks.result import Result, at_most

_DEADLINE = 60.0
_SEQUENCE = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|[@-Z\\-_])")
_DIRECTORIES = ("/", "/tmp")


def prompt(bench: Bench) -> list[Result]:
    """Start the prompt, run a builtin, and press a key, each until it shows."""
    shown, ran, echoed = [], [], []
    for _ in range(bench.effort.starts):
        start = time.perf_counter()
        with _Prompt(bench).running() as screen:
            screen.wait_for(rb"@[^\n]*[#$]")
            shown.append(time.perf_counter() - start)
            for directory in _DIRECTORIES * 3:
                start = time.perf_counter()
                screen.type(f"cd {directory}\r".encode())
                screen.wait_for(rb":%b ?[#$]" % directory.encode())
                ran.append(time.perf_counter() - start)
            start = time.perf_counter()
            screen.type(b"x")
            screen.wait_for(rb"x")
            echoed.append(time.perf_counter() - start)
    return [
        Result("prompt visible", _ms(shown), "", at_most(450, "ms"), median(shown) * 1e3),
        Result("prompt to prompt, cd", _ms(ran), "", at_most(10, "ms"), median(ran) * 1e3),
        Result("key at the prompt", _ms(echoed)),
    ]


class _Prompt:
    """The client on a terminal of our own."""

    def __init__(self, bench: Bench) -> None:
        self._env = bench.server.env | {"RSHELL_TOKEN": bench.server.token, "TERM": "xterm"}
        self._address = bench.server.address
        self._master = -1
        self._seen = b""

    @contextmanager
    def running(self) -> Iterator[_Prompt]:
        """Start the client, and end it with the block."""
        pid, self._master = pty.fork()
        if not pid:
            argv = [sys.executable, "-m", "rshell.cli.rshell", self._address]
            os.execve(sys.executable, argv, self._env)
        try:
            set_size(self._master, TerminalSize(80, 24))
            yield self
        finally:
            os.close(self._master)
            os.waitpid(pid, 0)

    def type(self, keys: bytes) -> None:
        """Type, and forget what was on the screen."""
        self._seen = b""
        os.write(self._master, keys)

    def wait_for(self, pattern: bytes) -> None:
        """Read until the plain text of what was shown matches."""
        end = time.monotonic() + _DEADLINE
        while not re.search(pattern, _SEQUENCE.sub(b"", self._seen).replace(b"\r", b"")):
            ready, _, _ = select.select([self._master], [], [], end - time.monotonic())
            assert ready, f"never shown: {pattern!r}; but {self._seen!r}"
            part = os.read(self._master, 65536)
            self._seen += part
            if b"\x1b[6n" in part:  # where is the cursor? a terminal answers that
                os.write(self._master, b"\x1b[1;1R")


def _ms(samples: list[float]) -> str:
    return f"{median(samples) * 1e3:.3g} ms"
