"""How a command of ours begins and ends, whatever goes wrong in between.

Modules are imported when their turn comes: a start is worth nothing if it takes longer than what
was asked for.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn, Optional

from rshell.cli.standard import keep_standard_descriptors, print_text, say
from rshell.values import Limits

if TYPE_CHECKING:
    from rshell.cli.report import Report

# Objects more than at the last look for garbage, until the next: ours make little of it, and a
# transfer of many files spent a twentieth of its time on looking.
_LOOK_AFTER = 20_000
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def run_command(
    main: Callable[[list[str], Optional[Limits]], int], limits: Optional[Limits]
) -> NoReturn:
    """Have `main` take the command line, and exit with the status that it returns.

    Signals that end a command wait until `take_signals`: a busy machine may take a second for our
    imports, and a caller no longer than that.
    """
    status = 255
    try:
        hold_signals()
        gc.set_threshold(_LOOK_AFTER)
        keep_standard_descriptors()
        status = main(sys.argv[1:], limits)
    except BaseException as error:  # it could not even be told
        say(f"{type(error).__name__}: {error}")
    finally:
        # Threads that are blocked in a read would be waited for otherwise.
        os._exit(status)


def hold_signals() -> None:
    """Have signals that end a command wait."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)


def take_signals() -> None:
    """Have signals that end a command come, those that have waited first."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)


def print_about(action: str, name: str, usage: str) -> bool:
    """Print the help or the version if that is the action; return whether it is."""
    if action == "help":
        print_text(usage.rstrip("\n"))
    elif action == "version":
        from rshell import __version__

        print_text(f"{name} {__version__}")
    return action in ("help", "version")


def tell_failure(error: BaseException, report: Optional[Report] = None) -> int:
    """Tell what went wrong, or that the user left; return the status to exit with."""
    from rshell.cli.report import Report
    from rshell.cli.streams import Left

    if isinstance(error, KeyboardInterrupt):
        error = Left.by(signal.SIGINT)
    return (report or Report()).failed(error)
