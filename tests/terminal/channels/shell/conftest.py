"""Which shells a test tries that asks for `program`.

The contract, which says what every shell must do, is tried with each shell of this machine; all
else with bash.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.shells import SHELLS, use_shell

# busybox takes the end of a background job for the end of its input, once in fifty times.
WITHOUT_JOBS = {"busybox"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Choose the shells."""
    is_contract = metafunc.module.__name__.rpartition(".")[2] == "test_contract"
    shells = SHELLS if is_contract else SHELLS[:1]
    for name in ("program", "program_with_jobs"):
        is_given = any(
            name in mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")
        )
        if name in metafunc.fixturenames and not is_given:
            trusted = [shell for shell in shells if name == "program" or shell not in WITHOUT_JOBS]
            metafunc.parametrize(name, trusted, indirect=True)


@pytest.fixture
def program(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The path of a shell, which is the user's shell in this test."""
    return use_shell(request.param, tmp_path, monkeypatch)


@pytest.fixture
def program_with_jobs(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    """The path of a shell that can be trusted with background jobs; as `program`."""
    return use_shell(request.param, tmp_path, monkeypatch)
