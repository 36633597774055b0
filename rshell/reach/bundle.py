"""The server side in one file: a zip that any Python from 3.9 on runs, with nothing installed.

The same source gives the same bytes: names are in order, and no time and no mode is of this
machine. Hazard: compilers of zips may differ from one zlib to another. Whoever names a bundle does
so by the hash of its bytes, and never expects another machine to build the same.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator
from importlib import resources
from typing import TYPE_CHECKING, Any

from rshell.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

_SHEBANG = b"#!/usr/bin/env python3\n"
_TIME = (1980, 1, 1, 0, 0, 0)  # the first that a zip can hold
_MODE = 0o100644 << 16
# What only a client needs; of the commands, only the server's are there.
_LEFT_OUT = ("adapters", "client", "reach/ways.py", "reach/stage.py", "reach/start.py")
_COMMANDS = ("__init__.py", "arrival.py", "server.py", "token.py", "standard.py", "streams.py")
_MAIN = b"""\
import sys

if sys.argv[1:2] == ["token"]:
    del sys.argv[1]
    from rshell.cli.token import run
else:
    from rshell.cli.server import run
run()
"""


def build_bundle() -> bytes:
    """Return the server side of this very package as a zip that a Python runs."""
    out = io.BytesIO()
    out.write(_SHEBANG)
    with zipfile.ZipFile(out, "a", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        parts = dict(_files(resources.files("rshell"), ""))
        for name, data in [("__main__.py", _MAIN), *sorted(parts.items())]:
            entry = zipfile.ZipInfo(name, _TIME)
            entry.create_system = 3  # Unix, wherever it is built
            entry.external_attr = _MODE
            entry.compress_type = zipfile.ZIP_DEFLATED
            file.writestr(entry, data)
    return out.getvalue()


def identify(bundle: bytes) -> str:
    """Return what a bundle is called: the hash of its bytes."""
    return hashlib.sha256(bundle).hexdigest()


def write_bundle(path: Path) -> None:
    """Write the one-file server, for everybody to read and run. Raises ConfigurationError."""
    try:
        path.write_bytes(build_bundle())
        path.chmod(0o755)
    except OSError as error:
        raise ConfigurationError(f"can't write {path}: {error.strerror}.") from error


def _files(directory: Any, prefix: str) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the content of each file that a server needs."""
    for entry in directory.iterdir():
        name = f"{prefix}{entry.name}"
        is_command = prefix != "cli/" or entry.name in _COMMANDS
        if name in _LEFT_OUT or entry.name == "__pycache__" or not is_command:
            continue
        if entry.is_dir():
            yield from _files(entry, f"{name}/")
        else:
            yield f"rshell/{name}", entry.read_bytes()
