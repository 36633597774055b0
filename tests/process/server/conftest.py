"""Servers here look for revoked tokens often: no test is to wait a second for that."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def often_looked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the time between two looks."""
    monkeypatch.setattr("rshell.server.server._LOOK", 0.05)
