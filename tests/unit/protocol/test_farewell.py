from __future__ import annotations

import pytest

from rshell.errors import (
    AuthenticationFailed,
    ResumeFailed,
    RshellError,
    SessionClosed,
    VersionMismatch,
)
from rshell.protocol.farewell import error_from_goodbye, version_mismatch
from rshell.protocol.messages import Goodbye


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("auth", AuthenticationFailed),
        ("resume-failed", ResumeFailed),
        ("shutdown", SessionClosed),
        ("a-later-code", SessionClosed),
    ],
)
def test_each_code_becomes_its_error(code: str, error: type[RshellError]) -> None:
    found = error_from_goodbye(Goodbye(code, "because"), (1, 1))
    assert type(found) is error
    assert str(found) == "because"


def test_a_goodbye_without_a_reason_says_its_code() -> None:
    assert str(error_from_goodbye(Goodbye("shutdown", ""), (1, 1))) == "shutdown"


def test_a_version_goodbye_names_both_ranges() -> None:
    found = error_from_goodbye(Goodbye("version", "x", (4, 6)), (1, 2))
    assert isinstance(found, VersionMismatch)
    assert (found.ours, found.theirs) == ((1, 2), (4, 6))
    assert "1 to 2" in str(found)
    assert "4 to 6" in str(found)
    assert str(version_mismatch((1, 2), (4, 6))) == str(found)


def test_a_version_goodbye_without_versions_is_no_crash() -> None:
    assert isinstance(error_from_goodbye(Goodbye("version", "x"), (1, 1)), SessionClosed)
