"""The shells that tests try, each as the user's own: those of this machine."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

_NAMES = ("bash", "sh", "dash", "zsh", "ksh", "mksh", "busybox")
_PATHS = {name: path for name in _NAMES if (path := shutil.which(name))}
# `sh` is often one of the others.
SHELLS = list({Path(path).resolve(): name for name, path in _PATHS.items()}.values())


def use_shell(name: str, directory: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make one of SHELLS the user's own and return its path; `directory` is the test's."""
    path = _PATHS[name]
    if name == "busybox":  # which is what it is called as
        link = directory / "ash"
        link.symlink_to(path)
        path = str(link)
    monkeypatch.setenv("SHELL", path)
    return path
