"""Fixtures for every test: the shells of this machine, a server, and a program that paints."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.commands import ServerProcess, serving
from tests.support.named import PAINTER
from tests.support.shells import SHELLS, use_shell


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each shell in turn, as the remote user's own; its path."""
    return use_shell(request.param, tmp_path, monkeypatch)


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A directory whose name leaves room for a command behind it in a prompt.

    Unlike that of tmp_path, which grows with the number of runs on a machine.
    """
    with tempfile.TemporaryDirectory(prefix="r") as path:
        yield Path(path)


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
