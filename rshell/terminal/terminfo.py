"""Which types of terminal this machine knows: the descriptions of terminfo, found as ncurses does.

A terminal newer than the machine that a shell runs on has a type that is not known there: programs
would refuse to start, or take it for a dumb one. Nearly all of them do what an xterm does.

Hazard: where no directory of descriptions is found (another system, a database in one file) nothing
is known, and every type counts as usable.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

_DIRECTORIES = (
    *("/etc/terminfo", "/lib/terminfo", "/usr/share/terminfo", "/usr/lib/terminfo"),
    *("/usr/local/share/terminfo", "/usr/share/misc/terminfo"),
    "/run/current-system/sw/share/terminfo",
)
_INSTEAD = ("xterm-256color", "xterm")
_NO_TYPE = ("", "dumb", "unknown")


def usable_type(term: str, environment: Mapping[str, str]) -> str:
    """Return `term`, or where this environment does not know it, one that it knows instead."""
    places = [place for place in _places(environment) if place.is_dir()]
    if term in _NO_TYPE or not places or _is_known(term, places):
        return term
    return next((other for other in _INSTEAD if _is_known(other, places)), term)


def _places(environment: Mapping[str, str]) -> Iterator[Path]:
    own = [environment.get("TERMINFO", ""), *environment.get("TERMINFO_DIRS", "").split(":")]
    yield from (Path(place) for place in own if place)
    if home := environment.get("HOME"):
        yield Path(home, ".terminfo")
    yield from map(Path, _DIRECTORIES)


def _is_known(term: str, places: list[Path]) -> bool:
    if "/" in term or "\0" in term:
        return False
    # The directory is the first letter, or its number where the system ignores the case of names.
    begun = (term[0], f"{ord(term[0]):x}")
    return any((place / first / term).exists() for place in places for first in begun)
