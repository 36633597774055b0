"""A process that has imported the commands, and becomes each one that a test starts.

Run as `python -m tests.support.zygote FD`, with the number of a SOCK_SEQPACKET socket. A request
is a JSON object and four descriptors: stdin, stdout, stderr, and a pipe into which the process id
is written, and later how the process ended (its `returncode`), a line each. The zygote forks; the
child makes of itself what a new interpreter would be and calls the command's own `run()`. That
saves the start of Python and the imports, which is most of what a short command costs.

The zygote has one thread and reads no clock. It ends with the socket.

Hazards: whatever the modules keep from the time of their import, each command has in common, so
they must read the environment late, as commands do. The command line that `ps` shows is this
one's; so is the parent.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import io
import json
import locale
import os
import pkgutil
import select
import signal
import socket
import sys
import threading
import time
from typing import Any, NoReturn

import rshell

MOST = 256 * 1024  # bytes of a request: arguments and environment
PROGRAMS = (
    "rshell.cli.cp",
    "rshell.cli.rshell",
    "rshell.cli.server",
    "rshell.cli.token",
    "tests.support.limited",
)


def main() -> None:
    """Serve requests until the socket ends."""
    control = socket.socket(fileno=int(sys.argv[1]))
    for module in pkgutil.walk_packages(rshell.__path__, "rshell."):
        if not module.name.startswith("rshell.adapters."):  # which other libraries load
            importlib.import_module(module.name)  # also what a command imports when its turn comes
    for name in PROGRAMS:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    woken, waker = os.pipe()
    for fd in (woken, waker):
        os.set_blocking(fd, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    try:
        control.send(b"ready")
    except BrokenPipeError:
        return  # the tests are over already
    living: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([control.fileno(), woken], [], [])
        if woken in ready:
            os.read(woken, 1000)
            _bury(living)
        if control.fileno() in ready:
            try:
                data, fds, _, _ = socket.recv_fds(control, MOST, 4)
            except ConnectionResetError:
                data = b""
            if not data:
                return
            pid = os.fork()
            if pid == 0:
                _become(json.loads(data), fds)
            for fd in fds[:3]:
                os.close(fd)
            living[pid] = fds[3]
            _tell(fds[3], pid)


def _bury(living: dict[int, int]) -> None:
    while living:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        fd = living.pop(pid)
        _tell(fd, os.waitstatus_to_exitcode(status))
        os.close(fd)


def _tell(fd: int, number: int) -> None:
    try:
        os.write(fd, b"%d\n" % number)
    except BrokenPipeError:
        pass  # nobody waits for that process


def _become(request: dict[str, Any], fds: list[int]) -> NoReturn:
    """Be the command that a request asks for."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if request["new_session"]:
        os.setsid()
    if request["terminal"] is not None:
        fds[:3] = [os.open(request["terminal"], os.O_RDWR)] * 3  # which makes it the session's
    for number in range(3):
        os.dup2(fds[number], number)
    _close_others()
    if request["cwd"] is not None:
        os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    locale.setlocale(locale.LC_CTYPE, "")
    time.tzset()
    program = sys.modules[request["program"]]
    sys.argv = [str(program.__file__), *request["arguments"]]
    sys.stdin = sys.__stdin__ = _standard(0, "r", "strict")  # type: ignore[misc]
    sys.stdout = sys.__stdout__ = _standard(1, "w", "strict")  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = _standard(2, "w", "backslashreplace")  # type: ignore[misc]
    status = 0
    try:
        program.run()
    except SystemExit as exit:
        status = exit.code if isinstance(exit.code, int) else int(exit.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            status = 120  # as Python has it
    os._exit(status)


def _close_others() -> None:
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - once for each command
        if int(name) > 2:
            try:
                os.close(int(name))
            except OSError:
                pass  # that of the listing itself


def _standard(fd: int, mode: str, errors: str) -> io.TextIOWrapper:
    raw = io.FileIO(fd, mode, closefd=False)
    buffered = io.BufferedReader(raw) if mode == "r" else io.BufferedWriter(raw)
    return io.TextIOWrapper(
        buffered,
        encoding="utf-8",
        errors=errors,
        line_buffering=fd == 2 or raw.isatty(),
        write_through=fd == 2,
    )


if __name__ == "__main__":
    main()
