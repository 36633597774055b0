"""One target under atheris, in a process of its own: `python -m tests.fuzz.covered TARGET ...`.

The other arguments are libFuzzer's. Only rshell itself is instrumented: what the harness does is
of no interest to the search.
"""

from __future__ import annotations

import sys

import atheris


def main(name: str, arguments: list[str]) -> None:
    """Fuzz until libFuzzer ends the process."""
    with atheris.instrument_imports(include=["rshell"]):
        from tests.fuzz.targets import TARGETS
    atheris.Setup([f"tests.fuzz {name}", *arguments], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
