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

Linux takes no argument or variable of more than 128 KiB, and the text of `sh -c` is one. A text
that is longer is given to a shell in pieces, as `sh -c 'eval "shift 2;${1}${2}"' sh PIECE PIECE`:
its stdin, its descriptors and its own arguments are then those of any other command. What no shell
can put together can't be started, and whoever asked is told which limit it has passed.

Hazards:
- `preexec_fn` would do the same but costs 2 ms and may deadlock in a program with threads.
- dash, as /bin/sh, drops environment variables whose names are not those of a shell, such as
  exported bash functions (`BASH_FUNC_module%%`); `env` puts them back. A program whose path
  holds `=` can't be started by env and goes without them.
- The command comes from the peer: NUL bytes, lone surrogates and bad names are its errors, and
  become SpawnError too.
- The queue counts a process from the moment its start waits, or a flood of requests could queue
  more than may run. A task that is cancelled after it was given its turn passes it on.
"""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from stat import S_ISDIR, S_ISREG

from rshell.errors import SpawnError
from rshell.execution.inheritance import needs_reset, restore_names, started_clean
from rshell.execution.reaper_client import Reaper
from rshell.execution.running_process import RunningProcess
from rshell.values import frozen

NOT_FOUND = 127
NOT_EXECUTABLE = 126
BAD_DIRECTORY = 125

# Run with the command's LC_CTYPE behind a "=", or "" for none, since Python may have changed it;
# pairs of numbers; `--` and an argv. Has the descriptors at the second numbers found under the
# first, by way of numbers that are none of those, for one's target may be another's place. What is
# parked on a target on the way is replaced there. Numbers stay low: the limit may be lower than
# ours. No signal stays ignored or blocked.
_PUT_IN_PLACE = """
import os, signal, sys
os.environ.pop("LC_CTYPE", None)
if sys.argv[1]:
    os.environ["LC_CTYPE"] = sys.argv[1][1:]
split = sys.argv.index("--", 2)
pairs = [tuple(map(int, pair.split("="))) for pair in sys.argv[2:split]]
taken = {number for number, _ in pairs}
def park(fd):
    spare = os.dup(fd)
    return park(fd) if spare in taken else spare
parked = [(number, park(fd)) for number, fd in pairs]
for fd in {fd for _, fd in pairs}:
    os.close(fd)
for number, spare in parked:
    os.dup2(spare, number)
    os.close(spare)
for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
    signal.signal(number, signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_SETMASK, ())
os.execv(sys.argv[split + 1], sys.argv[split + 1 :])
"""
# Opening without O_NOCTTY, as shells do, makes it the controlling terminal.
_OPEN_TERMINAL = ["/bin/sh", "-c", 'exec "$@" <>"$0"']
_LONGEST_HEAD = 256  # bytes of a file that the kernel looks at for a #! line


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
        argv = in_pieces(command.argv)
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
        if moved or needs_reset():
            argv = [*_placed(moved, command.env), program, *argv[1:]]
            executable = sys.executable
        if terminal is not None:
            argv = [executable, *argv[1:]]
            argv = [*_OPEN_TERMINAL, os.ttyname(terminal), *restore_names(command.env, argv), *argv]
            executable = _OPEN_TERMINAL[0]
        if reaper is not None:
            reaper.expect(fds.values())
        try:
            with started_clean():
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
        except BaseException:
            if reaper is not None:
                reaper.expect(())
            raise
    except OSError as error:
        raise _explain(command, error) from error
    except ValueError as error:
        raise SpawnError(NOT_EXECUTABLE, f"the command can't be executed: {error}") from error
    forget = None
    if reaper is not None:
        reaper.add(popen.pid)
        forget = reaper.remove
    try:
        return RunningProcess(popen, terminal=terminal is not None, forget=forget)
    except RuntimeError as error:  # neither a descriptor nor a thread is left to watch it
        raise SpawnError(NOT_EXECUTABLE, _no_room(command, error)) from error


def _placed(moved: Mapping[int, int], env: Mapping[str, str]) -> list[str]:
    """Return the head of an argv that puts descriptors in place; a program's path follows."""
    pairs = (f"{number}={fd}" for number, fd in moved.items())
    locale = f"={env['LC_CTYPE']}" if "LC_CTYPE" in env else ""
    return [sys.executable, "-I", "-S", "-c", _PUT_IN_PLACE, locale, *pairs, "--"]


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


def _no_room(command: Command, why: object) -> str:
    return f"{os.fsdecode(command.argv[0])}: the server has no room for another process: {why}"


def _explain(command: Command, error: OSError) -> SpawnError:
    """Return what a failed start means. `error.filename` is what could not be entered or run."""
    name = os.fsdecode(command.argv[0])
    if command.cwd is not None and error.filename == command.cwd:
        return _no_entry(command.cwd, error.errno)
    text = f"{name}: {error.strerror}"
    if error.errno == errno.ENOEXEC:
        text = f"{name}: neither a program of this machine nor a script with a #! line"
    elif error.errno == errno.E2BIG:
        text = f"{name}: {what_is_too_large(command.argv, command.env)}"
    elif error.errno in (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE):
        text = _no_room(command, error.strerror)
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


# What the system takes as arguments and variables.

_LONGEST = 32 * os.sysconf("SC_PAGE_SIZE") - 1  # bytes of one argument or variable, on Linux
_SHELLS = {"sh", "ash", "bash", "dash", "ksh", "mksh", "zsh"}


def in_pieces(argv: Sequence[str | bytes]) -> list[str | bytes]:
    """Return an argv without a text of `sh -c` that is too long for one argument."""
    found = list(argv)
    if found[1:2] != ["-c"] or len(found) < 3 or len(found[2]) <= _LONGEST // 4:
        return found
    text = os.fsencode(found[2])
    if len(text) <= _LONGEST or PurePath(os.fsdecode(found[0])).name not in _SHELLS:
        return found
    pieces: list[str | bytes] = []
    while text:
        end = min(len(text), _LONGEST)
        while end < len(text) and text[end] & 0xC0 == 0x80 and end > _LONGEST - 4:
            end -= 1  # no character of UTF-8 is cut
        pieces.append(text[:end])
        text = text[end:]
    all_of_it = "".join(f"${{{number}}}" for number in range(1, len(pieces) + 1))
    loader = f'eval "shift {len(pieces)};{all_of_it}"'  # on one line, which keeps their numbers
    return [found[0], "-c", loader, *(found[3:4] or found[:1]), *pieces, *found[4:]]


def what_is_too_large(argv: Sequence[str | bytes], env: Mapping[str, str]) -> str:
    """Say which limit of the system a command has passed."""
    arguments = [len(os.fsencode(argument)) for argument in argv]
    variables = {k: len(os.fsencode(k)) + len(os.fsencode(v)) + 1 for k, v in env.items()}
    name = max(variables, key=variables.__getitem__, default="")
    what, size = "an argument", max(arguments)
    if size <= _LONGEST and name:
        what, size = f"the variable {name}", variables[name]
    if size > _LONGEST:
        return f"{what} of {size} bytes is longer than this system takes for one, {_LONGEST}"
    # Each has a NUL at its end and an address.
    items = [*arguments, *variables.values()]
    total = sum(items) + 9 * len(items)
    most = os.sysconf("SC_ARG_MAX")
    return f"arguments and environment of {total} bytes are more than this system takes, {most}"
