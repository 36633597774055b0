"""`rshell-token`: who may log in to this user's server."""

from __future__ import annotations

import argparse
import socket
import sys
import time
from pathlib import Path

from rshell.cli.standard import keep_standard_descriptors, tell, write_all
from rshell.errors import ConfigurationError, RshellError
from rshell.security.certificates import certificate_der, fingerprint
from rshell.security.files import private_directory, server_directory
from rshell.security.tokens import TokenLine, new_token
from rshell.server.state import Listening, token_path, token_store
from rshell.values import Address

_EPILOG = """\
examples:
  rshell-token add laptop                          prints a line for 'rshell --login' there
  rshell-token add laptop --address web.lan:7000   where that machine reaches this one
  rshell-token revoke laptop                       ends its sessions at once
  rshell-token revoke --kill laptop                and its jobs
"""


def run() -> None:
    """Run the command and exit with its status."""
    keep_standard_descriptors()
    sys.exit(main(sys.argv[1:]))


def main(arguments: list[str]) -> int:
    """Run the command line and return the status."""
    options = _parse(arguments)
    try:
        directory = (options.state or server_directory()).absolute()
        if options.verb == "path":
            _print(str(token_path(directory)))
            return 0
        if not directory.exists():
            raise ConfigurationError(
                f"no server was started with the state directory {directory}. Start "
                "rshell-server, or name its directory before the verb: rshell-token --state DIR"
            )
        private_directory(directory)
        if options.verb == "add":
            _add(directory, options)
        elif options.verb == "revoke":
            _revoke(directory, options.name, kill=options.kill)
        else:
            _list(directory)
        return 0
    except (RshellError, ValueError, OSError) as error:
        tell(f"rshell-token: {error}")
        return 1


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="rshell-token",
        description="Make, list and revoke the tokens that log in to this user's server.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--state", type=Path, help="the state directory of the server")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="add|list|revoke|path")
    add = verbs.add_parser("add", help="make a token and print its line, once")
    add.add_argument("name")
    add.add_argument("--address", help="where the server is reached (what it said at its start)")
    add.add_argument("--cert", type=Path, help="the server's certificate, if it has its own")
    verbs.add_parser("list", help="list the tokens, without their secrets")
    revoke = verbs.add_parser("revoke", help="revoke a token")
    revoke.add_argument("name")
    revoke.add_argument("--kill", action="store_true", help="end its jobs as well")
    verbs.add_parser("path", help="print the path of the token file")
    return parser.parse_args(arguments)


def _add(directory: Path, options: argparse.Namespace) -> None:
    # First what can fail: a token whose line can't be printed would be taken and unknown.
    listening = Listening.load(directory)
    address = _address(listening, options.address)
    known_by = _fingerprint(directory, listening, options.cert)
    store = token_store(directory)
    line = TokenLine(address, known_by, options.name, new_token())
    store.add(line.identity, line.token)
    try:
        _print(str(line))
    except OSError:
        store.revoke(line.identity)
        raise
    where = f"It reaches this one at {address}; give another --address if that is not so."
    if listening is not None and listening.elsewhere is None and not options.address:
        where = (
            f"The server listens to this machine alone: {address} is right where a tunnel leads "
            "here; else start it with --host, and give an --address."
        )
    tell(
        f"Paste this line into 'rshell --login' on the other machine. {where} It is not shown "
        "again."
    )


def _address(listening: Listening | None, given: str | None) -> Address:
    """Return the address that others know, by what the server said of itself."""
    if listening is None:
        address = Address.parse(given or socket.gethostname())
    else:
        port = Address.parse(listening.here).port
        address = Address.parse(given or listening.elsewhere or listening.here, default_port=port)
    if address.path is not None:
        raise ConfigurationError("a Unix socket needs no token")
    return address


def _fingerprint(directory: Path, listening: Listening | None, given: Path | None) -> str:
    """Return the fingerprint of a certificate that is given, or that the server shows.

    None is made here: a server that runs may have another one, wherever its directory has gone.
    """
    if given is None and listening is not None:
        return listening.fingerprint
    certificate = given or directory / "cert.pem"
    if given is None and not certificate.exists():
        raise ConfigurationError(
            f"no server with TLS was started with the state directory {directory}. Start "
            "rshell-server, or name its directory before the verb: rshell-token --state DIR"
        )
    return fingerprint(certificate_der(certificate))


def _revoke(directory: Path, name: str, *, kill: bool) -> None:
    store = token_store(directory)
    record = store.revoke(name, kill=kill)
    ends = "sessions, named shells and jobs" if kill else "sessions and named shells"
    done = f"Revoked {name}" if record is not None else f"{name} has no token any more"
    tell(f"{done}; a server that runs ends its {ends} within a second.")
    left = "processes that left their session, as daemons do"
    if not kill:
        left = f"its jobs, which --kill ends, and {left}"
    tell(
        f"Not ended: {left}. Whoever held the token was this user, and may have left other ways in."
    )
    since = [other.name for other in store.list() if record and other.created >= record.created]
    if since:
        tell(f"Made since it was: {', '.join(since)}. Revoke those that you don't know.")


def _list(directory: Path) -> None:
    for record in token_store(directory).list():
        made = time.strftime("%Y-%m-%d %H:%M", time.localtime(record.created))
        _print(f"{record.name}\t{made}\t{record.key_id}")


def _print(text: str) -> None:
    """Print what was asked for; raises OSError where it can't be."""
    write_all(1, text.encode() + b"\n")


if __name__ == "__main__":
    run()
