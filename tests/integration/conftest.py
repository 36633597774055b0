"""What tests share: the shells of this machine, a server, and a program that paints."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.commands import ServerProcess, serving
from tests.support.named import PAINTER

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


@pytest.fixture
def server() -> Iterator[ServerProcess]:
    """A server on a Unix socket, where a test module has none of its own."""
    with serving("--unix", os.environ["XDG_RUNTIME_DIR"] + "/socket") as server:
        yield server


@pytest.fixture
def painter(tmp_path: Path) -> str:
    """A command that paints."""
    path = tmp_path / "painter.py"
    path.write_text(PAINTER)
    return f"{sys.executable} {path}"
