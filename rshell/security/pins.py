"""Pinned certificates: refusing a server that is not the one whose token we hold.

Strategy: every token line names the fingerprint of its server, so the pin comes with the token
and there is no first contact without one. The check runs after the TLS handshake and before a
byte is written.

Hazard: an exception in the check must end the link. Silence is the only consent.
"""

from __future__ import annotations

from rshell.errors import UntrustedServer
from rshell.security.certificates import fingerprint, parse_fingerprint
from rshell.values import Address


def check_fingerprint(expected: str | None, der: bytes | None, address: Address) -> None:
    """Refuse a server whose certificate (`der`) is not the expected one.

    `expected` None means that nothing is pinned: any certificate passes, and the login's
    channel binding decides. Raises UntrustedServer for another certificate or none at all,
    ConfigurationError for an `expected` that is no fingerprint. Silence is the only consent.
    """
    if not der:
        raise UntrustedServer(
            f"{address} showed no certificate. Nothing was sent to it. Is it an rshell-server?",
            expected=expected or "",
        )
    if expected is None:
        return
    wanted, received = parse_fingerprint(expected), fingerprint(der)
    if wanted != received:
        raise UntrustedServer(
            f"{address} is not the server that is known here. Nothing was sent to it. "
            f"Expected {wanted}, received {received}. If its certificate was replaced on purpose, "
            "run `rshell-token add NAME` there and paste the line into `rshell --login` here; "
            "otherwise somebody stands in between.",
            expected=wanted,
            received=received,
        )
