"""The server's certificate, its fingerprint, and the TLS settings of both ends.

TLS 1.3 only. A server makes its own P-256 key and self-signed certificate on its
first start, with the `openssl` program: the standard library can use certificates but can't
make them. A client trusts a CA if it was told to, else the pin or the login's channel binding.

Hazards:
- Python goes on when the ends share no ALPN protocol. Both ends must compare
  `selected_alpn_protocol()` with `ALPN` after the handshake.
- `client_context()` without a CA accepts any certificate. That is safe only because nothing is
  sent before `credentials.check_fingerprint`, and no login is accepted without its channel binding.
- On a full disk openssl leaves empty files and may call that success: a new pair is tried before it
  is put in its place, and what is empty there is made anew.
- A crash between writing the key and the certificate must not leave a pair that does not fit
  together: the certificate is written last, and an old one is removed before a new key.
- OpenSSL asks the terminal for the password of an encrypted key; a server would wait there for
  ever, so that question is answered with an error.

`ssl` and `subprocess` are imported where they are used: a Unix socket needs neither.
"""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rshell.errors import ConfigurationError
from rshell.security.files import locked, read_private, write_private
from rshell.values import frozen

if TYPE_CHECKING:
    import ssl

ALPN = "rshell/1"  # the protocol name that both ends must agree on (RFC 7301)

_OPENSSL_SECONDS = 60.0  # 12 ms as a rule; a machine short of randomness may take long
_FINGERPRINT = re.compile(r"(?:sha256:)?([0-9a-f]{2}(?::?[0-9a-f]{2}){31})", re.IGNORECASE)
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", re.DOTALL)


@frozen
class CertificateFiles:
    """Where a certificate (chain) and its private key lie, both in PEM."""

    certificate: Path
    key: Path


def ensure_certificate(directory: Path) -> CertificateFiles:
    """Return the pair `cert.pem` and `key.pem` in a private directory, made if it is not there.

    Two starts at once make one pair. Raises ConfigurationError if the directory or the key is open
    to others, or if the pair has to be made and there is no `openssl` program.
    """
    files = CertificateFiles(certificate=directory / "cert.pem", key=directory / "key.pem")
    with locked(files.certificate):
        try:
            is_there = read_private(files.key) and files.certificate.stat().st_size
        except FileNotFoundError:
            is_there = False
        if not is_there:
            _make_pair(directory, files)
    return files


def _make_pair(directory: Path, files: CertificateFiles) -> None:
    import tempfile

    try:
        with tempfile.TemporaryDirectory(dir=directory, prefix=".new-") as name:
            new = CertificateFiles(certificate=Path(name) / "cert.pem", key=Path(name) / "key.pem")
            _run_openssl(new)
            try:
                server_context(new.certificate, new.key)
            except ConfigurationError as error:
                raise ConfigurationError(
                    f"openssl made no certificate that can be used in {directory}. "
                    "Is the disk full?"
                ) from error
            files.certificate.unlink(missing_ok=True)
            write_private(files.key, new.key.read_bytes())
            write_private(files.certificate, new.certificate.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"can't make a certificate in {directory}: {error}.") from error


def _run_openssl(new: CertificateFiles) -> None:
    import subprocess

    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 36500"
    command += " -subj /CN=rshell -addext basicConstraints=critical,CA:FALSE"
    try:
        done = subprocess.run(
            [*command.split(), "-keyout", str(new.key), "-out", str(new.certificate)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            umask=0o077,
            timeout=_OPENSSL_SECONDS,
            check=False,
        )
    except FileNotFoundError as error:
        raise ConfigurationError(
            "there is no `openssl` program to make a certificate with. Install the package "
            "openssl, give your own with --cert FILE --key FILE, or serve a Unix socket with "
            "--unix PATH, which needs none."
        ) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigurationError(f"can't make a certificate with openssl: {error}.") from error
    if done.returncode != 0:
        reason = done.stderr.decode("utf-8", "replace").strip()[-500:]
        raise ConfigurationError(
            f"openssl could not make a certificate: {reason}. "
            "Give your own with --cert FILE --key FILE."
        )


def certificate_der(path: Path) -> bytes:
    """Return the first certificate of a PEM file, the server's own in a chain, as DER."""
    try:
        match = _PEM.search(path.read_text("ascii", "replace"))
        # `ssl.PEM_cert_to_DER_cert` makes something of damaged base64, and so is not used.
        der = base64.b64decode("".join(match[1].split()), validate=True) if match else b""
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"can't read the certificate {path}: {error}.") from error
    if not der:
        raise ConfigurationError(f"{path} holds no certificate in PEM. Give a PEM file.")
    return der


def fingerprint(der: bytes) -> str:
    """Return `SHA256:` and 64 lowercase hexadecimal digits for a certificate in DER."""
    return f"SHA256:{hashlib.sha256(der).hexdigest()}"


def parse_fingerprint(text: str) -> str:
    """Return a fingerprint as `fingerprint` writes it, from any case, with or without colons.

    Raises ConfigurationError for anything that is not a whole SHA-256 fingerprint.
    """
    match = _FINGERPRINT.fullmatch(text.strip())
    if match is None:
        raise ConfigurationError(
            f"not a fingerprint: {text[:120]!r}. Write SHA256: and 64 hexadecimal digits."
        )
    return f"SHA256:{match[1].replace(':', '').lower()}"


def binding(der: bytes) -> bytes:
    """Return the channel binding `tls-server-end-point` for a certificate in DER: 32 bytes.

    RFC 5929 section 4.1 takes the hash function of the certificate's signature, and SHA-256
    for MD5 and SHA-1. Here both ends always take SHA-256: the standard library can't read the
    signature's algorithm, and our own certificates are signed with SHA-256 anyway.
    """
    return hashlib.sha256(der).digest()


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Make the TLS settings of a server. Raises ConfigurationError for an unusable pair."""
    import ssl

    def refuse_password() -> str:
        raise ConfigurationError(f"the key {key} is encrypted. Give one without a password.")

    context = _context(ssl.PROTOCOL_TLS_SERVER)
    # A handshake costs half as much without tickets, and a resumed login is not wanted.
    context.num_tickets = 0
    try:
        context.load_cert_chain(certificate, key, password=refuse_password)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise ConfigurationError(
            f"can't use the certificate {certificate} with the key {key}: {error}. "
            "Both must be PEM and belong together."
        ) from error
    return context


def client_context(ca: Path | Literal["system"] | None = None) -> ssl.SSLContext:
    """Make the TLS settings of a client.

    With `ca`, a PEM file of CA certificates or the machine's own ("system"), the server's
    certificate must be signed by one of them for the host name that is connected to. With None
    any certificate passes the handshake; the pin and the channel binding decide.
    Raises ConfigurationError for a file that holds no CA certificates.
    """
    import ssl

    context = _context(ssl.PROTOCOL_TLS_CLIENT)  # checks certificate and host name by default
    if ca is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif ca == "system":
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    else:
        try:
            context.load_verify_locations(cafile=ca)
        except (OSError, ValueError) as error:
            raise ConfigurationError(
                f"can't use the CA file {ca}: {error}. Give a PEM file of CA certificates."
            ) from error
    return context


def _context(side: int) -> ssl.SSLContext:
    import ssl

    context = ssl.SSLContext(side)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols([ALPN])
    return context
