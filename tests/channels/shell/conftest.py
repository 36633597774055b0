"""The shells of this machine: each test that asks for `program` runs with every one of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

_NAMES = ("bash", "sh", "dash", "zsh", "ksh", "mksh", "busybox")
_PATHS = {name: path for name in _NAMES if (path := shutil.which(name))}
# `sh` is often one of the others.
FOUND = list({Path(path).resolve(): name for name, path in _PATHS.items()}.values())


# busybox takes the end of a background job for the end of its input, once in fifty times.
WITH_JOBS = [name for name in FOUND if name != "busybox"]


@pytest.fixture(params=WITH_JOBS)
def program_with_jobs(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The path of a shell that can be trusted with background jobs; as `program`."""
    monkeypatch.setenv("SHELL", _PATHS[request.param])
    return _PATHS[request.param]


@pytest.fixture(params=FOUND)
def program(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The path of a shell, which is the user's shell in this test."""
    path = _PATHS[request.param]
    if request.param == "busybox":
        link = tmp_path / "sh"
        link.symlink_to(path)
        path = str(link)
    monkeypatch.setenv("SHELL", path)
    return path
