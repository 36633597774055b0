"""Starting the commands by the zygote: what tests hold is a `Popen` like any other.

Hazard: the process is not a child of the tests' own, so only the `Popen` knows its status.
"""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.zygote import PROGRAMS

_ROOT = Path(__file__).resolve().parents[2]
_DEADLINE = 60.0
_TAKEN = {"stdin", "stdout", "stderr", "env", "cwd", "start_new_session"}


class Zygote:
    """The process that forks. It ends with this object's `close`, or with the tests."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            # Ctrl-C at the tests' terminal is not for it.
            self._popen = subprocess.Popen(
                [sys.executable, "-m", "tests.support.zygote", str(theirs.fileno())],
                env={**os.environ, "PYTHONPATH": str(_ROOT)},
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                stdin=subprocess.DEVNULL,
            )
        self._is_ready = False

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._popen.pid

    def ask(self, request: Mapping[str, Any], fds: list[int]) -> None:
        """Have it fork; see tests/support/zygote.py. The descriptors stay the caller's."""
        if not self._is_ready:
            self._control.settimeout(_DEADLINE)
            assert self._control.recv(100) == b"ready"
            self._is_ready = True
        socket.send_fds(self._control, [json.dumps(request).encode()], fds)

    def close(self) -> None:
        """End it."""
        self._control.close()
        self._popen.wait(_DEADLINE)


class Forked(subprocess.Popen[bytes]):
    """A command that the zygote started. `argv` is what would have been executed."""

    def __init__(
        self, zygote: Zygote, argv: list[str], *, terminal: str | None = None, **options: Any
    ) -> None:
        self._zygote = zygote
        self._request = {
            "program": argv[2],
            "arguments": argv[3:],
            "env": dict(options.get("env") or os.environ),
            "cwd": None if options.get("cwd") is None else str(options["cwd"]),
            "new_session": bool(options.get("start_new_session")) or terminal is not None,
            "terminal": terminal,
        }
        self._told = -1
        super().__init__(argv, **options)

    def _execute_child(self, *given: Any) -> None:
        pipes = given[10:16]  # stdin, stdout, stderr: what the child reads or writes, and we
        wanted = (pipes[0], pipes[3], pipes[5])
        told, tell = os.pipe()
        try:
            self._zygote.ask(
                self._request,
                [*(ours if fd == -1 else fd for ours, fd in enumerate(wanted)), tell],
            )
        except BaseException:
            os.close(told)
            raise
        finally:
            os.close(tell)
            self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]
        self._told = told
        self._rest = b""
        self.pid = self._next()
        self._child_created = True

    def _next(self) -> int:
        while b"\n" not in self._rest:
            data = os.read(self._told, 100)
            if not data:
                raise RuntimeError("the zygote has died")
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return int(line)

    def _internal_poll(self, *_: Any, **__: Any) -> int | None:
        self._listen(0)
        return self.returncode

    def _wait(self, timeout: float | None) -> int:
        if not self._listen(timeout):
            assert timeout is not None
            raise subprocess.TimeoutExpired(self.args, timeout)
        return self.returncode

    def _listen(self, timeout: float | None) -> bool:
        """Wait for the end; return whether there was one."""
        if self.returncode is not None:
            return True
        if b"\n" not in self._rest:
            poll = select.poll()
            poll.register(self._told, select.POLLIN)
            if not poll.poll(None if timeout is None else timeout * 1000):
                return False
        with self._waitpid_lock:  # type: ignore[attr-defined]
            if self.returncode is None:
                self.returncode = self._next()
                os.close(self._told)
        return True


class _Kept:
    """The zygote of this run of the tests, once there is one."""

    zygote: Zygote | None = None


def start_zygote() -> None:
    """Start the zygote, where there can be one; what is started from now on is forked."""
    if sys.platform == "linux" and _Kept.zygote is None:
        _Kept.zygote = Zygote()


def stop_zygote() -> None:
    """End the zygote; what is started from now on is executed. It may have been none."""
    if _Kept.zygote is not None:
        _Kept.zygote.close()
        _Kept.zygote = None


def zygote_pid() -> int | None:
    """Return the zygote's process id, None where there is none."""
    return None if _Kept.zygote is None else _Kept.zygote.pid


def start(argv: list[str], *, really: bool = False, **options: Any) -> subprocess.Popen[bytes]:
    """Start a process: by the zygote where it is one of the commands, unless `really`."""
    zygote = None if really else _fork_for(argv, options)
    if zygote is not None:
        return Forked(zygote, argv, **options)
    return subprocess.Popen(argv, **options)


def start_on_terminal(
    argv: list[str], terminal: str, *, really: bool = False, **options: Any
) -> subprocess.Popen[bytes]:
    """Start a process as the leader of a session on a terminal, which is its stdin and so on."""
    zygote = None if really else _fork_for(argv, options)
    if zygote is not None:
        return Forked(zygote, argv, terminal=terminal, **options)
    open_terminal = ["/bin/sh", "-c", 'exec "$@" <>"$0" >"$0" 2>&1', terminal]
    return subprocess.Popen([*open_terminal, *argv], start_new_session=True, **options)


def _fork_for(argv: list[str], options: Mapping[str, Any]) -> Zygote | None:
    is_command = len(argv) > 2 and argv[:2] == [sys.executable, "-m"] and argv[2] in PROGRAMS
    return _Kept.zygote if is_command and options.keys() <= _TAKEN else None
