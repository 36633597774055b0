"""The shells of this machine, each of which the prompt must get along with."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

SHELLS = [
    shell
    for shell in ("/bin/bash", "/bin/sh", "/bin/zsh", "busybox")
    if shutil.which(shell) is not None
]


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each shell in turn, as the remote user's own."""
    path = str(request.param)
    if path == "busybox":
        link = tmp_path / "ash"
        link.symlink_to(shutil.which("busybox") or "")
        path = str(link)
    monkeypatch.setenv("SHELL", path)
    return path
