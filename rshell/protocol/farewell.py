"""What a GOODBYE means: from an error to its frame, and from the frame to an error."""

from __future__ import annotations

from rshell.errors import (
    AuthenticationFailed,
    ResumeFailed,
    RshellError,
    SessionClosed,
    VersionMismatch,
)
from rshell.protocol.messages import Goodbye

Versions = tuple[int, int]


def error_from_goodbye(goodbye: Goodbye, ours: Versions) -> RshellError:
    """Return the error that a peer's GOODBYE stands for; `ours` are the versions we speak."""
    reason = goodbye.reason or goodbye.code
    if goodbye.code == "version" and goodbye.versions:
        return version_mismatch(ours, goodbye.versions)
    if goodbye.code == "auth":
        return AuthenticationFailed(reason)
    if goodbye.code == "resume-failed":
        return ResumeFailed(reason)
    return SessionClosed(goodbye.code, reason, by="remote")


def version_mismatch(ours: Versions, theirs: Versions) -> VersionMismatch:
    """Return the error for two ends without a common version."""
    return VersionMismatch(
        f"no common protocol version: this side speaks {ours[0]} to {ours[1]}, the other "
        f"{theirs[0]} to {theirs[1]}. Update the older of the two.",
        ours=ours,
        theirs=theirs,
    )
