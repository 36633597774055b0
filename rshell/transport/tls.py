"""TLS 1.3 through `SSLContext.wrap_bio`, driven by our own protocol.

The stream reads ciphertext into the shared buffer, deciphers it into another shared buffer and
hands it to the driver; it keeps nothing between two reads. asyncio's own TLS keeps a zeroed
256 KiB buffer for each connection, fifteen times the memory of this.

Hazard: Python goes on when ALPN finds no overlap. Both sides check the chosen name, or a web
page could make a browser talk to us.

Hazard: the check of the server's certificate runs before the first byte of ours is written,
and any exception in it ends the link: it fails closed.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Optional

from rshell.errors import (
    ConnectError,
    LinkLost,
    RshellError,
    ServerBusy,
    UntrustedServer,
    caused_by,
)
from rshell.protocol.frames import Buffer
from rshell.security.certificates import ALPN
from rshell.transport.driver import Driver
from rshell.transport.sockets import SocketStream, join_small, shared
from rshell.values import Bounds

_RECORDS = 64  # that are read before other links get their turn
_BEGINNINGS = (b"\x15", b"\x16")  # an alert and a handshake message are what TLS begins with
_OTHERS = {b"SSH-": "SSH", b"HTTP/": "HTTP without TLS"}
_QUOTED = 80  # bytes of what is no TLS

CheckPeer = Callable[[Optional[bytes]], None]


class TlsStream(SocketStream):
    """Frames over TLS on a connected stream socket.

    `check_peer` gets the peer's certificate (DER, None if it showed none) once the handshake is
    done, and raises an RshellError to refuse it.
    """

    def __init__(
        self,
        driver: Driver,
        limits: Bounds,
        context: ssl.SSLContext,
        *,
        server_hostname: str | None = None,
        server_side: bool = False,
        check_peer: CheckPeer | None = None,
    ) -> None:
        super().__init__(driver, limits)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_side, server_hostname=server_hostname
        )
        self._check_peer = check_peer
        self._is_ready = False
        self._failure: Exception | None = None
        self._first = b""  # that came from a server

    # What asyncio calls.

    def _begin(self) -> None:
        self._shake_hands()

    def buffer_updated(self, nbytes: int) -> None:
        """Decipher what was read and pass it on."""
        self._incoming.write(shared.received[:nbytes])
        if not self._is_ready:
            self._driver.has_begun = True
            if not self._tls.server_side and not self._first:
                self._first = bytes(shared.received[: min(nbytes, _QUOTED)])
            self._shake_hands()
        if self._is_ready:
            self._driver.in_order(self._read)

    def eof_received(self) -> bool | None:
        """Take the end of the socket; without a GOODBYE before it, it proves nothing."""
        if self._is_ready:
            self._driver.receive_eof()
        else:
            self._fail(ServerBusy("the other side closed the connection during the handshake"))
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        """Take the end of the socket."""
        if isinstance(exc, ConnectionError) and not self._is_ready and self._failure is None:
            reason = "the other side reset the connection during the handshake"
            self._failure = caused_by(exc, ServerBusy(reason))
        super().connection_lost(self._failure or exc)

    # What the driver calls.

    def write(self, buffers: list[Buffer]) -> None:
        """Encipher and write all buffers, in order."""
        if self._transport is None or self._is_closing or self._transport.is_closing():
            return
        for buffer in join_small(buffers):
            self._tls.write(buffer)
        self._transport.write(self._outgoing.read())

    def close(self) -> None:
        """Say close_notify after what is kept, then close."""
        if self._transport is not None and not self._is_closing and self._is_ready:
            try:
                self._tls.unwrap()
            except ssl.SSLError:
                pass  # we don't wait for the peer's own close_notify
            self._transport.write(self._outgoing.read())
        super().close()

    # The handshake and the records.

    def _shake_hands(self) -> None:
        try:
            try:
                self._tls.do_handshake()
            finally:
                self._write_outgoing()  # an alert, too, before we close: it tells the peer why
        except ssl.SSLWantReadError:
            return
        except (ssl.SSLError, OSError) as error:
            self._fail(_explain(error, self._first))
            return
        try:
            self._check()
        except RshellError as error:
            self._fail(error)
        except Exception as error:
            reason = f"the server's certificate could not be checked: {error}"
            self._fail(caused_by(error, ConnectError(reason)))
        else:
            self._is_ready = True
            self._driver.stream_ready()

    def _check(self) -> None:
        chosen = self._tls.selected_alpn_protocol()
        if chosen != ALPN:
            raise ConnectError(
                f"the other side speaks TLS but not rshell (ALPN {chosen or 'absent'!r}, "
                f"not {ALPN!r}). Check the port."
            )
        if self._check_peer is not None:
            self._check_peer(self._tls.getpeercert(binary_form=True))

    def _read(self) -> None:
        plain = shared.plain
        at = 0
        is_over = has_more = False
        try:
            for _ in range(_RECORDS):
                if not (self._incoming.pending or self._tls.pending()):
                    break
                size = self._tls.read(len(plain) - at, plain[at:])
                if not size:
                    break
                at += size  # type: ignore[operator]
                if at == len(plain):
                    self._driver.receive_data(plain[:at])
                    at = 0
            else:
                has_more = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            is_over = True
        except ssl.SSLError as error:
            # Anybody between the ends can do this, as they can cut: it proves nothing of the peer.
            reason = f"the TLS stream is damaged: {error.reason or error}"
            self._fail(caused_by(error, LinkLost(reason)))
            return
        if at:
            self._driver.receive_data(plain[:at])
        if is_over:
            self._driver.receive_eof()
            super().close()
        elif has_more:
            self._driver.put_off(self._read)

    def _write_outgoing(self) -> None:
        if self._transport is not None and self._outgoing.pending:
            self._transport.write(self._outgoing.read())

    def _fail(self, error: Exception) -> None:
        """End the link with `error` as its cause, after what is kept has been written."""
        if self._failure is None:
            self._failure = error
        super().close()


def _explain(error: Exception, first: bytes) -> ConnectError:
    if first and first[:1] not in _BEGINNINGS:
        known = next((name for mark, name in _OTHERS.items() if first.startswith(mark)), "no TLS")
        reason = f"the other side speaks {known}: it says {first.rstrip()!r}. Check the port."
        return caused_by(error, ConnectError(reason.replace("says b", "says ", 1)))
    text = getattr(error, "verify_message", "") or getattr(error, "reason", "") or str(error)
    is_stranger = isinstance(error, ssl.SSLCertVerificationError)
    kind = UntrustedServer if is_stranger else ConnectError
    return caused_by(error, kind(f"the TLS handshake failed: {text}"))
