"""How much a run of the tests tries: everything, or each thing once (`RSHELL_TESTS=brief`).

A brief run still has every test. It tries one shell where a full one tries all of the machine's,
and repeats less. What that leaves out does not depend on the Python that runs it, so a full run
with one Python and brief ones with others tell as much as full ones with all of them.
"""

from __future__ import annotations

import os

_EFFORT = os.environ.get("RSHELL_TESTS", "full")
if _EFFORT not in ("full", "brief"):
    raise ValueError(f"RSHELL_TESTS is 'full' or 'brief', not {_EFFORT!r}")

IS_BRIEF = _EFFORT == "brief"


def times(count: int) -> int:
    """Return how often to repeat what a full run repeats `count` times."""
    return max(1, count // 10) if IS_BRIEF else count
