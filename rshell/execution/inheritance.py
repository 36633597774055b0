"""What a command must not inherit from this process: what we, or those who started us, set for us.

A command starts with every signal at its default and none blocked, with the limit of descriptors
that this process was started with, and without the variables that are for a service alone or that
Python itself has set. `started_clean` sees to signals and limits around the start of a process, at
the cost of microseconds; what it can't do from outside, `needs_reset` says, and a tiny program
does it before the command begins.

Hazards:
- An exec passes on what is ignored and what is blocked. `nohup`, `&` in a script and some
  supervisors start programs so, and no Ctrl-C, SIGTERM or SIGPIPE would ever reach a command. A
  signal with a handler has its default again after an exec, so an empty handler stands in for what
  is ignored while a process is started. Only the main thread may do that.
- Unblocking a signal here, if only for a moment, would deliver what waits for this process.
  A program of our own unblocks everything when it begins; a program that embeds a server may have
  its reasons to block, and keeps its mask.
- A soft limit below the number of open descriptors is legal, but then a start can open nothing.
  Two low descriptors are kept in reserve for it. A thread that opens something in that moment may
  be told that there are too many: threads of ours only look for candidates, and find none then.
- In the C locale Python sets LC_CTYPE in its own environment (PEP 538).
"""

from __future__ import annotations

import os
import re
import resource
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

# Popen gives those that Python ignores their defaults by itself; the last two can't be ignored.
_NOT_OURS = {signal.SIGPIPE, signal.SIGXFSZ, signal.SIGKILL, signal.SIGSTOP}
# Those that programs tell to be ignored while they run.
_USUAL = {signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGTSTP}
_USUAL |= {signal.SIGUSR1, signal.SIGUSR2}
# The variables that speak of the process that a service manager has started, and a secret.
_OURS = {
    *(
        "RSHELL_TOKEN",
        "RSHELL_CLIENT",
        "LISTEN_FDS",
        "LISTEN_PID",
        "LISTEN_FDNAMES",
        "LISTEN_PIDFDID",
    ),
    *("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "FDSTORE", "MAINPID", "MANAGERPID"),
    *("MANAGERPIDFDID", "SYSTEMD_EXEC_PID", "INVOCATION_ID", "JOURNAL_STREAM"),
    *("MEMORY_PRESSURE_WATCH", "MEMORY_PRESSURE_WRITE"),
}
_COERCED = ("C.UTF-8", "C.utf8", "UTF-8")
_ENV = "/usr/bin/env"
_SHELL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_MOST_DESCRIPTORS = 1 << 20  # what we raise our limit to, at most


def _ignored(numbers: set[signal.Signals]) -> list[signal.Signals]:
    return [number for number in numbers if signal.getsignal(number) is signal.SIG_IGN]


# What was ignored from the beginning. Asking for each signal at each start would cost as much as
# a tenth of it.
_SUSPECTS = _USUAL.union(_ignored(signal.valid_signals() - _NOT_OURS))


def _first_environment() -> dict[bytes, bytes]:
    try:
        with open("/proc/self/environ", "rb") as file:  # noqa: PTH123 - clients load no pathlib here
            return dict(line.partition(b"=")[::2] for line in file.read().split(b"\0"))
    except OSError:
        return {b"LC_CTYPE": b"not known"}


# What this process was started with, if that is of interest. A server that lets nobody dump its
# memory can't ask for it later.
_FIRST = _first_environment() if os.environ.get("LC_CTYPE") in _COERCED else {}


class _Descriptors:
    """The limit of descriptors: that of this process, once raised, and that of its commands."""

    def __init__(self) -> None:
        self.found: tuple[int, int] | None = None
        self.raised = (0, 0)
        self._reserve: list[int] = []

    def keep_reserve(self) -> None:
        with suppress(OSError):
            while len(self._reserve) < 2:
                self._reserve.append(os.open(os.devnull, os.O_RDONLY))

    def use_reserve(self) -> None:
        while self._reserve:
            os.close(self._reserve.pop())


_descriptors = _Descriptors()


def begin_program() -> None:
    """Make this process fit to serve. For the main thread of a program of ours, at its start.

    Unblocks every signal, and raises the soft limit of descriptors to the hard one.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MOST_DESCRIPTORS)
    if soft == resource.RLIM_INFINITY or soft >= most:
        return
    with suppress(OSError, ValueError):  # a system may allow less than its hard limit says
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        _descriptors.found, _descriptors.raised = (soft, hard), (most, hard)
        _descriptors.keep_reserve()


@contextmanager
def started_clean() -> Iterator[None]:
    """Have what is executed meanwhile ignore no signal, and have the limits that we were given."""
    limits = _descriptors.found
    ignored = _ignored(_SUSPECTS) if _is_main_thread() else []
    try:
        for number in ignored:
            signal.signal(number, lambda *_: None)
        if limits is not None:
            _descriptors.use_reserve()
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        yield
    finally:
        if limits is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, _descriptors.raised)
            _descriptors.keep_reserve()
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)


def needs_reset() -> bool:
    """Whether a command would inherit signals that `started_clean` can't see to."""
    if signal.pthread_sigmask(signal.SIG_BLOCK, ()):
        return True
    return not _is_main_thread() and bool(_ignored(_SUSPECTS))


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def for_commands(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what commands get of this process's environment."""
    found = given_environment(environment)
    return {name: value for name, value in found.items() if name not in _OURS}


def given_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return `environment` without the LC_CTYPE that Python has set, as it was given to us."""
    given = dict(environment)
    if not _FIRST or given.get("LC_CTYPE") not in _COERCED or given.get("LC_ALL"):
        return given
    before = _FIRST.get(b"LC_CTYPE", b"")
    if (before or _FIRST.get(b"LANG", b"")) in (b"", b"C", b"POSIX"):  # else Python left it alone
        del given["LC_CTYPE"]
        if before:
            given["LC_CTYPE"] = os.fsdecode(before)
    return given


def restore_names(env: Mapping[str, str], argv: Sequence[str | bytes]) -> list[str]:
    """Return what to put before an argv to put back what a /bin/sh drops from the environment."""
    odd = [f"{name}={value}" for name, value in env.items() if not _SHELL_NAME.match(name)]
    return [_ENV, *odd] if odd and "=" not in os.fsdecode(argv[0]) else []
