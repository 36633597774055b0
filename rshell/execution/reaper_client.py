"""The server's side of the reaper: start it, tell it which sessions live, stop it.

The reaper starts with the first process and hears of each by a few bytes on a pipe
whose only write end is ours. However this process ends, the kernel closes that end, and the reaper
acts. Its own end is watched: another takes its place at once and is told of all that live. One
that no longer reads is replaced when it should hear of something.

Hazards:
- A descriptor of that pipe in any other process would hide our end. It is never inheritable, but a
  program that forks without exec (multiprocessing's "fork") copies it all the same and delays the
  reaper until that copy ends.
- A reaper that can't run at all ends again and again: a second lies between two that ended so.
- A server and its reaper that are killed in the same moment leave commands alive. So does, as long
  as it is stopped, a reaper that was stopped.
- Between the start of a command and `add` the server may be killed, which happens under load: a
  process that is started takes half a millisecond, and whoever starts it may have to wait for its
  turn. So the reaper hears of a start before it happens, by a pipe that the new process will hold.
  Where it will hold none (a terminal, which hangs up) this is not so.
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from pkgutil import get_data
from stat import S_ISFIFO

from rshell.aio import timeout
from rshell.execution.children import note_reaped, note_started
from rshell.execution.reaper import Spare
from rshell.execution.running_process import ExitWatch

# Its source comes first on its stdin: a server that runs from a zip has no file to start.
_START = """\
import os, sys  # rshell: ends what a killed server leaves
size, source = int(sys.argv.pop(1)), b""
while len(source) < size and (part := os.read(0, size - len(source))):
    source += part
exec(compile(source, "reaper.py", "exec"))
"""
_STALLED_MS = 500  # a reaper that reads nothing for so long is replaced
_CLOSE_MARGIN = 2.0
_PAUSE = 1.0  # seconds between two that start and end

_log = logging.getLogger(__name__)


class Reaper:
    """Sees to it that what is registered does not outlive this process.

    `grace` is what the reaper leaves between SIGTERM and SIGKILL, in seconds. Not thread-safe;
    one serves a whole server. It has to be closed.
    """

    def __init__(self, grace: float = 5.0) -> None:
        self._grace = grace
        self._live: set[int] = set()
        self._popen: subprocess.Popen[bytes] | None = None
        self._fd = -1
        self._watch: ExitWatch | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._earliest = 0.0  # when the next may take the place of one that died
        self._warned = False

    @property
    def pid(self) -> int | None:
        """The reaper's process, None while there is none."""
        return self._popen.pid if self._popen is not None else None

    def add(self, pid: int) -> None:
        """Guard the session that `pid` leads. Never raises: without a reaper, commands still run.

        Starting it blocks about as long as starting any command, once.
        """
        self._live.add(pid)
        if self._fd >= 0 and self._tell(b"+%d\n" % pid):
            return
        self._start()

    def expect(self, fds: Iterable[int]) -> None:
        """Say that a process is about to be started with `fds` of ours; `add` follows.

        With none of them, none is, after all. Never raises, as `add`.
        """
        if self._fd < 0:
            self._start()
        pipe = b""
        for fd in fds:
            if S_ISFIFO((status := os.fstat(fd)).st_mode):
                pipe = b"pipe:[%d]" % status.st_ino
                break
        if self._fd >= 0:
            self._tell(b"?%s\n" % pipe)

    def remove(self, pid: int) -> None:
        """Forget `pid`; to be called before it is reaped, while the number is still its own."""
        if pid in self._live:
            self._live.discard(pid)
            if self._fd >= 0 and not self._tell(b"-%d\n" % pid) and self._live:
                self._start()

    async def close(self) -> None:
        """Stop the reaper and wait for its end: milliseconds if nothing is registered.

        What is still registered it ends as if the server had died, which takes up to the grace.
        Cancelling kills the reaper at once, and what is registered stays alive.
        """
        popen, self._popen = self._popen, None
        Spare.drop()
        self._stop_watching()
        self._close_pipe()
        self._live.clear()
        if popen is None:
            return
        ended = asyncio.Event()
        watch = ExitWatch(asyncio.get_running_loop(), popen, lambda _: ended.set())
        try:
            with suppress(TimeoutError):
                async with timeout(self._grace + _CLOSE_MARGIN):
                    await ended.wait()
        finally:
            watch.close()
            popen.kill()
            popen.wait()
            note_reaped(popen)

    def _start(self) -> None:
        """Replace the reaper, if there is one, and tell the new one of all that live."""
        Spare.keep()  # from the first command on: this process ends them where it can
        self._discard()
        try:
            source = get_data("rshell.execution", "reaper.py")
            assert source is not None
            read_fd, self._fd = os.pipe()
            try:
                self._popen = subprocess.Popen(
                    [
                        *(sys.executable, "-I", "-S", "-c", _START),
                        *(str(len(source)), str(self._grace)),
                    ],
                    stdin=read_fd,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    cwd="/",
                    start_new_session=True,
                )
            finally:
                os.close(read_fd)
        except OSError as error:
            self._close_pipe()
            if not self._warned:
                self._warned = True
                _log.warning("commands would outlive a kill -9 of this server: %s", error)
            return
        note_started(self._popen)
        os.set_blocking(self._fd, False)
        if self._tell(source + b"".join(b"+%d\n" % pid for pid in self._live)):
            self._watch_end(self._popen)

    def _watch_end(self, popen: subprocess.Popen[bytes]) -> None:
        with suppress(RuntimeError):  # the loop has ended, or there is no thread: see `add`
            loop = asyncio.get_running_loop()
            self._watch = ExitWatch(loop, popen, lambda _: self._died(loop))
            self._earliest = loop.time() + _PAUSE

    def _died(self, loop: asyncio.AbstractEventLoop) -> None:
        """It has ended, and not because we wanted it."""
        self._discard()
        if self._live:
            wait = self._earliest - loop.time()
            self._timer = loop.call_later(max(0.0, wait), self._start)

    def _tell(self, text: bytes) -> bool:
        """Write all of `text`; False if the reaper is dead or deaf, and then it is no more."""
        view = memoryview(text)
        while view:
            try:
                view = view[os.write(self._fd, view) :]
            except BlockingIOError:
                # It empties the pipe within microseconds unless it was stopped.
                poll = select.poll()
                poll.register(self._fd, select.POLLOUT)
                if not poll.poll(_STALLED_MS):
                    self._discard()
                    return False
            except OSError:
                self._discard()
                return False
        return True

    def _discard(self) -> None:
        self._stop_watching()
        self._close_pipe()
        if self._popen is not None:
            # A stopped reaper must not wake up one day and act on an old list.
            self._popen.kill()
            self._popen.wait()
            note_reaped(self._popen)
            self._popen = None

    def _stop_watching(self) -> None:
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _close_pipe(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
