"""The client's side of the witness: start it, tell it of each session, and let it go.

A program has one witness for all its sessions, started for the first of them that has lived for
`Limits.witness_after` seconds: what ends sooner costs nothing. It is told of a session and of each
new secret, and of the session's end. When the last session ends in good order the witness is
killed, which is sooner than waiting for it; it has nothing left to tell.

A witness that died or does not read is replaced, one that can't be started is done without. All
that is lost is that the server keeps a killed client's session until its window is over.

Hazards:
- A descriptor of the pipe in any other process would hide our end. It is never inheritable, but a
  program that forks without exec (multiprocessing's "fork") copies it all the same. What such a
  child says of our sessions is not heard: it is no longer the process that began them.
- A pipe holds a hundred lines, and a program may have a thousand sessions before its witness has
  begun to read. They wait for it then; killed as deaf, it would be started for each of them anew.
- In a program that was frozen into one file `sys.executable` is the program itself, and starting it
  would start all of it once more. There is no witness there.
"""

from __future__ import annotations

import itertools
import json
import os
import select
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

from rshell.aio import in_thread
from rshell.security.credentials import Trust
from rshell.values import Address

_PATIENCE = 1.0  # seconds, for a witness to begin to read
_LONGEST = 86400.0  # seconds that a witness tries for, however long a client would come back
_START = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); "
    "from rshell.client.witness import main; main()"
)


class _Witness:
    """The process. It is told `lines`, and told them all again where it had to be replaced."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self.lines: dict[int, bytes] = {}
        self._lock = threading.Lock()  # sessions may belong to several threads
        self._popen: subprocess.Popen[bytes] | None = None
        self._fd = -1
        self._has_work = False  # it tells something on its own, and ends later

    def note(self, number: int, line: bytes) -> None:
        """Keep `line` for session `number` instead of what was there."""
        with self._lock:
            self.lines[number] = line
            if self._popen is None or not self._write(number, line):
                self._discard()
                self._start()

    def drop(self, number: int, *, tells: bool) -> None:
        """Forget a session; with `tells` the server is told that it is over."""
        with self._lock:
            if self.lines.pop(number, None) is None or self._popen is None:
                return
            is_told = self._write(number, b"!" if tells else b"")
            self._has_work = self._has_work or (tells and is_told)
            if not self.lines:
                self._let_go()

    def _start(self) -> None:
        if not sys.executable or getattr(sys, "frozen", False):
            return
        root = str(Path(__file__).resolve().parents[2])
        env = {name: value for name, value in os.environ.items() if name != "RSHELL_TOKEN"}
        with suppress(OSError):  # no process to be had: see the module's theory
            reading, self._fd = os.pipe()
            try:
                os.set_blocking(self._fd, False)
                self._popen = subprocess.Popen(
                    [sys.executable, "-I", "-S", "-c", _START, root],
                    stdin=reading,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    cwd="/",
                    env=env,
                    start_new_session=True,
                )
            finally:
                os.close(reading)
                if self._popen is None:
                    self._close_pipe()
            for number, line in self.lines.items():
                if not self._write(number, line):
                    break  # this one is no better

    def _write(self, number: int, line: bytes) -> bool:
        """Write one line, whole or not at all; False if the witness is dead or deaf."""
        text = (b"%d %b" % (number, line)).rstrip() + b"\n"
        try:
            return self._try_to_write(text) == len(text)
        except OSError:
            return False

    def _try_to_write(self, text: bytes) -> int:
        try:
            return os.write(self._fd, text)
        except BlockingIOError:  # a hundred sessions fill the pipe of one that has just begun
            poll = select.poll()
            poll.register(self._fd, select.POLLOUT)
            poll.poll(_PATIENCE * 1000)
            return os.write(self._fd, text)

    def _let_go(self) -> None:
        if self._has_work and self._popen is not None:
            self._has_work = False
            self._close_pipe()
            in_thread(self._popen.wait, "the witness")
            self._popen = None
        self._discard()

    def _discard(self) -> None:
        self._close_pipe()
        if self._popen is not None:
            self._popen.kill()
            self._popen.wait()
            self._popen = None

    def _close_pipe(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


_numbers = itertools.count(1)
_witness = _Witness()


class Testimony:
    """What the witness knows of one session: the way to its server, and its present secret."""

    def __init__(
        self, address: Address, trust: Trust | None, ca: Path | str | None, window: float
    ) -> None:
        self._number = next(_numbers)
        self._owner = os.getpid()
        self._way = {
            "address": str(address),
            "identity": None if trust is None else trust.identity,
            "token": None if trust is None else trust.token,
            "fingerprint": None if trust is None else trust.fingerprint,
            "ca": str(ca.absolute()) if isinstance(ca, Path) else ca,
            "window": min(window, _LONGEST),
        }

    def note(self, session: str, secret: str) -> None:
        """Have the session ended if this process is killed; also for each new secret. No raising.

        Starting the witness blocks about as long as starting any command, once.
        """
        global _witness
        if self._owner != os.getpid():
            return
        if _witness.owner != self._owner:
            _witness = _Witness()  # this process was forked from one that has its own
        facts = self._way | {"session": session, "secret": secret}
        _witness.note(self._number, json.dumps(facts).encode("ascii"))

    def withdraw(self, *, tells: bool) -> None:
        """Forget the session, which is over; with `tells` the server has not heard of it yet."""
        if self._owner == os.getpid() == _witness.owner:
            _witness.drop(self._number, tells=tells)
