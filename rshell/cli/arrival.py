"""What a way in has started, once it has the bundle: the first words of ours over there.

It is a command without a command line: the client says what it wants (reach/stage.py). It imports
little, for it is started for each link.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from rshell.server.enter import NoBackground, enter, socket_path, state_of

_OLD = 30 * 86400.0  # seconds


def main(code: str, name: str, wanted: Mapping[str, Any], greet: Callable[..., None]) -> int:
    """Do what a client `wanted` of the bundle at `code`; `greet` tells it that a server follows."""
    sys.argv[:] = ["rshell-server"]
    was_sent = bool(wanted["size"])
    if wanted.get("do") != "serve":
        from rshell.server import upkeep

        # What was sent for this alone is not to stay.
        sent = code if was_sent and not code.startswith("/proc") else None
        greet(**(upkeep.stop(sent) if wanted.get("do") == "stop" else upkeep.look(name, sent)))
        return 0
    if not code.startswith("/proc"):
        os.utime(code)
    if was_sent:
        _remove_old(os.path.dirname(code))
    try:
        if not wanted.get("background", True):
            raise NoBackground("it was asked for")
        argv = [sys.executable, "-I", "-S", code]
        return enter(argv, name, float(wanted.get("idle_exit", 900.0)), greet)
    except NoBackground as error:
        greet(background=False, why=str(error))
    from rshell.cli.server import main as serve

    try:
        state = state_of(socket_path(name))
    except NoBackground:
        return serve(["--stdio"])
    return serve(["--stdio", "--state", state])


def _remove_old(directory: str) -> None:
    """Remove bundles of versions that nobody has brought along for long."""
    if os.path.basename(directory) != "rshell":
        return
    for file in os.listdir(directory):
        path = os.path.join(directory, file)
        with suppress(OSError):  # somebody else has just removed it
            if file.endswith(".pyz") and time.time() - os.stat(path).st_mtime > _OLD:
                os.unlink(path)
