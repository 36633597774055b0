"""What a system takes as arguments and variables of a program, and what to do about more.

Linux takes no argument or variable of more than 128 KiB, and the text of `sh -c` is one. A text
that is longer is given to a shell in pieces, as `sh -c 'eval "shift 2;${1}${2}"' sh PIECE PIECE`:
its stdin, its descriptors and its own arguments are then those of any other command. What no shell
can put together can't be started, and whoever asked is told which limit it has passed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import PurePath

_LONGEST = 32 * os.sysconf("SC_PAGE_SIZE") - 1  # bytes of one argument or variable, on Linux
_SHELLS = {"sh", "ash", "bash", "dash", "ksh", "mksh", "zsh"}


def in_pieces(argv: Sequence[str | bytes]) -> list[str | bytes]:
    """Return an argv without a text of `sh -c` that is too long for one argument."""
    found = list(argv)
    if found[1:2] != ["-c"] or len(found) < 3 or len(found[2]) <= _LONGEST // 4:
        return found
    text = os.fsencode(found[2])
    if len(text) <= _LONGEST or PurePath(os.fsdecode(found[0])).name not in _SHELLS:
        return found
    pieces: list[str | bytes] = []
    while text:
        end = min(len(text), _LONGEST)
        while end < len(text) and text[end] & 0xC0 == 0x80 and end > _LONGEST - 4:
            end -= 1  # no character of UTF-8 is cut
        pieces.append(text[:end])
        text = text[end:]
    all_of_it = "".join(f"${{{number}}}" for number in range(1, len(pieces) + 1))
    loader = f'eval "shift {len(pieces)};{all_of_it}"'  # on one line, which keeps their numbers
    return [found[0], "-c", loader, *(found[3:4] or found[:1]), *pieces, *found[4:]]


def what_is_too_large(argv: Sequence[str | bytes], env: Mapping[str, str]) -> str:
    """Say which limit of the system a command has passed."""
    arguments = [len(os.fsencode(argument)) for argument in argv]
    variables = {k: len(os.fsencode(k)) + len(os.fsencode(v)) + 1 for k, v in env.items()}
    name = max(variables, key=variables.__getitem__, default="")
    what, size = "an argument", max(arguments)
    if size <= _LONGEST and name:
        what, size = f"the variable {name}", variables[name]
    if size > _LONGEST:
        return f"{what} of {size} bytes is longer than this system takes for one, {_LONGEST}"
    # Each has a NUL at its end and an address.
    items = [*arguments, *variables.values()]
    total = sum(items) + 9 * len(items)
    most = os.sysconf("SC_ARG_MAX")
    return f"arguments and environment of {total} bytes are more than this system takes, {most}"
