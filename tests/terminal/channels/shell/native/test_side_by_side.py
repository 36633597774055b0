"""Odd lines at the prompt, and in the same shell on a terminal of its own: the quick ones."""

from __future__ import annotations

import shutil

import pytest

from tests.support.odd_commands import ODD, why
from tests.support.side_by_side import side_by_side

GROUPS = {
    "bash": {
        *("arguments of lines before", "set -k", "shadows builtin", "enable -n"),
        *("numbers of commands", "PS1 with a command", "exec of a shell"),
    },
    "zsh": {"arguments of lines before", "shadows builtin", "disable", "pipestatus"},
    "fish": {"pipes", "functions", "exit"},
}


@pytest.mark.parametrize("name", GROUPS)
async def test_lines_do_what_they_do_on_a_terminal_of_ones_own(name: str) -> None:
    if shutil.which(name) is None:
        pytest.skip(f"there is no {name}")
    groups = [group for group in ODD[name] if group.name in GROUPS[name]]
    assert len(groups) == len(GROUPS[name])
    async for found in side_by_side(name, groups):
        assert [line for line in found if not why(name, line)] == []
