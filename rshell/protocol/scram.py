"""Login by SCRAM-SHA-256-PLUS: both ends prove that they know a secret that never travels.

RFC 5802 with the hash of RFC 7677 and the channel binding `tls-server-end-point` of RFC 5929. Four
messages, text in and text out, which AUTH frames carry (login.py):

    ScramClient.first() -> ScramServer.challenge() -> ScramClient.final()
    -> ScramServer.finish() -> ScramClient.verify()

Only printable ASCII is accepted in messages, identities and secrets: SASLprep (RFC 4013)
leaves such text as it is, and nothing has to be normalised.

Hazards:
- A client that skips `verify()` talks to a server that proved nothing.
- The binding must be the digest of the certificate that *this* end saw. Copied from the other
  end it would bless a man in the middle.
- An unknown identity must cost what a known one costs, or identities could be listed. All
  verifiers therefore share one iteration count and one salt size, and the fake one is always
  computed.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any

from rshell.errors import LocalProtocolError
from rshell.values import frozen

LARGEST_MESSAGE = 4096  # characters
FEWEST_ITERATIONS = 4096  # RFC 7677 section 4
MOST_ITERATIONS = 1_000_000  # a hostile server can cost a client half a second, not more

_SALT_SIZE = 16
_DIGEST_SIZE = 32
_BINDING_FLAG = "p=tls-server-end-point"
_NONCE = re.compile(r"[!-+\--~]+")  # RFC 5802 "printable": no blank and no comma
_COUNT = re.compile(r"[1-9][0-9]{0,9}")
_EXTENSION = re.compile(r"[A-Za-z]=.+")
_DEFINED = "acmnrsvipe"  # attributes of RFC 5802: none of them can come as an extension
_BAD_ESCAPE = re.compile(r"=(?!2C|3D)")


class ScramError(ValueError):
    """A message is malformed, or the other end did not prove what it claims.

    The text never holds a secret, and never text that the other end chose.
    """


@frozen
class Verifier:
    """What a server keeps instead of a secret: enough to check a proof, not enough to make one.

    `stored_key` and `server_key` are 32 bytes (RFC 5802 section 3), `salt` 8 to 64 bytes and
    `iterations` 4096 to 1,000,000; anything else raises ScramError.
    """

    salt: bytes
    iterations: int
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)  # its holder can pose as the server

    def __post_init__(self) -> None:
        if len(self.stored_key) != _DIGEST_SIZE or len(self.server_key) != _DIGEST_SIZE:
            raise ScramError(f"a key of a verifier is not {_DIGEST_SIZE} bytes long")
        if not 8 <= len(self.salt) <= 64:
            raise ScramError(f"a salt of {len(self.salt)} bytes instead of 8 to 64")
        _check_iterations(self.iterations)

    @classmethod
    def from_secret(cls, secret: str, *, salt: bytes | None = None) -> Verifier:
        """Derive the verifier of a secret (printable ASCII), with a random salt unless given."""
        if salt is None:
            salt = secrets.token_bytes(_SALT_SIZE)
        salted = _salted_secret(secret, salt, FEWEST_ITERATIONS)
        stored_key = hashlib.sha256(_hmac(salted, b"Client Key")).digest()
        return cls(salt, FEWEST_ITERATIONS, stored_key, _hmac(salted, b"Server Key"))

    def to_json(self) -> dict[str, str | int]:
        """Return a JSON object: `salt`, `stored_key`, `server_key` in base64, `iterations`."""
        return {
            "salt": _encode(self.salt),
            "iterations": self.iterations,
            "stored_key": _encode(self.stored_key),
            "server_key": _encode(self.server_key),
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Verifier:
        """Read what `to_json` gave. Raises ScramError for anything else."""
        texts = [body.get(name) for name in ("salt", "stored_key", "server_key")]
        salt, stored_key, server_key = (_decode(t) if isinstance(t, str) else b"" for t in texts)
        return cls(salt, _check_iterations(body.get("iterations")), stored_key, server_key)


class ScramClient:
    """The client's half of one login; call `first`, `final` and `verify` once each, in order.

    `binding` is the SHA-256 digest of the certificate that the server presented. None offers
    no channel binding (gs2 header `n,,`); it exists for RFC 7677's test vector only.
    A step out of order raises LocalProtocolError.
    """

    def __init__(
        self, identity: str, secret: str, binding: bytes | None, *, nonce: str | None = None
    ) -> None:
        if not identity:
            raise ScramError("a login needs an identity")
        _check_text(identity, "an identity")
        self._secret = secret
        self._header = "n,," if binding is None else f"{_BINDING_FLAG},,"
        self._binding = binding or b""
        self._nonce = _check_nonce(secrets.token_urlsafe(24) if nonce is None else nonce)
        name = identity.replace("=", "=3D").replace(",", "=2C")
        self._bare = f"n={name},r={self._nonce}"
        self._server_signature = b""
        self._steps = _Steps()

    def first(self) -> str:
        """Return the client-first-message."""
        self._steps.take("first", after="")
        return self._header + self._bare

    def final(self, server_first: str) -> str:
        """Answer the challenge: return the client-final-message.

        Raises ScramError if the challenge is malformed, or was not made for this login.
        """
        self._steps.take("final", after="first")
        _check_text(server_first, "a login message")
        nonce, salt_text, count = _attributes(server_first, "rsi")
        _check_nonce(nonce)
        if not nonce.startswith(self._nonce) or len(nonce) == len(self._nonce):
            raise ScramError("the server's nonce does not continue ours: an old message?")
        salt = _decode(salt_text)
        if not salt:
            raise ScramError("the server sent an empty salt")
        iterations = _check_iterations(int(count) if _COUNT.fullmatch(count) else 0)
        salted = _salted_secret(self._secret, salt, iterations)
        client_key = _hmac(salted, b"Client Key")
        stored_key = hashlib.sha256(client_key).digest()
        without_proof = f"c={_encode(self._header.encode() + self._binding)},r={nonce}"
        login = f"{self._bare},{server_first},{without_proof}".encode()
        self._server_signature = _hmac(_hmac(salted, b"Server Key"), login)
        return f"{without_proof},p={_encode(_xor(client_key, _hmac(stored_key, login)))}"

    def verify(self, server_final: str) -> None:
        """Check the server's proof. Raises ScramError if it refused, or proved nothing."""
        self._steps.take("verify", after="final")
        _check_text(server_final, "a login message")
        if server_final.startswith("e="):
            raise ScramError("the server refused the login")  # its own words are not repeated
        (signature,) = _attributes(server_final, "v")
        if not hmac.compare_digest(_decode(signature), self._server_signature):
            raise ScramError("the server did not prove that it knows the token")


class ScramServer:
    """The server's half of one login; call `challenge` and `finish` once each, in order.

    `lookup` gives the verifier of an identity, or None; what it raises passes through.
    `fake_key` (32 secret bytes that outlive a restart) makes up salts for unknown identities.
    `binding` is the SHA-256 digest of our own certificate; with it, a client that offers less
    than `tls-server-end-point` is refused. A step out of order raises LocalProtocolError.
    """

    def __init__(
        self,
        lookup: Callable[[str], Verifier | None],
        fake_key: bytes,
        binding: bytes | None,
        *,
        nonce: str | None = None,
    ) -> None:
        self._lookup = lookup
        self._fake_key = fake_key
        self._binding = binding
        self._own_nonce = _check_nonce(secrets.token_urlsafe(24) if nonce is None else nonce)
        self._identity = self._header = self._nonce = self._first_two = ""
        self._known = False  # until then the fake verifier, which no proof fits
        self._verifier = self._fake_verifier()
        self._steps = _Steps()

    @property
    def identity(self) -> str:
        """Who the client claims to be, after `challenge`; proved only once `finish` returned."""
        self._steps.need("challenge", "finish")
        return self._identity

    @property
    def verifier(self) -> Verifier | None:
        """What the proof is checked against, None while the identity is not a known one."""
        return self._verifier if self._known else None

    def challenge(self, client_first: str) -> str:
        """Answer the client-first-message with the server-first-message.

        Raises ScramError if it is malformed or offers no suitable channel binding.
        """
        self._steps.take("challenge", after="")
        _check_text(client_first, "a login message")
        flag, _, rest = client_first.partition(",")
        authorization, _, bare = rest.partition(",")
        # Less than we can do is a downgrade by somebody in between (RFC 5802 section 6).
        if flag not in (("n", "y") if self._binding is None else (_BINDING_FLAG,)):
            raise ScramError("a login without the channel binding that is asked for here")
        if authorization:
            raise ScramError("a login can't be made in the name of another identity")
        name, client_nonce = _attributes(bare, "nr")
        self._identity = _unescape(name)
        self._nonce = _check_nonce(client_nonce) + self._own_nonce
        self._header = f"{flag},,"
        # Both are always made, and one is chosen: the same work for known and unknown.
        fake = self._fake_verifier()
        found = self._lookup(self._identity)
        self._known = found is not None
        self._verifier = found or fake
        salt = _encode(self._verifier.salt)
        server_first = f"r={self._nonce},s={salt},i={self._verifier.iterations}"
        self._first_two = f"{bare},{server_first}"
        return server_first

    def finish(self, client_final: str) -> str:
        """Check the client's proof and return the server-final-message, our own proof.

        Raises ScramError if the message is malformed, belongs to another login or another TLS
        connection, or does not prove the identity. Unknown and unproved read the same.
        """
        self._steps.take("finish", after="challenge")
        _check_text(client_final, "a login message")
        without_proof, _, proof_text = client_final.rpartition(",p=")
        bound, nonce = _attributes(without_proof, "cr")
        expected = self._header.encode() + (self._binding or b"")
        if not hmac.compare_digest(_decode(bound), expected):
            raise ScramError("the login was made for another TLS connection: someone in between?")
        if not hmac.compare_digest(nonce, self._nonce):
            raise ScramError("the login answers another challenge: an old message?")
        proof = _decode(proof_text)
        if len(proof) != _DIGEST_SIZE:
            raise ScramError(f"a proof of {len(proof)} bytes instead of {_DIGEST_SIZE}")
        login = f"{self._first_two},{without_proof}".encode()
        client_key = _xor(proof, _hmac(self._verifier.stored_key, login))
        signature = _hmac(self._verifier.server_key, login)
        digest = hashlib.sha256(client_key).digest()
        proved = hmac.compare_digest(digest, self._verifier.stored_key)
        if not (proved and self._known):
            raise ScramError("the login was not proved: unknown identity or wrong token")
        return f"v={_encode(signature)}"

    def _fake_verifier(self) -> Verifier:
        """Make up a verifier that nobody has the secret of, the same at every try."""
        name = self._identity.encode()
        salt = _hmac(self._fake_key, b"salt " + name)[:_SALT_SIZE]
        stored_key = _hmac(self._fake_key, b"stored " + name)
        server_key = _hmac(self._fake_key, b"server " + name)
        return Verifier(salt, FEWEST_ITERATIONS, stored_key, server_key)


class _Steps:
    """Refuses a step out of order or taken twice: one challenge allows one guess."""

    def __init__(self) -> None:
        self._last = ""

    def take(self, step: str, *, after: str) -> None:
        self.need(after)
        self._last = step

    def need(self, *allowed: str) -> None:
        if self._last not in allowed:
            last = self._last or "nothing"
            raise LocalProtocolError(f"this login step does not follow {last}")


def _attributes(text: str, names: str) -> list[str]:
    """Split `a=..,b=..` into the values of `names`, which must come in this order.

    Optional extensions may follow; RFC 5802 section 5.1 wants unknown ones ignored, and `m=`
    (mandatory extension) refused.
    """
    parts = text.split(",")
    if any(part.startswith("m=") for part in parts):
        raise ScramError("a login message with an unknown mandatory extension")
    values = []
    for name, part in zip(names, parts):
        if not part.startswith(f"{name}="):
            raise ScramError(f"a login message without {name}= in its place")
        values.append(part[2:])
    if len(values) < len(names):
        raise ScramError("a login message that ends too early")
    for extension in parts[len(names) :]:
        if not _EXTENSION.fullmatch(extension) or extension[0] in _DEFINED:
            raise ScramError("a login message with something after its end")
    return values


def _check_text(text: str, what: str) -> None:
    if len(text) > LARGEST_MESSAGE:
        raise ScramError(f"{what} of more than {LARGEST_MESSAGE} characters")
    if not (text.isascii() and text.isprintable()):
        raise ScramError(f"{what} with other than printable ASCII characters")


def _check_nonce(nonce: str) -> str:
    if not _NONCE.fullmatch(nonce):
        raise ScramError("a nonce that is empty, or holds a blank or a comma")
    return nonce


def _check_iterations(iterations: object) -> int:
    if not isinstance(iterations, int) or not FEWEST_ITERATIONS <= iterations <= MOST_ITERATIONS:
        raise ScramError(f"iterations outside {FEWEST_ITERATIONS} to {MOST_ITERATIONS}")
    return iterations


def _unescape(name: str) -> str:
    if not name or _BAD_ESCAPE.search(name):
        raise ScramError("an identity that is empty or wrongly escaped")
    return name.replace("=2C", ",").replace("=3D", "=")


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _decode(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        data = b""
    # One spelling for one value: spare bits set in the last character are refused too.
    if _encode(data) != text:
        raise ScramError("a login value is not base64")
    return data


def _salted_secret(secret: str, salt: bytes, iterations: int) -> bytes:
    _check_text(secret, "a secret")
    return hashlib.pbkdf2_hmac("sha256", secret.encode(), salt, iterations)


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")


def _xor(left: bytes, right: bytes) -> bytes:
    mixed = int.from_bytes(left, "big") ^ int.from_bytes(right, "big")
    return mixed.to_bytes(_DIGEST_SIZE, "big")
