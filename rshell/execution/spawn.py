"""Starting a command as the leader of its own session, with or without a terminal.

Strategy: `subprocess.Popen(start_new_session=True)`, which takes the vfork path and closes
every other descriptor. The program is looked up first, along the command's own PATH and from
its own directory, so that the failure is named as a shell would name it. A session leader without
a controlling terminal gets one by opening it; with a terminal, a shell of one line opens the
slave as its stdin and then becomes the program.

Hazards:
- `preexec_fn` would do the same but costs 2 ms and may deadlock in a program with threads.
- dash, as /bin/sh, drops environment variables whose names are not those of a shell, such as
  exported bash functions (`BASH_FUNC_module%%`); `env` puts them back. A program whose path
  holds `=` can't be started by env and goes without them.
- The command comes from the peer: NUL bytes, lone surrogates and bad names are its errors, and
  become SpawnError too.
- A program started by `nohup`, or by `&` in a script, has signals ignored, and an exec passes
  that on: no Ctrl-C would ever reach a command. A signal with a handler is the default one after
  an exec, so while a command is started an empty handler stands in. Only the main thread may do
  that: a server in another thread of a program that ignores SIGINT passes it on.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import signal
import subprocess
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from rshell.errors import SpawnError
from rshell.execution.reaper_client import Reaper
from rshell.execution.running_process import RunningProcess

NOT_FOUND = 127
NOT_EXECUTABLE = 126
BAD_DIRECTORY = 125

# Opening without O_NOCTTY, as shells do, makes it the controlling terminal.
_OPEN_TERMINAL = ["/bin/sh", "-c", 'exec "$@" <>"$0"']
_ENV = "/usr/bin/env"
# Those that a shell without job control, nohup or a supervisor has its children ignore.
_PASSED_ON = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP)
_SHELL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


@dataclass(frozen=True, slots=True)
class Command:
    """What to run: `argv` without a shell, in the directory `cwd` (None: the server's own).

    `env` is the complete environment. A program without a slash is looked up in its PATH.
    """

    argv: tuple[str | bytes, ...]
    cwd: str | None
    env: Mapping[str, str]


def spawn(
    command: Command,
    *,
    stdin: int,
    stdout: int,
    stderr: int,
    pass_fds: Collection[int] = (),
    terminal: bool = False,
    reaper: Reaper | None = None,
) -> RunningProcess:
    """Start `command` on three descriptors, which stay the caller's to close.

    `pass_fds` are kept open in the command under their own numbers. With `terminal`, `stdin` is
    the slave of a pty that has no session yet; it becomes the controlling terminal. `reaper`
    is told of the session while it lives. Needs a running loop, and blocks it about 0.6 ms
    (1.2 ms with a terminal) until the program was executed.

    Raises SpawnError whose status is 127 (not found), 126 (found, but can't be executed; or the
    machine has no room for a process) or 125 (the directory can't be entered).
    """
    asyncio.get_running_loop()  # without one, nothing would watch what is started
    try:
        directory = _find_directory(command.cwd)
        program = _find_program(command, directory)
        argv: list[str | bytes] = list(command.argv)
        executable = program
        if terminal:
            argv = [*_OPEN_TERMINAL, os.ttyname(stdin), *_restore_names(command, program)]
            argv += [program, *command.argv[1:]]
            executable = _OPEN_TERMINAL[0]
        with _unignored_signals():
            popen = subprocess.Popen(
                argv,
                executable=executable,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                cwd=command.cwd,
                env=command.env,
                pass_fds=tuple(pass_fds),
                start_new_session=True,
            )
    except OSError as error:
        raise SpawnError(NOT_EXECUTABLE, _explain(command, error)) from error
    except ValueError as error:
        raise SpawnError(NOT_EXECUTABLE, f"the command can't be executed: {error}") from error
    return RunningProcess(popen, terminal=terminal, reaper=reaper)


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


def _find_directory(cwd: str | None) -> str:
    """Return the absolute directory that relative programs are looked up in."""
    if cwd is None:
        return str(Path.cwd())
    directory = Path.cwd() / cwd
    try:
        is_directory = S_ISDIR(directory.stat().st_mode)
    except OSError as error:
        raise SpawnError(BAD_DIRECTORY, f"can't enter {cwd}: {error.strerror}") from error
    if not is_directory:
        raise SpawnError(BAD_DIRECTORY, f"can't enter {cwd}: {os.strerror(errno.ENOTDIR)}")
    if not os.access(directory, os.X_OK):
        raise SpawnError(BAD_DIRECTORY, f"can't enter {cwd}: {os.strerror(errno.EACCES)}")
    return str(directory)


def _find_program(command: Command, directory: str) -> str:
    """Return the absolute path of the program; SpawnError 127 or 126 as a shell would say."""
    name = os.fsdecode(command.argv[0]) if command.argv else ""
    if not name:
        raise SpawnError(NOT_FOUND, "an empty command has no program")
    # Joined as text: a Path for each directory of PATH would cost more than all the rest.
    if "/" in name:
        paths = [name if name.startswith("/") else f"{directory}/{name}"]
    else:
        places = os.get_exec_path(command.env)
        paths = [f"{p if p.startswith('/') else f'{directory}/{p}'}/{name}" for p in places]
    refusal = ""
    for path in paths:
        if len(paths) > 1 and not os.access(path, os.F_OK):
            continue
        try:
            mode = Path(path).stat().st_mode
        except PermissionError as error:
            refusal = error.strerror or "permission denied"
            continue
        except OSError:
            continue
        if S_ISREG(mode) and os.access(path, os.X_OK):
            return path
        refusal = os.strerror(errno.EISDIR if S_ISDIR(mode) else errno.EACCES)
    if refusal:
        raise SpawnError(NOT_EXECUTABLE, f"{name}: {refusal}")
    if "/" in name:
        raise SpawnError(NOT_FOUND, f"{name}: {os.strerror(errno.ENOENT)}")
    raise SpawnError(NOT_FOUND, f"{name}: command not found")


def _restore_names(command: Command, program: str) -> list[str]:
    """Return a prefix of the argv that puts back what a /bin/sh drops from the environment."""
    odd = [f"{name}={value}" for name, value in command.env.items() if not _SHELL_NAME.match(name)]
    return [_ENV, *odd] if odd and "=" not in program else []


def _explain(command: Command, error: OSError) -> str:
    name = os.fsdecode(command.argv[0])
    if error.errno == errno.ENOEXEC:
        return f"{name}: neither a program of this machine nor a script with a #! line"
    if error.errno == errno.ENOENT:
        return f"{name}: the interpreter in its #! line is missing"
    if error.errno in (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE):
        return f"{name}: the server has no room for another process: {error.strerror}"
    return f"{name}: {error.strerror}"
