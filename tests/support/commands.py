"""The real commands as processes, a person at a real terminal, and waiting for what they do.

Everything that is started here is ended and waited for by the context manager that started it.
Directories and environment are those of the test (see tests/conftest.py); `elsewhere` gives those
of another machine. The commands are forked from a process that has imported them (see
tests/support/forked.py); with `really`, or on systems without it, Python is started for them.

`limits` in here is what a command's `Bounds` differ in, by name: `{"kill_grace": 0.3}`.
"""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from rshell.terminal.pty import set_size
from rshell.values import TerminalSize
from tests.support.forked import start, start_on_terminal

ROOT = Path(__file__).resolve().parents[2]
DEADLINE = 60.0

_MEASURE = (
    "import os, subprocess, sys\n"
    "child = subprocess.Popen(sys.argv[2:])\n"
    "_, status, usage = os.wait4(child.pid, 0)\n"
    "open(sys.argv[1], 'w').write(str(usage.ru_maxrss))\n"
    "child.returncode = os.waitstatus_to_exitcode(status)\n"
    "sys.exit(child.returncode)\n"
)

Done = subprocess.CompletedProcess[bytes]
Changes = Mapping[str, float]


def until(condition: Callable[[], object], what: str) -> None:
    """Look again and again until `condition` holds; fail after the deadline."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, f"never came: {what}"
        time.sleep(0.01)


def argv(command: str, *arguments: str, limits: Changes | None = None) -> list[str]:
    """Return what starts `command` (rshell, server or token) with this very Python."""
    if limits is None:
        return [sys.executable, "-m", f"rshell.cli.{command}", *arguments]
    limited = ["tests.support.limited", command, json.dumps(dict(limits))]
    return [sys.executable, "-m", *limited, *arguments]


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of this test for a command."""
    return {**os.environ, "PYTHONPATH": str(ROOT), **(more or {})}


def elsewhere(directory: Path) -> dict[str, str]:
    """Return what makes another machine of this one: directories where nothing is yet."""
    return {
        "XDG_STATE_HOME": str(directory / "state"),
        "XDG_CONFIG_HOME": str(directory / "config"),
    }


def run(
    *arguments: str,
    command: str = "rshell",
    input: bytes | None = None,
    env: Mapping[str, str] | None = None,
    limits: Changes | None = None,
    **options: Any,
) -> Done:
    """Run a command to its end, with an empty stdin unless there is `input`."""
    options.setdefault("stdin", subprocess.DEVNULL if input is None else subprocess.PIPE)
    for name in ("stdout", "stderr"):
        options.setdefault(name, subprocess.PIPE)
    with begin(argv(command, *arguments, limits=limits), env=env, **options) as popen:
        stdout, stderr = popen.communicate(input, timeout=DEADLINE)
    return Done(popen.args, popen.returncode, stdout, stderr)


def measured(report: Path, *arguments: str) -> list[str]:
    """Return an argv that runs `rshell` and writes its peak memory in KiB to `report`.

    Its parent must be small: Linux counts what a process was before it became the command.
    """
    return [sys.executable, "-I", "-S", "-c", _MEASURE, str(report), *argv("rshell", *arguments)]


@contextlib.contextmanager
def begin(
    arguments: list[str], *, env: Mapping[str, str] | None = None, **options: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a process; it is killed, if it still runs, and its pipes are closed at the end."""
    options.setdefault("stdin", subprocess.DEVNULL)
    with start(arguments, env=environment(env), **options) as popen:
        try:
            yield popen
        finally:
            popen.kill()
            popen.send_signal(signal.SIGCONT)
            for pipe in (popen.stdout, popen.stderr):
                if pipe is not None:
                    pipe.close()
            if popen.stdin is not None:
                with contextlib.suppress(OSError):
                    popen.stdin.close()


@dataclass
class ServerProcess:
    """A running `rshell-server`: where it listens, who it is, and what it complains of."""

    popen: subprocess.Popen[bytes]
    addresses: list[str]
    fingerprint: str
    welcome: list[str]
    log: Path

    @property
    def address(self) -> str:
        """The first address."""
        return self.addresses[0]

    @property
    def port(self) -> int:
        """The port of the first address."""
        return int(self.address.rpartition(":")[2])

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.popen.pid

    def complaints(self) -> str:
        """Return what it has written on stderr."""
        return self.log.read_text()

    def memory(self) -> int:
        """Return its resident memory in bytes."""
        text = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii", errors="replace")
        found = re.search(r"VmRSS:\s+(\d+) kB", text)
        assert found
        return int(found[1]) * 1024

    def stop(self) -> int:
        """Ask it to end at once, whatever runs, and return its status."""
        self.popen.send_signal(signal.SIGINT)
        return self.popen.wait(DEADLINE)


@contextlib.contextmanager
def serving(
    *arguments: str,
    env: Mapping[str, str] | None = None,
    log: Path | None = None,
    limits: Changes | None = None,
    **options: Any,
) -> Iterator[ServerProcess]:
    """Run `rshell-server`, on a free port unless told otherwise, until the block is left."""
    where = list(arguments) or ["--port", "0"]
    path = log or Path(os.environ["XDG_RUNTIME_DIR"]) / "server.log"
    with (
        path.open("wb") as stderr,
        begin(
            argv("server", *where, limits=limits),
            env=env,
            stdout=subprocess.PIPE,
            stderr=stderr,
            **options,
        ) as popen,
    ):
        first = _line(popen, path)
        addresses = first.partition(" at ")[2].split(", ")
        lines = [first]
        has_tls = any(not address.startswith("unix:") for address in addresses)
        while len(lines) < (4 if has_tls else 2):
            lines.append(_line(popen, path))
        server = ServerProcess(
            popen=popen,
            addresses=addresses,
            fingerprint=lines[1].partition("SHA256:")[1] + lines[1].partition("SHA256:")[2],
            welcome=lines,
            log=path,
        )
        try:
            yield server
        finally:
            if popen.poll() is None:
                server.stop()


def _line(popen: subprocess.Popen[bytes], log: Path) -> str:
    assert popen.stdout is not None
    text = popen.stdout.readline().decode()
    assert text.endswith("\n"), f"the server did not start: {log.read_text()}"
    return text.rstrip("\n")


def read_line(pipe: IO[bytes] | None) -> bytes:
    """Return the next line of a process's output, without its newline."""
    assert pipe is not None
    line = pipe.readline()
    assert line.endswith(b"\n"), f"ended after {line!r}"
    return line[:-1]


def only_line(text: bytes) -> str:
    """Return the one line, of `rshell` itself, that `text` must be."""
    shown = text.decode()
    assert shown.count("\n") == 1 and shown.startswith("rshell: "), shown
    return shown.rstrip("\n")


class Terminal:
    """A person at a terminal, and one command on it. `modes` are what the terminal is set to."""

    def __init__(self, arguments: list[str], size: TerminalSize) -> None:
        self._master, self._slave = pty.openpty()
        set_size(self._master, size)
        self.seen = b""  # what was shown and not expected yet
        self.passed = b""  # what was shown before
        self.popen = start_on_terminal(
            arguments, os.ttyname(self._slave), env=environment({"TERM": "xterm"})
        )

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.popen.kill()
        self.popen.wait()
        os.close(self._master)
        os.close(self._slave)

    @property
    def modes(self) -> list[Any]:
        """The modes, for comparison."""
        return termios.tcgetattr(self._slave)

    def type(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._master, keys)

    def resize(self, size: TerminalSize) -> None:
        """Give the window another size."""
        set_size(self._master, size)

    def expect(self, part: bytes) -> None:
        """Wait until `part` has been shown after what was expected before."""
        end = time.monotonic() + DEADLINE
        while part not in self.seen:
            left = end - time.monotonic()
            ready, _, _ = select.select([self._master], [], [], max(0.0, left))
            assert ready, f"never shown: {part!r}; but {self.seen[-2000:]!r}"
            self.seen += os.read(self._master, 65536)
        before, found, self.seen = self.seen.partition(part)
        self.passed += before + found

    def wait(self) -> int:
        """Wait for the command's end, reading on; return its status."""
        ended = threading.Event()
        reader = threading.Thread(target=self._drain, args=(ended,))
        reader.start()
        try:
            return self.popen.wait(DEADLINE)
        finally:
            ended.set()
            reader.join()

    def _drain(self, ended: threading.Event) -> None:
        while True:
            is_over = ended.is_set()  # asked before the look, or the last words would be missed
            if select.select([self._master], [], [], 0.0 if is_over else 0.05)[0]:
                self.seen += os.read(self._master, 65536)
            elif is_over:
                return
