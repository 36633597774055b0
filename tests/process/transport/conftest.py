"""A certificate for all tests of this directory: making one costs more than most of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from rshell.security.certificates import CertificateFiles, ensure_certificate


@pytest.fixture
def certificate(prepared_state: Path) -> CertificateFiles:
    """A self-signed certificate and its key."""
    return ensure_certificate(prepared_state / "rshell" / "server")
