"""A certificate for all tests of this directory: making one costs more than most of them."""

from __future__ import annotations

import pytest

from rshell.security.certificates import CertificateFiles, ensure_certificate


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> CertificateFiles:
    """A self-signed certificate and its key."""
    directory = tmp_path_factory.mktemp("certificate")
    directory.chmod(0o700)
    return ensure_certificate(directory)
