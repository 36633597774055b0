"""`rshell --login`: store a token line from another machine.

Strategy: the line is read from the terminal, without echo, or from stdin; never from argv,
where every user of the machine could read it.
"""

from __future__ import annotations

import sys

from rshell.errors import ConfigurationError
from rshell.security.credentials import Credentials
from rshell.security.files import state_directory
from rshell.security.tokens import TokenLine
from rshell.terminal.pty import is_terminal


def store_login() -> int:
    """Read a token line and store it; return the status."""
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
