"""`rshell`: the client's command.

Read the command line, connect, run, and turn whatever went wrong between here and there into one
line and the status 255. Modules are imported when their turn comes: a one-shot command is worth
nothing if it takes longer than the command.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace

from rshell.cli.options import HELP, Options, parse, require_terminal
from rshell.errors import ConfigurationError, RshellError
from rshell.values import Limits

INTERRUPTED_STATUS = 130


def run(limits: Limits | None = None) -> None:
    """Run the command and exit with its status; without `limits` they are the usual ones."""
    keep_standard_descriptors()
    try:
        status = main(sys.argv[1:], limits)
    except KeyboardInterrupt:
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
    as_json = False
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
            return store_login()
        import asyncio

        as_json = options.json
        return asyncio.run(_run(options, limits or Limits()))
    except (RshellError, OSError) as error:
        from rshell.cli.report import fail

        return fail(error, as_json)


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

        text = getpass.getpass("Paste the line that 'rshell-token add' printed: ")
    else:
        text = sys.stdin.readline()
    if not text.strip():
        raise ConfigurationError("no token line was given. 'rshell-token add NAME' prints one.")
    line = TokenLine.parse(text)
    Credentials(state_directory() / "credentials").add(line)
    what = f"Stored the token {line.identity!r} for {line.address}."
    print(f"{what} Try: rshell {line.address} id", flush=True)
    return 0


async def _run(options: Options, limits: Limits) -> int:
    from rshell.client.connect import connect

    limits = _limits(options, limits)
    if options.wants_prompt:
        from rshell.cli.prompt.app import load_editor, run_prompt

        loading = load_editor()
    async with connect(
        options.address,
        local=options.local,
        via=options.via,
        fingerprint=options.fingerprint,
        ca=options.ca,
        limits=limits,
    ) as client:
        if options.tells_link:
            from rshell.cli.report import tell_link

            tell_link(client, _say, way_out=" (Ctrl-C twice gives up)")
        if options.verbose:
            from rshell.terminal.output import printable

            trip = client.round_trip
            took = "" if trip is None else f", round trip {trip * 1000:.1f} ms"
            _say(f"connected to {options.where} as {printable(client.identity)}{took}")
        if options.job is not None or (options.named is not None and not options.attaches_to):
            from rshell.cli.lasting import run_lasting

            return await run_lasting(client, options)
        if options.wants_prompt:
            return await run_prompt(client, options.where, options.attaches_to, loading)
        from rshell.cli.oneshot import run_oneshot

        return await run_oneshot(client, options)


def _limits(options: Options, limits: Limits) -> Limits:
    """Return the limits of a client for these options."""
    if options.resume_window is None:
        return limits
    return replace(limits, resume_window=options.resume_window)


def _say(text: str) -> None:
    print(f"rshell: {text}", file=sys.stderr)


if __name__ == "__main__":
    run()
