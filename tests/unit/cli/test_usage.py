"""The help names what there is, and fits."""

from __future__ import annotations

import re

from rshell.cli.options import _LONG, _SHORT
from rshell.cli.usage import HELP


def test_help_names_every_option() -> None:
    for name in _LONG:
        assert f"--{name.rstrip('=')}" in HELP
    for letter in set(_SHORT) - set(":vhlf"):  # the long names of these are there
        assert re.search(rf"^  -{letter}\b", HELP, re.MULTILINE), letter
    assert all(len(line) <= 100 for line in HELP.splitlines())
