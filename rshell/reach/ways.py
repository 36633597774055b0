"""Ways in: programs that run a command on another machine, with its stdio.

Each is used in the same manner: it is told to run `sh`, and the rest travels by that shell's stdin.
So nothing has to be quoted, whatever the login shell over there is.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import Optional

from rshell.errors import AddressError
from rshell.values import frozen

_NAME = re.compile(r"[\w.][\w.\-]*\Z")  # never an option
_USER = re.compile(r"[\w.][\w.\-@]*\Z")
_IPV6 = re.compile(r"[0-9A-Fa-f:.]+(?:%[\w.\-]+)?\Z")


@frozen
class Way:
    """A way in: `name` as people write it, and the `argv` that runs what follows over there.

    `again` are options for a dial that nobody looks at: it must not ask.
    """

    name: str
    argv: tuple[str, ...]
    again: tuple[str, ...] = ()

    def command(self, *words: str, again: bool = False) -> tuple[str, ...]:
        """Return the argv that runs `words` over there."""
        options = self.again if again else ()
        return (self.argv[0], *options, *self.argv[1:], *words)

    @classmethod
    def of_words(cls, text: str | Sequence[str]) -> Way:
        """Make one of a program and its arguments, or of text that a shell would split into them.

        Raises AddressError.
        """
        argv = split_words(text)
        is_ssh = argv[0].rpartition("/")[2] == "ssh"
        return cls(shlex.join(argv), argv, _NEVER_ASKS if is_ssh else ())

    @classmethod
    def parse(cls, text: str) -> Optional[Way]:
        """Read `ssh://...`, `docker://...`, `podman://...` or `kubectl://...`.

        None for what is none of them. Raises AddressError for one that is wrong.
        """
        scheme, mark, rest = text.partition("://")
        if not mark:
            return None
        read = {
            "ssh": _read_ssh,
            "docker": _read_container,
            "podman": _read_container,
            "kubectl": _read_pod,
        }.get(scheme)
        if read is None:
            raise AddressError(
                f"no way in is called {scheme!r}: {text!r}. There are ssh://, docker://, "
                "podman:// and kubectl://.",
                text=text,
            )
        way = read(scheme, rest.rstrip("/") if scheme != "kubectl" else rest)
        if way is None:
            raise AddressError(f"not {_FORMS[scheme]}: {text!r}.", text=text)
        return cls(text, *way)


def split_words(text: str | Sequence[str]) -> tuple[str, ...]:
    """Return the program and the arguments that `text` consists of. Raises AddressError."""
    try:
        argv = tuple(shlex.split(text)) if isinstance(text, str) else tuple(text)
    except ValueError as error:
        raise AddressError(f"'via' can't be split into words: {error}: {text}") from error
    if not argv:
        raise AddressError(
            "'via' needs a program, such as 'docker exec -i web rshell-server --stdio'"
        )
    return argv


_NEVER_ASKS = ("-o", "BatchMode=yes")
_FORMS = {
    "ssh": "ssh://[user@]host[:port]",
    "docker": "docker://[user@]container",
    "podman": "podman://[user@]container",
    "kubectl": "kubectl://[[context/]namespace/]pod[/container]",
}
_Read = Optional[tuple[tuple[str, ...], tuple[str, ...]]]


def _read_ssh(program: str, rest: str) -> _Read:
    user, at, place = rest.rpartition("@")
    if place.startswith("["):
        host, bracket, rest = place[1:].partition("]")
        colon, port = rest[:1], rest[1:]
        known = bracket and colon in ("", ":") and _IPV6.match(host)
    else:
        host, colon, port = place.partition(":")
        known = _NAME.match(host)
    if not known or (colon and not port) or (at and not _USER.match(user)):
        return None
    if port and not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536):
        return None
    options = ("-p", port) if port else ()
    where = f"{user}@{host}" if at else host
    return (program, "-T", *options, "--", where), _NEVER_ASKS


def _read_container(program: str, rest: str) -> _Read:
    user, at, name = rest.rpartition("@")
    if not _NAME.match(name) or (at and not _USER.match(user)):
        return None
    options = ("-u", user) if at else ()
    return (program, "exec", "-i", *options, name), ()


def _read_pod(program: str, rest: str) -> _Read:
    parts = rest.split("/")
    if len(parts) > 4 or not all(not part or _NAME.match(part) for part in parts):
        return None
    # One is the pod, two its namespace first, three the container last, four the context first.
    context = parts.pop(0) if len(parts) == 4 else ""
    namespace = parts.pop(0) if len(parts) >= 2 else ""
    pod, container = parts[0], parts[1] if len(parts) == 2 else ""
    if not pod:
        return None
    argv = (
        *((program, "--context", context) if context else (program,)),
        *(("-n", namespace) if namespace else ()),
        *("exec", "-i", pod),
        *(("-c", container) if container else ()),
        "--",
    )
    return argv, ()
