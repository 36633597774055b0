"""A command with limits of a test's choice.

Run as `python -m tests.support.limited COMMAND LIMITS ARGUMENTS...`: the name of the command
(rshell or server), a JSON object of what differs in `Bounds`, and the command's own arguments.
"""

from __future__ import annotations

import importlib
import json
import sys

from rshell.values import Bounds


def run() -> None:
    """Run the command and exit with its status."""
    _, command, limits, *arguments = sys.argv
    sys.argv[1:] = arguments
    importlib.import_module(f"rshell.cli.{command}").run(Bounds(**json.loads(limits)))


if __name__ == "__main__":
    run()
