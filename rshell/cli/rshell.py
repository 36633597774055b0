"""`rshell`: the client's command.

Strategy: read the command line, connect, run, and turn whatever went wrong between here and
there into one line and the status 255. Modules are imported when their turn comes: a one-shot
command is worth nothing if it takes longer than the command.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from rshell.cli.options import Options, parse, require_terminal
from rshell.cli.usage import HELP
from rshell.errors import RshellError
from rshell.values import Limits

if TYPE_CHECKING:
    from rshell.client.client import Client

FAILED_STATUS = 255
INTERRUPTED_STATUS = 130


def run(limits: Limits | None = None) -> None:
    """Run the command and exit with its status; without `limits` they are the usual ones."""
    keep_standard_descriptors()
    try:
        status = main(sys.argv[1:], limits)
    except KeyboardInterrupt:  # while modules were imported
        status = INTERRUPTED_STATUS
    # Threads that are blocked in a read would be waited for otherwise.
    os._exit(status)


def keep_standard_descriptors() -> None:
    """Open /dev/null in place of a closed stdin, stdout or stderr.

    A socket of ours would take the number otherwise, and the command's output be written to it.
    """
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)


def main(arguments: list[str], limits: Limits | None = None) -> int:
    """Run the command line and return the status."""
    try:
        options = parse(arguments)
        require_terminal(options)
        if options.action == "help":
            print(HELP, end="", flush=True)
            return 0
        if options.action == "version":
            from rshell import __version__

            print(f"rshell {__version__}", flush=True)
            return 0
        if options.action == "login":
            from rshell.cli.login import store_login

            return store_login()
    except (RshellError, OSError) as error:
        return complain(error)
    return _connect_and_run(options, limits or Limits())


def complain(error: BaseException) -> int:
    """Say in one line what went wrong; return the status for it."""
    from rshell.terminal.sanitize import printable

    if sys.stderr is not None:  # it was closed when we started
        with suppress(OSError):  # it was a terminal, and has gone
            print(f"rshell: {printable(str(error))}", file=sys.stderr)
    return FAILED_STATUS


def _connect_and_run(options: Options, limits: Limits) -> int:
    import asyncio

    try:
        return asyncio.run(_run(options, limits))
    except RshellError as error:
        if not options.json:
            return complain(error)
        from rshell.cli.report import failure, print_object

        try:
            print_object(failure(error))
        except OSError as full:
            return complain(full)
        return FAILED_STATUS
    except OSError as error:
        return complain(error)  # our own stdout, on a full disk as a rule
    except KeyboardInterrupt:
        return INTERRUPTED_STATUS


async def _run(options: Options, limits: Limits) -> int:
    from rshell.client.connect import connect

    limits = _limits(options, limits)
    if options.wants_prompt:
        from rshell.cli.prompt.start import load_prompt, run_prompt

        loading = load_prompt()
    async with connect(
        options.address,
        local=options.local,
        via=options.via,
        fingerprint=options.fingerprint,
        ca=options.ca,
        limits=limits,
    ) as client:
        if options.verbose or not options.wants_prompt:
            client.links.on_change = lambda: _tell_link(client, options)
        if options.verbose:
            _say_why(options, client.identity, client.round_trip)
        if options.job is not None:
            from rshell.cli.jobs import run_job

            return await run_job(client, options)
        if options.named is not None and not options.attaches_to:
            from rshell.cli.sessions import run_named_shell

            return await run_named_shell(client, options)
        if options.json:
            from rshell.cli.report import run_json

            return await run_json(client, options)
        if options.wants_prompt:
            return await run_prompt(client, options.where, options.attaches_to, loading)
        from rshell.cli.oneshot import run_oneshot

        return await run_oneshot(client, options)


def _limits(options: Options, limits: Limits) -> Limits:
    """Return the limits of a client for these options.

    Somebody at a prompt comes back, whatever happened to the link; a script that was killed
    does not. A named shell goes on without us, so nothing else needs to be kept for long.
    """
    window = limits.resume_window if options.resume_window is None else options.resume_window
    outlives = options.wants_prompt and not options.attaches_to
    linger = window if outlives else min(window, limits.linger)
    return replace(limits, resume_window=window, linger=linger)


def _tell_link(client: Client, options: Options) -> None:
    """Say on a terminal, or with -v, that the link was lost or is back."""
    from rshell.terminal.raw import is_terminal

    if client.is_closed or not (options.verbose or is_terminal(2)):
        return
    lost = "rshell: the link was cut; trying to come back (Ctrl-C twice gives up)"
    print("rshell: the link is back" if client.links.is_up else lost, file=sys.stderr)


def _say_why(options: Options, identity: str, round_trip: float | None) -> None:
    from rshell.terminal.sanitize import printable

    took = "" if round_trip is None else f", round trip {round_trip * 1000:.1f} ms"
    print(f"rshell: connected to {options.where} as {printable(identity)}{took}", file=sys.stderr)


if __name__ == "__main__":
    run()
