"""The shells that tests try, each as the user's own: those of this machine.

`$RSHELL_TEST_SHELLS` names the ones to try instead of all, as in "bash zsh". What a shell does
does not depend on the Python, so a run for a second one may do with fewer.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

_NAMES = ("bash", "sh", "dash", "zsh", "ksh", "mksh", "busybox")
_WANTED = os.environ.get("RSHELL_TEST_SHELLS", " ".join(_NAMES)).split()
_PATHS = {name: path for name in _NAMES if name in _WANTED and (path := shutil.which(name))}
# `sh` is often one of the others.
SHELLS = list({Path(path).resolve(): name for name, path in _PATHS.items()}.values())


def use_shell(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make one of SHELLS the user's own and return its path; `folder` is the test's."""
    path = _PATHS[name]
    if name == "busybox":  # which is what it is called as
        link = folder / "ash"
        link.symlink_to(path)
        path = str(link)
    monkeypatch.setenv("SHELL", path)
    return path
