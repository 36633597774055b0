"""`rshell`: the client's command.

Read the command line, connect, run, and turn whatever went wrong between here and there into one
line and the status 255. Modules are imported when their turn comes: a one-shot command is worth
nothing if it takes longer than the command.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from rshell.cli.command import (
    hold_signals,
    print_about,
    run_command,
    take_signals,
    tell_failure,
)
from rshell.cli.options import Options, parse, require_terminal
from rshell.cli.standard import line_of_ours, print_text, read_line
from rshell.cli.usage import HELP
from rshell.errors import ConfigurationError
from rshell.values import Limits

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from rshell.cli.report import Report
    from rshell.cli.streams import Leaving, OutputDescriptor
    from rshell.reach.start import BegunWay


def run(limits: Limits | None = None) -> None:
    """Run the command and exit with its status; without `limits` they are the usual ones."""
    run_command(main, limits)


def main(arguments: list[str], limits: Limits | None = None) -> int:
    """Run the command line and return the status, whatever goes wrong."""
    report: Report | None = None
    begun: BegunWay | None = None
    try:
        options = parse(arguments)
        require_terminal(options)
        if print_about(options.action, "rshell", HELP):
            return 0
        if options.action == "login":
            take_signals()
            return store_login()
        if options.action in ("doctor", "stop"):
            take_signals()
            from rshell.cli.doctor import run_doctor

            return run_doctor(options, limits or Limits())
        if options.way is not None:
            from rshell.reach.start import BegunWay

            take_signals()  # or its program would not hear them
            begun = BegunWay.begin(options.way)
            hold_signals()
            options = replace(options, way=begun)
        import asyncio

        from rshell.cli.report import Report

        report = Report(as_json=options.json)
        return asyncio.run(_run(options, limits or Limits(), report))
    except (Exception, KeyboardInterrupt) as error:
        return tell_failure(error, report)
    finally:
        if begun is not None:
            begun.end()


def store_login() -> int:
    """Read a token line from another machine and store it; return the status.

    It is read from the terminal, without echo, or from stdin; never from argv, where every user
    of the machine could read it.
    """
    from rshell.security.credentials import Credentials
    from rshell.security.files import state_directory
    from rshell.security.tokens import TokenLine
    from rshell.terminal.pty import is_terminal

    if is_terminal(0):
        import getpass

        try:
            text = getpass.getpass("Paste the line that 'rshell-token add' printed: ")
        except EOFError:
            text = ""
    else:
        text = read_line()
    if not text.strip():
        raise ConfigurationError("no token line was given. 'rshell-token add NAME' prints one.")
    line = TokenLine.parse(text)
    Credentials(state_directory() / "credentials").add(line)
    what = f"Stored the token {line.identity!r} for {line.address}."
    print_text(f"{what} Try: rshell {line.address} id")
    return 0


async def _run(options: Options, limits: Limits, report: Report) -> int:
    """Do what was asked, unless the user leaves or something fails that nobody waits for."""
    import asyncio

    from rshell.cli.streams import Leaving, OutputDescriptor

    stderr = OutputDescriptor(2, is_optional=True)
    async with Leaving() as leaving:
        take_signals()
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(partial(_end_by_failure, leaving))
        try:
            return await leaving.unless_left(_serve(options, limits, report, leaving, stderr))
        finally:
            loop.set_exception_handler(None)
            await stderr.finish()


def _end_by_failure(
    leaving: Leaving, loop: asyncio.AbstractEventLoop, context: dict[str, Any]
) -> None:
    """End all for the error of a callback, or of a task that nobody waits for."""
    error = context.get("exception")
    if isinstance(error, BaseException):
        leaving.leave(error)
    else:
        loop.default_exception_handler(context)


async def _serve(
    options: Options, limits: Limits, report: Report, leaving: Leaving, stderr: OutputDescriptor
) -> int:
    from rshell.client.connect import connect

    def tell(text: str) -> None:
        stderr.say(line_of_ours(text))

    if options.way is not None:
        _tell_log(tell)
    limits = _limits(options, limits)
    if options.wants_prompt:
        from rshell.cli.prompt.start import load_editor, run_prompt

        loading = load_editor()
    async with connect(
        options.way or options.address,
        background=options.background,
        local=options.local,
        via=options.via,
        fingerprint=options.fingerprint,
        ca=options.ca,
        limits=limits,
    ) as client:
        report.has_begun = True
        if client.notice:
            tell(client.notice)
        if options.tells_link:
            from rshell.cli.report import tell_link

            tell_link(client, tell, way_out=" (Ctrl-C twice gives up)")
        if options.verbose:
            trip = client.round_trip
            took = "" if trip is None else f", round trip {trip * 1000:.1f} ms"
            tell(f"connected to {options.where} as {client.identity}{took}")
        if options.job is not None or (options.named is not None and not options.attaches_to):
            from rshell.cli.lasting import run_lasting

            report.status = await run_lasting(client, options, stderr)
        elif options.wants_prompt:
            report.status = await run_prompt(client, options, loading)
        else:
            from rshell.cli.oneshot import run_oneshot

            report.status = await run_oneshot(client, options, leaving, report, stderr)
    return report.status


def _tell_log(tell: Callable[[str], object]) -> None:
    """Have `tell` say what is logged: a way in and its machine have something to say, too."""
    import logging

    class Told(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            tell(record.getMessage())

    logging.getLogger("rshell").addHandler(Told(logging.WARNING))


def _limits(options: Options, limits: Limits) -> Limits:
    """Return the limits of a client for these options."""
    if options.resume_window is None:
        return limits
    return replace(limits, resume_window=options.resume_window)


if __name__ == "__main__":
    run()
