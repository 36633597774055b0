"""Ending whole sessions of processes, and the guard that does it when the server can't.

This file is both a module and a script. As a script (`python -I -S reaper.py GRACE`)
it is the server's reaper, a process in a session of its own. Its stdin says which sessions
live: `+PID` and `-PID`, a line each, PID being the leader of a session and group. `?PIPE` comes
before a start and names a pipe that the new process will hold, as /proc does. The end of
stdin means that the server is gone, even by SIGKILL: what is still listed gets SIGHUP, SIGTERM
and SIGCONT, and after GRACE seconds SIGKILL. The functions are here because the script must run
alone, with no package to import from, and starts in milliseconds only if it imports little.

Hazards:
- A number may be given to a stranger once its process was reaped. The kernel never gives out a
  number that a session or group still bears. The members of session N are ours as long as no
  process but our leader bears N; the leader is told from a stranger by a pidfd (or, where there
  is none, by its start time), and a member is signalled through a pidfd that was opened before
  its session was looked up.
- Job control puts jobs into groups of their own: the group alone is not the session. Linux
  shows the members in /proc; elsewhere only the leader's group is reached.
- Looking into /proc and opening a pidfd take a descriptor, and what must be ended must be found
  where none is left, too. `Spare` has one for that.
- A process that called setsid itself has left. That is how daemons are made, and they stay.
- A server may be killed when a process has begun and its number was not told yet. It holds the
  pipe that was named before, and nobody else has it as a leader. Our stdin ends only when
  the new process has executed its program: until then it holds the other end, too.
- The server takes a session off the list before it reaps its leader: a listed number was
  never free while the server lived.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Container, Iterable

_PIDFD = hasattr(os, "pidfd_open") and hasattr(signal, "pidfd_send_signal")
_KILL_ROUNDS = 20  # a round kills what was forked during the one before
_LOOK_SECONDS = 0.03  # between two looks for what is left
_LONGEST_LINE = 64


class Spare:
    """A descriptor in reserve: open from `keep` until `drop`, except while it is needed."""

    _fd = -1
    _is_kept = False

    @classmethod
    def keep(cls) -> None:
        """Have one from now on, as soon as there is one."""
        cls._is_kept = True
        cls._refill()

    @classmethod
    def drop(cls) -> None:
        """Have none any more."""
        cls._is_kept = False
        cls.use()

    @classmethod
    def use(cls) -> None:
        """Free it for what is about to be opened, and closed before `restore`."""
        if cls._fd >= 0:
            os.close(cls._fd)
            cls._fd = -1

    @classmethod
    def restore(cls) -> None:
        """Take it again."""
        if cls._is_kept:
            cls._refill()

    @classmethod
    def _refill(cls) -> None:
        if cls._fd < 0:
            try:
                cls._fd = os.open("/", os.O_RDONLY)
            except OSError:
                pass  # the next time, then


def members(sessions: Container[int]) -> list[int]:
    """Return the live processes (zombies are not) whose session is one of `sessions`.

    Costs a system call for each process of the machine. Empty where there is no /proc.
    """
    found = []
    Spare.use()
    try:
        entries = os.listdir("/proc")  # noqa: PTH208 - pathlib would double the script's start
        for entry in entries:
            if entry.isdigit() and _session_of(int(entry)) in sessions:
                state = _stat(int(entry))
                if state and state[0] not in (b"Z", b"X"):
                    found.append(int(entry))
    except OSError:
        return []
    finally:
        Spare.restore()
    return found


def signal_member(pid: int, sessions: Container[int], signum: int) -> None:
    """Send `signum` to `pid` if its session still is one of `sessions`; never to a stranger."""
    fd = -1
    Spare.use()
    try:
        if _PIDFD:
            fd = os.pidfd_open(pid)
        # Looked up after the pidfd was opened: if this holds, the pidfd is no stranger's.
        if _session_of(pid) in sessions:
            if fd >= 0:
                signal.pidfd_send_signal(fd, signum)
            else:
                os.kill(pid, signum)
    except OSError:
        pass  # it is gone, or belongs to another user now
    finally:
        if fd >= 0:
            os.close(fd)
        Spare.restore()


def signal_group(group: int, signum: int) -> bool:
    """Send `signum` to the group; False if nothing was there or nothing was ours to signal."""
    try:
        os.killpg(group, signum)
    except OSError:
        return False
    return True


def kill_sessions(sessions: Iterable[int]) -> None:
    """Send SIGKILL to the group and to each process of each session.

    The caller vouches that no stranger bears these numbers.
    """
    wanted = set(sessions)
    for session in wanted:
        signal_group(session, signal.SIGKILL)
    killed: set[int] = set()
    for _ in range(_KILL_ROUNDS):
        fresh = [pid for pid in members(wanted) if pid not in killed]
        if not fresh:
            return
        for pid in fresh:
            signal_member(pid, wanted, signal.SIGKILL)
        killed.update(fresh)


def _session_of(pid: int) -> int:
    """Return the session of `pid`, -1 if there is no such process."""
    try:
        return os.getsid(pid)
    except OSError:
        return -1


def _stat(pid: int) -> list[bytes]:
    """Return the fields of /proc/PID/stat from the state on, none if there is no such process."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
    except OSError:
        return []
    try:
        # The second field is a name that may hold anything; the last bracket ends it.
        return os.read(fd, 4096).rpartition(b")")[2].split()
    except OSError:
        return []
    finally:
        os.close(fd)


def start_time(pid: int) -> bytes:
    """Return what tells `pid` from an earlier process of that number; empty without a /proc."""
    fields = _stat(pid)
    return fields[19] if len(fields) > 19 else b""


class _Leader:
    """The leader of one session that the server vouched for, recognisable after its end."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._fd = -1
        if _PIDFD:
            try:
                self._fd = os.pidfd_open(pid)
            except OSError:
                pass  # out of descriptors, or an old kernel: the start time has to do
        self._started = b"" if self._fd >= 0 else start_time(pid)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    def has_session(self) -> bool:
        """Whether a session that bears this number can only be ours."""
        if self._fd >= 0:
            try:
                signal.pidfd_send_signal(self._fd, 0)  # a zombie counts: it keeps the number
            except OSError:
                return not self._number_taken()
            return True
        return not self._number_taken() or start_time(self.pid) == self._started

    def _number_taken(self) -> bool:
        return _session_of(self.pid) != -1


def _holders(pipe: str) -> list[int]:
    """Return the leaders of sessions that hold this pipe, such as `pipe:[12345]`."""
    found = []
    for entry in os.listdir("/proc"):  # noqa: PTH208 - as above
        if entry.isdigit() and _session_of(int(entry)) == int(entry):
            try:
                for number in os.listdir(f"/proc/{entry}/fd"):  # noqa: PTH208 - as above
                    if os.readlink(f"/proc/{entry}/fd/{number}") == pipe:  # noqa: PTH115
                        found.append(int(entry))
                        break
            except OSError:
                pass  # it is gone, or another user's
    return found


def _note(line: bytes, leaders: dict[int, _Leader]) -> None:
    """Apply one line of the server's; one that makes no sense is dropped."""
    sign, digits = line[:1], line[1:]
    if sign not in (b"+", b"-") or not digits.isdigit() or len(digits) > 10:
        return
    pid = int(digits)
    if sign == b"-":
        leader = leaders.pop(pid, None)
        if leader is not None:
            leader.close()
    elif pid > 1 and pid not in leaders and pid != os.getsid(0) and _session_of(pid) == pid:
        leaders[pid] = _Leader(pid)


def _listen(leaders: dict[int, _Leader]) -> None:
    """Read lines from stdin until it ends, and note what was being started then."""
    rest = starting = b""
    while chunk := os.read(0, 65536):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.startswith((b"?", b"+")):
                starting = line[1:] if line[:1] == b"?" else b""
            _note(line, leaders)
        rest = rest[:_LONGEST_LINE]
    if starting and os.path.exists("/proc/self/fd"):  # noqa: PTH110 - as above
        for pid in _holders(starting.decode("ascii", "replace")):
            _note(b"+%d" % pid, leaders)


def _end(leaders: Iterable[_Leader], grace: float) -> None:
    """End every session that is still ours: politely, then after `grace` seconds by force."""

    def ours() -> set[int]:
        return {leader.pid for leader in leaders if leader.has_session()}

    sessions = ours()
    deadline = time.monotonic() + grace
    left = members(sessions)
    for signum in (signal.SIGHUP, signal.SIGTERM, signal.SIGCONT):
        for session in sessions:
            # The number of a reaped leader may become a stranger's group at any time.
            if _session_of(session) == session:
                signal_group(session, signum)
        for pid in left:
            signal_member(pid, sessions, signum)
    while time.monotonic() < deadline and _any_left(ours()):
        time.sleep(min(_LOOK_SECONDS, grace))
    kill_sessions(ours())


def _any_left(sessions: set[int]) -> bool:
    if os.path.exists("/proc/self/stat"):  # noqa: PTH110 - as above
        return bool(members(sessions))
    return any(signal_group(session, 0) for session in sessions)


def main() -> None:
    """Guard the sessions told on stdin; `sys.argv[1]` is the grace in seconds."""
    # What is meant for the server, such as a kill of everything of this user, comes here too.
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    leaders: dict[int, _Leader] = {}
    _listen(leaders)
    if leaders:
        _end(leaders.values(), float(sys.argv[1]))


if __name__ == "__main__":
    main()
