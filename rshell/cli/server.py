"""`rshell-server`: the server's command.

Hazard: what the server says must not decide what it does. A stderr on a full disk, closed, or read
by nobody keeps it from nothing, least of all from draining: lines that are not taken at once are
dropped, those of its log too.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rshell.aio import first_of
from rshell.cli.standard import keep_standard_descriptors, tell
from rshell.cli.streams import on_signals
from rshell.errors import ConfigurationError, RshellError
from rshell.execution.children import reaping_strangers
from rshell.execution.inheritance import begin_program
from rshell.security.files import server_directory
from rshell.terminal.output import printable
from rshell.values import DEFAULT_PORT, Address, Bounds, Limits

if TYPE_CHECKING:
    from rshell.server.audit import AuditLog
    from rshell.server.server import Server
    from rshell.server.state import Listening

_PR_SET_DUMPABLE = 4
_LONGEST = 4_000  # characters of a line of the log
_status = logging.getLogger("rshell.server.status")
_status.setLevel(logging.INFO)  # it was asked for

_EPILOG = """\
examples:
  rshell-server --port 7000               this machine only; then: rshell -c ls
  rshell-server --host 0.0.0.0            every machine, with a token from 'rshell-token add'
  rshell-server --unix /run/me/rshell     a Unix socket, for this user alone

Commands run as the user who started the server. Every login and command is written to the
audit log in the state directory.
"""


def run(limits: Limits | None = None) -> None:
    """Run the command and exit with its status; without `limits` they are the usual ones."""
    keep_standard_descriptors()
    sys.exit(main(sys.argv[1:], limits))


def main(arguments: list[str], limits: Limits | None = None) -> int:
    """Run the command line and return the status."""
    options = _parse(arguments)
    if options.bundle is not None:
        return _write_bundle(options.bundle)
    if options.background:
        return _enter_background(options)
    begin_program()
    lines = _Lines()
    lines.setFormatter(_Printable("rshell-server: %(message)s"))
    level = logging.INFO if options.verbose else logging.WARNING
    logging.basicConfig(level=level, handlers=[lines])
    _refuse_dumps()
    try:
        return asyncio.run(_run(options, limits or Limits()))
    except (RshellError, OSError) as error:
        tell(f"rshell-server: {error}")
        return 1
    except KeyboardInterrupt:
        return 130


class _Printable(logging.Formatter):
    """Formats a message on one line that acts on no terminal, whoever had a say in it.

    The lines of a traceback are kept, and indented: none can be taken for a message.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the message."""
        return printable(super().formatMessage(record), limit=_LONGEST)

    def formatException(self, ei: Any) -> str:
        """Return the traceback."""
        lines = super().formatException(ei).splitlines()
        return "\n".join(f"  {printable(line, limit=_LONGEST)}" for line in lines)


def _refuse_dumps() -> None:
    """Have the kernel write no core file of us, and let no other process of this user look inside.

    Of Linux alone. What we start is not concerned: an exec undoes it.
    """
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


class _Lines(logging.Handler):
    """Tells what is logged, and after a gap how much is missing."""

    _lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Tell it, or count it as lost."""
        try:
            text = self.format(record)
        except Exception:  # arguments that don't fit the message: never the caller's trouble
            self.handleError(record)
            return
        if self._lost:
            text = f"rshell-server: {self._lost} messages before this were lost\n{text}"
        self._lost = 0 if tell(text) else self._lost + 1


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="rshell-server",
        description="Let the holders of a token run commands on this machine, as this user.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    where = parser.add_argument_group("where it listens")
    where.add_argument("--host", default=None, help="address or name (both loopbacks)")
    where.add_argument("--port", type=int, default=None, help=f"port ({DEFAULT_PORT}); 0: any")
    where.add_argument("--unix", type=Path, metavar="PATH", help="a Unix socket, alone or as well")
    where.add_argument("--stdio", action="store_true", help="one session on stdin and stdout")
    where.add_argument(
        "--background",
        action="store_true",
        help="with --stdio: leave the session to a server that stays until it is idle",
    )
    where.add_argument(
        "--background-at", type=Path, metavar="PATH", help="be that server, at a Unix socket"
    )
    where.add_argument(
        "--idle-exit",
        type=float,
        metavar="SECONDS",
        default=900.0,
        help="for both: how long it stays without sessions, jobs and named shells (900)",
    )
    what = parser.add_argument_group("what it keeps and shows")
    what.add_argument("--cwd", type=Path, help="where commands start (the home directory)")
    what.add_argument("--state", type=Path, help="directory for key, tokens and audit log")
    what.add_argument("--cert", type=Path, help="certificate chain, PEM (made at first start)")
    what.add_argument("--key", type=Path, help="its private key, PEM")
    parser.add_argument("--bundle", type=Path, metavar="FILE", help="write this server as one file")
    parser.add_argument("-v", "--verbose", action="store_true", help="log every refused link")
    from rshell import __version__

    parser.add_argument("--version", action="version", version=f"rshell-server {__version__}")
    options = parser.parse_args(arguments)
    if (options.cert is None) != (options.key is None):
        parser.error("--cert and --key go together")
    if options.port is not None and not 0 <= options.port < 65536:
        parser.error("--port takes 0 to 65535")
    if not options.idle_exit >= 0:
        parser.error("--idle-exit takes seconds, 0 or more")
    if options.background and not options.stdio:
        parser.error("--background goes with --stdio")
    if options.background_at and (options.stdio or options.unix or options.host or options.port):
        parser.error("--background-at listens at its own path alone")
    if options.stdio and (options.unix or options.host or options.port is not None):
        parser.error("--stdio listens nowhere: leave out --host, --port and --unix")
    if options.cwd is not None and not options.cwd.is_dir():
        parser.error(f"--cwd {options.cwd}: there is no such directory")
    return options


async def _run(options: argparse.Namespace, limits: Limits) -> int:
    """Serve; meanwhile reap what others leave to this process, as to the first of a container."""
    with reaping_strangers(Bounds.of(limits).orphan_look):
        if options.background_at is not None:
            return await _serve_background(options, limits)
        return await (_serve_stdio if options.stdio else _serve)(options, limits)


def _write_bundle(path: Path) -> int:
    from rshell.reach.bundle import write_bundle

    try:
        write_bundle(path)
    except ConfigurationError as error:
        tell(f"rshell-server: {error}")
        return 1
    return 0


async def _serve(options: argparse.Namespace, limits: Limits) -> int:
    from rshell.security.certificates import CertificateFiles
    from rshell.server.start import serve
    from rshell.server.state import Listening

    certificate = None
    if options.cert is not None:
        certificate = CertificateFiles(options.cert, options.key)
    only_unix = options.unix and options.host is None and options.port is None
    host = None if only_unix else options.host or "localhost"
    port = DEFAULT_PORT if options.port is None else options.port
    told: asyncio.Queue[signal.Signals] = asyncio.Queue()
    stopping = (signal.SIGINT, signal.SIGTERM)
    has_terminal = _is_on_terminal()
    serving = serve(
        host,
        port,
        unix=options.unix and options.unix.absolute(),
        state=options.state,
        limits=limits,
        certificate=certificate,
        cwd=str(options.cwd.resolve()) if options.cwd else None,
    )
    with ExitStack() as stack:
        stack.enter_context(on_signals({n: partial(told.put_nowait, n) for n in stopping}))
        async with serving as server:
            stack.enter_context(on_signals(_asking(server, told, has_terminal)))
            listening = Listening.of(host, server.addresses, server.fingerprint) if host else None
            state = options.state and options.state.absolute()
            tell("\n".join(_welcome(server.addresses, listening, state)), fd=1)
            if await told.get() is not signal.SIGINT:
                await _drain(server, told)
            tell("rshell-server: stopping")
    return 0


def _asking(
    server: Server, told: asyncio.Queue[signal.Signals], has_terminal: bool
) -> dict[signal.Signals, Callable[[], object]]:
    """Return what SIGUSR1 and SIGHUP do.

    SIGHUP has two meanings. Where the terminal has gone that the server was started on, it is asked
    to stop, as every program on a terminal is; it drains first. Otherwise somebody has moved the
    audit log away.
    """

    def hang_up() -> None:
        if has_terminal and not _is_on_terminal():
            told.put_nowait(signal.SIGHUP)
        else:
            server.reopen()

    return {signal.SIGHUP: hang_up, signal.SIGUSR1: partial(_log_status, server)}


def _log_status(server: Server) -> None:
    _status.info("%s", server.status())


def _is_on_terminal() -> bool:
    """Whether this process has a terminal that is there."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK))
    except OSError:
        return False
    return True


async def _drain(server: Server, told: asyncio.Queue[signal.Signals]) -> None:
    """Let commands end by themselves, until the time for that is over or another signal comes.

    A hang-up is none: a shell passes on that of its terminal, and has one of its own at its end.
    """

    async def told_again() -> None:
        while await told.get() is signal.SIGHUP:
            pass

    if server.commands:
        running = "1 command runs" if server.commands == 1 else f"{server.commands} commands run"
        tell(f"rshell-server: draining; {running} (SIGTERM or Ctrl-C again stops at once)")
    await first_of(server.drain(), told_again())


def _welcome(
    addresses: Sequence[Address], listening: Listening | None, state: Path | None
) -> list[str]:
    """Return the lines that say where it listens and how to connect.

    `listening` is None without TLS, and `state` is None for the directory that clients know.
    """
    lines = [f"rshell-server listens at {', '.join(map(str, addresses))}"]
    if listening is None:
        return [*lines, f"from here:          rshell {shlex.quote(str(addresses[0]))} 'uname -a'"]
    option = "" if state is None else f"--state {shlex.quote(str(state))} "
    words = f"rshell {listening.here} 'uname -a'"
    if state is not None or not Address.parse(listening.here).is_loopback:
        # The client looks for the token of this user at the usual place, and for loopback alone.
        token = shlex.quote(str((state or server_directory()) / "local-token"))
        words = f'RSHELL_TOKEN="$(cat {token})" {words}'
    lines += [f"certificate {listening.fingerprint}", f"from here:          {words}"]
    if listening.elsewhere is None:
        return [*lines, "from elsewhere:     no way; --host 0.0.0.0 lets other machines come"]
    return [
        *lines,
        f"from elsewhere:     rshell-token {option}add NAME "
        f"(there: rshell --login, then rshell {listening.elsewhere})",
    ]


def _enter_background(options: argparse.Namespace) -> int:
    from rshell.server.enter import enter, installed

    try:
        return enter(*installed(), options.idle_exit)
    except ConfigurationError as error:
        tell(f"rshell-server: {error}")
        return 1


async def _serve_background(options: argparse.Namespace, limits: Limits) -> int:
    """Serve what is handed over, until a signal comes or nobody has needed us for long enough."""
    from rshell.security.files import private_directory
    from rshell.server.handover import until_idle
    from rshell.server.server import Server
    from rshell.server.start import home_directory

    audit, directory = _open_audit(options, limits)
    told: asyncio.Queue[signal.Signals] = asyncio.Queue()
    stopping = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    async with Server(
        handlers={},
        limits=Bounds.of(limits),
        cwd=str(options.cwd.resolve()) if options.cwd else home_directory(),
        audit=audit,
        jobs=None if directory is None else directory / "jobs",
    ) as server:
        private_directory(options.background_at.parent)
        server.listen_handed(options.background_at)
        with on_signals({n: partial(told.put_nowait, n) for n in stopping}):
            tell(f"rshell-server takes what is handed over at {options.background_at}", fd=1)
            heard: list[signal.Signals] = []

            async def listen() -> None:
                heard.append(await told.get())

            await first_of(until_idle(lambda: server.is_idle, options.idle_exit), listen())
            if signal.SIGTERM in heard:
                await _drain(server, told)
    return 0


def _open_audit(options: argparse.Namespace, limits: Limits) -> tuple[AuditLog, Path | None]:
    """Return the audit log and the directory of the state; without one, nothing is kept."""
    from rshell.security.files import private_directory
    from rshell.server.audit import AuditLog

    try:
        directory = private_directory(options.state or server_directory())
        return AuditLog(directory / "audit.jsonl", Bounds.of(limits)), directory
    except ConfigurationError as error:
        # The program that started us could run commands without us; the log is a courtesy here.
        tell(f"rshell-server: no audit log: {error}")
        return AuditLog(None), None


async def _serve_stdio(options: argparse.Namespace, limits: Limits) -> int:
    """Serve one session for the program that started us; its end is ours."""
    from rshell.server.server import Server
    from rshell.server.start import home_directory
    from rshell.transport.stdio import take_stdio

    # Ctrl-C is for the remote command; the terminal sends it to us as well.
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, lambda *_: None)
    incoming, outgoing = take_stdio()
    audit, _ = _open_audit(options, limits)
    async with Server(
        handlers={},
        limits=Bounds.of(limits),
        cwd=str(options.cwd.resolve()) if options.cwd else home_directory(),
        audit=audit,
    ) as server:
        serving = asyncio.ensure_future(server.serve_stdio(incoming, outgoing))
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, serving.cancel)
        loop.add_signal_handler(signal.SIGUSR1, _log_status, server)
        try:
            await serving
        except asyncio.CancelledError:
            return 128 + signal.SIGTERM
    return 0


if __name__ == "__main__":
    run()
