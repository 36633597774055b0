"""`rshell-token`: who may log in to this user's server."""

from __future__ import annotations

import argparse
import socket
import sys
import time
from pathlib import Path

from rshell.errors import ConfigurationError, RshellError
from rshell.security.certificates import certificate_der, ensure_certificate, fingerprint
from rshell.security.files import private_directory, server_directory
from rshell.security.tokens import TokenLine
from rshell.server.state import token_path, token_store
from rshell.values import DEFAULT_PORT, Address

_EPILOG = """\
examples:
  rshell-token add laptop                          prints a line for 'rshell --login' there
  rshell-token add laptop --address web.lan:7000   where that machine reaches this one
  rshell-token revoke laptop                       ends its sessions at once
"""


def run() -> None:
    """Run the command and exit with its status."""
    sys.exit(main(sys.argv[1:]))


def main(arguments: list[str]) -> int:
    """Run the command line and return the status."""
    options = _parse(arguments)
    try:
        directory = private_directory(options.state or server_directory())
        if options.verb == "add":
            return _add(directory, options)
        if options.verb == "revoke":
            return _revoke(directory, options.name)
        if options.verb == "list":
            return _list(directory)
        print(token_path(directory))
        return 0
    except (RshellError, ValueError, OSError) as error:
        print(f"rshell-token: {error}", file=sys.stderr)
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
    add.add_argument("--address", help=f"where the server is reached (this machine:{DEFAULT_PORT})")
    add.add_argument("--cert", type=Path, help="the server's certificate, if it has its own")
    verbs.add_parser("list", help="list the tokens, without their secrets")
    revoke = verbs.add_parser("revoke", help="revoke a token")
    revoke.add_argument("name")
    verbs.add_parser("path", help="print the path of the token file")
    return parser.parse_args(arguments)


def _add(directory: Path, options: argparse.Namespace) -> int:
    address = Address.parse(options.address or socket.gethostname())
    if address.path is not None:
        raise ConfigurationError("a Unix socket needs no token")
    certificate = options.cert or ensure_certificate(directory).certificate
    # First: a token whose line can't be printed would be taken and unknown.
    known_by = fingerprint(certificate_der(certificate))
    token = token_store(directory).add(options.name)
    print(TokenLine(address, known_by, options.name, token))
    print(
        f"Paste this line into 'rshell --login' on the other machine. It reaches this one at "
        f"{address}; another --address if that is not so. It is not shown again.",
        file=sys.stderr,
    )
    return 0


def _revoke(directory: Path, name: str) -> int:
    token_store(directory).revoke(name)
    print(f"Revoked {name}; its sessions end at once.", file=sys.stderr)
    return 0


def _list(directory: Path) -> int:
    for record in token_store(directory).list():
        made = time.strftime("%Y-%m-%d %H:%M", time.localtime(record.created))
        print(f"{record.name}\t{made}\t{record.key_id}")
    return 0


if __name__ == "__main__":
    run()
