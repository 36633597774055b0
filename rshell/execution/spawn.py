"""Starting a command as the leader of its own session, with or without a terminal.

`subprocess.Popen(start_new_session=True)` takes the vfork path and closes every other descriptor.
The program is looked up first, along the command's own PATH and from its own directory, and a
failure is named as a shell would name it. A session leader without a controlling terminal gets
one by opening it: a shell of one line opens the slave as its stdin and then becomes the program.
Popen passes a descriptor on only under its own number; where a command must find one under
another, a tiny Python program puts it there and becomes the command, at the cost of its start.

Starting blocks the loop for most of a millisecond. `SpawnQueue` starts one in a pass of the loop
at most, and the loop reads and writes between two; a start that finds its turn free takes it
without a switch of tasks, and commands one after another pay for one `call_soon` each.

Hazards:
- `preexec_fn` would do the same but costs 2 ms and may deadlock in a program with threads.
- dash, as /bin/sh, drops environment variables whose names are not those of a shell, such as
  exported bash functions (`BASH_FUNC_module%%`); `env` puts them back. A program whose path
  holds `=` can't be started by env and goes without them.
- The command comes from the peer: NUL bytes, lone surrogates and bad names are its errors, and
  become SpawnError too.
- A program started by `nohup`, or by `&` in a script, has signals ignored, and an exec passes
  that on: no Ctrl-C would ever reach a command. A signal with a handler is the default one after
  an exec, and an empty handler stands in while a command is started. Only the main thread may do
  that: a server in another thread of a program that ignores SIGINT passes it on.
- Python ignores SIGPIPE and SIGXFSZ, and what is ignored stays ignored across an exec. Popen gives
  them back their defaults, and the tiny program does it again, or `yes | head` would never end.
- The queue counts a process from the moment its start waits, or a flood of requests could queue
  more than may run. A task that is cancelled after it was given its turn passes it on.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from rshell.errors import SpawnError
from rshell.execution.reaper_client import Reaper
from rshell.execution.running_process import RunningProcess
from rshell.values import frozen

NOT_FOUND = 127
NOT_EXECUTABLE = 126
BAD_DIRECTORY = 125

# Run with pairs of numbers, `--` and an argv: has the descriptors at the second numbers found under
# the first, by way of numbers above all of them, for one's target may be another's place.
_PUT_IN_PLACE = """
import os, signal, sys
split = sys.argv.index("--")
pairs = [tuple(map(int, pair.split("="))) for pair in sys.argv[1:split]]
parked = max(map(max, pairs)) + 1
for index, (_, fd) in enumerate(pairs):
    os.dup2(fd, parked + index)
for fd in {fd for _, fd in pairs}:
    os.close(fd)
for index, (number, _) in enumerate(pairs):
    os.dup2(parked + index, number)
    os.close(parked + index)
for name in (signal.SIGPIPE, signal.SIGXFSZ):
    signal.signal(name, signal.SIG_DFL)
os.execv(sys.argv[split + 1], sys.argv[split + 1 :])
"""
# Opening without O_NOCTTY, as shells do, makes it the controlling terminal.
_OPEN_TERMINAL = ["/bin/sh", "-c", 'exec "$@" <>"$0"']
_ENV = "/usr/bin/env"
_LONGEST_HEAD = 256  # bytes of a file that the kernel looks at for a #! line
# Those that a shell without job control, nohup or a supervisor has its children ignore.
_PASSED_ON = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP)
_SHELL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


@frozen
class Command:
    """What to run: `argv` without a shell, in the directory `cwd` (None: this process's own).

    `env` is the complete environment. A program without a slash is looked up in its PATH.
    """

    argv: tuple[str | bytes, ...]
    cwd: str | None
    env: Mapping[str, str]


def spawn(
    command: Command,
    fds: Mapping[int, int],
    *,
    terminal: int | None = None,
    reaper: Reaper | None = None,
) -> RunningProcess:
    """Start `command` with `fds`, our descriptors by the numbers under which it finds them.

    0, 1 and 2 must be there, and all stay the caller's to close. `terminal` is the slave of a
    pty that has no session yet: it becomes the controlling terminal, and stands where 0, 1 or 2
    are not in `fds`. `reaper` is told of the session while it lives. Needs a running loop, and
    blocks it about 0.6 ms (1.2 ms with a terminal) until the program was executed.

    Raises SpawnError whose status is 127 (not found), 126 (found, but can't be executed; or the
    machine has no room for a process) or 125 (the directory can't be entered).
    """
    asyncio.get_running_loop()  # without one, nothing would watch what is started
    try:
        program = _find_program(command)
        argv: list[str | bytes] = list(command.argv)
        executable = program
        if terminal is None:
            stdio = [fds[0], fds[1], fds[2]]
            moved = {number: fd for number, fd in fds.items() if number > 2}
        else:
            stdio = [terminal] * 3
            # What opens the terminal has it as 0, and hands on that one.
            moved = {
                n: 0 if fd == terminal else fd for n, fd in fds.items() if n > 2 or fd != terminal
            }
        if moved:
            argv = [*_placed(moved), program, *command.argv[1:]]
            executable = sys.executable
        if terminal is not None:
            argv = [executable, *argv[1:]]
            argv = [*_OPEN_TERMINAL, os.ttyname(terminal), *restore_names(command.env, argv), *argv]
            executable = _OPEN_TERMINAL[0]
        with _unignored_signals():
            popen = subprocess.Popen(
                argv,
                executable=executable,
                stdin=stdio[0],
                stdout=stdio[1],
                stderr=stdio[2],
                cwd=command.cwd,
                env=command.env,
                pass_fds=tuple(fd for fd in moved.values() if fd > 2),
                start_new_session=True,
            )
    except OSError as error:
        raise _explain(command, error) from error
    except ValueError as error:
        raise SpawnError(NOT_EXECUTABLE, f"the command can't be executed: {error}") from error
    if reaper is None:
        return RunningProcess(popen, terminal=terminal is not None)
    reaper.add(popen.pid)
    return RunningProcess(popen, terminal=terminal is not None, forget=reaper.remove)


def _placed(moved: Mapping[int, int]) -> list[str]:
    """Return the head of an argv that puts descriptors in place; a program's path follows."""
    pairs = (f"{number}={fd}" for number, fd in moved.items())
    return [sys.executable, "-I", "-S", "-c", _PUT_IN_PLACE, *pairs, "--"]


class SpawnQueue:
    """At most `limit` processes at once, and one start in a pass of the loop.

    `reaper`, if given, is told of every process. One for a whole server. `count` has the
    processes that run and those that wait for their turn.
    """

    def __init__(self, limit: int, *, reaper: Reaper | None = None) -> None:
        self._limit = limit
        self._reaper = reaper
        self._taken = False  # this pass has had its start, or it is promised to a waiter
        self._waiters: deque[asyncio.Future[None]] = deque()
        self.count = 0

    async def spawn(
        self, command: Command, fds: Mapping[int, int], *, terminal: int | None = None
    ) -> RunningProcess:
        """Start `command` when its turn comes; everything else is as with the function `spawn`.

        The descriptors must stay open until this returns. Raises SpawnError at once with status
        126 if `limit` processes run already. Cancelling before the turn starts nothing.
        """
        if self.count >= self._limit:
            raise SpawnError(
                NOT_EXECUTABLE,
                f"{self.count} commands run already, as many as this server allows",
            )
        self.count += 1
        try:
            await self._turn()
            process = spawn(command, fds, terminal=terminal, reaper=self._reaper)
        except BaseException:
            self.count -= 1
            raise
        process.on_exit(self._one_less)
        return process

    def _one_less(self) -> None:
        self.count -= 1

    async def _turn(self) -> None:
        loop = asyncio.get_running_loop()
        if self._taken:
            waiter = loop.create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    self._pass_on()
                raise
        self._taken = True
        # Runs in the next pass, after the loop has looked at its descriptors.
        loop.call_soon(self._pass_on)

    def _pass_on(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._taken = False


@contextmanager
def _unignored_signals() -> Iterator[None]:
    """Have what is executed meanwhile ignore nothing that this process was told to ignore."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ignored = [number for number in _PASSED_ON if signal.getsignal(number) is signal.SIG_IGN]
    try:
        for number in ignored:
            signal.signal(number, lambda *_: None)
        yield
    finally:
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)


def _check_directory(cwd: str) -> None:
    try:
        is_directory = S_ISDIR(Path(cwd).stat().st_mode)
    except OSError as error:
        raise _no_entry(cwd, error.errno) from error
    if not is_directory:
        raise _no_entry(cwd, errno.ENOTDIR)
    if not os.access(cwd, os.X_OK):
        raise _no_entry(cwd, errno.EACCES)


def _no_entry(cwd: str, number: int | None) -> SpawnError:
    return SpawnError(BAD_DIRECTORY, f"can't enter {cwd}: {os.strerror(number or 0)}")


def _find_program(command: Command) -> str:
    """Return the program's path, absolute or from the command's own directory.

    Raises SpawnError with 127, 126 or 125 as a shell would say.
    """
    if command.cwd is not None:
        _check_directory(command.cwd)
    name = os.fsdecode(command.argv[0]) if command.argv else ""
    if not name:
        raise SpawnError(NOT_FOUND, "an empty command has no program")
    # Joined as text: a Path for each directory of PATH would cost more than all the rest.
    if "/" in name:
        paths = [name]
    else:
        paths = [f"{place or '.'}/{name}" for place in os.get_exec_path(command.env)]
    refusal = ""
    for path in paths:
        found = _seen_from_here(command, path)
        if len(paths) > 1 and not os.access(found, os.F_OK):
            continue
        try:
            mode = Path(found).stat().st_mode
        except PermissionError as error:
            refusal = error.strerror or "permission denied"
            continue
        except OSError:
            continue
        if S_ISREG(mode) and os.access(found, os.X_OK):
            # No sh or env may take it for an option.
            return path if path.startswith("/") else f"./{path}"
        refusal = os.strerror(errno.EISDIR if S_ISDIR(mode) else errno.EACCES)
    if refusal:
        raise SpawnError(NOT_EXECUTABLE, f"{name}: {refusal}")
    if "/" in name:
        raise SpawnError(NOT_FOUND, f"{name}: {os.strerror(errno.ENOENT)}")
    raise SpawnError(NOT_FOUND, f"{name}: command not found")


def _seen_from_here(command: Command, path: str) -> str:
    """Return where a path of the command's lies for this process.

    Our own directory is never asked for: it may have been deleted, which hurts nobody else.
    """
    return path if command.cwd is None or path.startswith("/") else f"{command.cwd}/{path}"


def restore_names(env: Mapping[str, str], argv: Sequence[str | bytes]) -> list[str]:
    """Return what to put before an argv to put back what a /bin/sh drops from the environment."""
    odd = [f"{name}={value}" for name, value in env.items() if not _SHELL_NAME.match(name)]
    return [_ENV, *odd] if odd and "=" not in os.fsdecode(argv[0]) else []


def _explain(command: Command, error: OSError) -> SpawnError:
    """Return what a failed start means. `error.filename` is what could not be entered or run."""
    name = os.fsdecode(command.argv[0])
    if command.cwd is not None and error.filename == command.cwd:
        return _no_entry(command.cwd, error.errno)
    text = f"{name}: {error.strerror}"
    if error.errno == errno.ENOEXEC:
        text = f"{name}: neither a program of this machine nor a script with a #! line"
    elif error.errno in (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE):
        text = f"{name}: the server has no room for another process: {error.strerror}"
    elif error.errno == errno.ENOENT and error.filename is not None:
        text = f"{name}: {_what_is_missing(command, os.fsdecode(error.filename))}"
    return SpawnError(NOT_EXECUTABLE, text)


def _what_is_missing(command: Command, path: str) -> str:
    """Look at a file that the kernel would not run because something is not there."""
    try:
        with Path(_seen_from_here(command, path)).open("rb") as file:
            start = file.read(_LONGEST_HEAD)
    except OSError as error:
        return f"{path}: {error.strerror}"
    if start.startswith(b"\x7fELF"):
        return "the loader that this program asks for is missing here"
    words = start.partition(b"\n")[0][2:].split()
    if start.startswith(b"#!") and words:
        interpreter = os.fsdecode(words[0])
        if not os.access(_seen_from_here(command, interpreter), os.F_OK):
            return f"the interpreter in its #! line is missing: {interpreter}"
    return os.strerror(errno.ENOENT)
