"""Tokens that are revoked while their sessions live.

Strategy: the file is looked at once a second, whatever edited it, and whoever is concerned is
asked only after it has changed.

Hazard: a file that can't be read stops logins until it is mended. That is said once for each
trouble, not once a second, and ends nobody's session.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from rshell.errors import ConfigurationError
from rshell.protocol.scram import Verifier
from rshell.security.tokens import TokenStore

_LOOK = 1.0  # seconds between two looks

_log = logging.getLogger("rshell.server")

Lookup = Callable[[str], Verifier | None]


class TokenWatch:
    """Calls `on_change(lookup)` whenever `tokens` have changed, until it is closed."""

    def __init__(self, tokens: TokenStore, on_change: Callable[[Lookup], None]) -> None:
        self._tokens = tokens
        self._on_change = on_change
        self._trouble = ""
        self._timer = asyncio.get_running_loop().call_later(_LOOK, self._look)

    def close(self) -> None:
        """Look no more."""
        self._timer.cancel()

    def _look(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_LOOK, self._look)
        try:
            if self._tokens.refresh():
                self._on_change(self._tokens.lookup)
                self._trouble = ""
        except ConfigurationError as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                _log.error("no logins until this is mended: %s", error)
