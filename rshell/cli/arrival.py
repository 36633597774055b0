"""What a way in has started, once it has the bundle: the first words of ours over there.

It is a command without a command line: the client says what it wants (reach/stage.py). It imports
little, for it is started for each link.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from rshell.server.enter import NoBackground, enter


def main(code: str, name: str, wanted: Mapping[str, Any], greet: Callable[..., None]) -> int:
    """Do what a client `wanted` of the bundle at `code`; `greet` tells it that a server follows."""
    sys.argv[:] = ["rshell-server"]
    if wanted.get("do") != "serve":
        from rshell.server import upkeep

        greet(**(upkeep.stop() if wanted.get("do") == "stop" else upkeep.look(name)))
        return 0
    try:
        if not wanted.get("background", True):
            raise NoBackground("it was asked for")
        argv = [sys.executable, "-I", "-S", code]
        return enter(argv, name, float(wanted.get("idle_exit", 900.0)), greet)
    except NoBackground as error:
        greet(background=False, why=str(error))
    from rshell.cli.server import main as serve

    return serve(["--stdio"])
