"""Each test that asks for `program` runs with every one of the shells."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.shells import SHELLS, use_shell

# busybox takes the end of a background job for the end of its input, once in fifty times.
WITH_JOBS = [name for name in SHELLS if name != "busybox"]


@pytest.fixture(params=WITH_JOBS)
def program_with_jobs(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    """The path of a shell that can be trusted with background jobs; as `program`."""
    return use_shell(request.param, tmp_path, monkeypatch)


@pytest.fixture(params=SHELLS)
def program(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The path of a shell, which is the user's shell in this test."""
    return use_shell(request.param, tmp_path, monkeypatch)
