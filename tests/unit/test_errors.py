"""The hierarchy that callers rely on."""

from __future__ import annotations

import pytest

from rshell import errors
from rshell.errors import (
    AddressError,
    AuthenticationFailed,
    ChannelError,
    ChannelRefused,
    ChannelReset,
    ConnectError,
    JobLost,
    LinkLost,
    OpenTimeout,
    OutputTruncated,
    ProcessError,
    ProcessFailed,
    ProcessTimeout,
    ResumeFailed,
    RshellError,
    SessionClosed,
    SpawnError,
    UntrustedServer,
    VersionMismatch,
)


def every_error() -> list[type[RshellError]]:
    return [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, RshellError)
    ]


def test_one_net_catches_them_all_and_none_is_a_cancellation() -> None:
    assert len(every_error()) > 20
    for error in every_error():
        assert issubclass(error, Exception) and error.__doc__


@pytest.mark.parametrize(
    "error", [AddressError, UntrustedServer, AuthenticationFailed, VersionMismatch, OpenTimeout]
)
def test_whatever_stops_a_connection_is_a_connect_error(error: type[Exception]) -> None:
    assert issubclass(error, ConnectError)


def test_timeouts_are_what_except_timeout_error_catches() -> None:
    assert issubclass(OpenTimeout, TimeoutError) and issubclass(ProcessTimeout, TimeoutError)
    assert issubclass(AddressError, ValueError)


def test_a_lost_link_is_an_end_of_the_session_and_no_process_error() -> None:
    lost = LinkLost("the link was cut")
    assert (lost.code, lost.reason, lost.by, str(lost)) == (
        "lost",
        "the link was cut",
        "remote",
        "the link was cut",
    )
    assert isinstance(lost, SessionClosed) and not isinstance(lost, (ProcessError, ChannelError))
    assert (ResumeFailed("x").code, ResumeFailed("x", by="local").by) == ("resume-failed", "local")


def test_facts_are_attributes() -> None:
    assert AddressError("bad", text="x:y").text == "x:y"
    assert VersionMismatch("old", ours=(1, 1), theirs=(2, 3)).theirs == (2, 3)
    assert OpenTimeout("late", timeout=2.5).timeout == 2.5
    refused = ChannelRefused("unknown-kind", "none here")
    assert (refused.code, refused.reason) == ("unknown-kind", "none here")
    assert str(refused) == refused.reason
    reset = ChannelReset("cancelled", "gone")
    assert (reset.code, reset.by) == ("cancelled", "remote")
    assert SpawnError(127, "not found").status == 127
    failed = ProcessFailed("x", exit_status=None, signal="SIGTERM", stdout=b"o", stderr=b"e")
    assert (failed.exit_status, failed.signal, failed.stdout) == (None, "SIGTERM", b"o")
    cut = OutputTruncated("x", max_output=9, stdout=b"123456789", stderr=b"")
    assert (cut.max_output, len(cut.stdout)) == (9, 9)
    assert JobLost("x", name="a").name == "a"
    late = ProcessTimeout("x", timeout=1.0, stdout="a", stderr="")
    assert (late.timeout, late.stdout) == (1.0, "a")
