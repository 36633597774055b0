from __future__ import annotations

import hashlib
import shutil
import ssl
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rshell.errors import ConfigurationError
from rshell.security import certificates
from rshell.security.certificates import (
    ALPN,
    CertificateFiles,
    binding,
    certificate_der,
    client_context,
    ensure_certificate,
    fingerprint,
    parse_fingerprint,
    server_context,
)

HEX = "0a" * 31 + "ff"

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> CertificateFiles:
    return ensure_certificate(tmp_path_factory.mktemp("pair") / "server")


def certificate_for(host: str, directory: Path) -> CertificateFiles:
    """Make a self-signed certificate that also serves as its own CA."""
    files = CertificateFiles(directory / "ca.pem", directory / "ca-key.pem")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=test"
    command += " -keyout ca-key.pem -out ca.pem -addext"
    subprocess.run(
        [*command.split(), f"subjectAltName=DNS:{host}"],
        cwd=directory,
        check=True,
        capture_output=True,
    )
    return files


def shake_hands(
    server: ssl.SSLContext, client: ssl.SSLContext, host: str | None = None
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Run a TLS handshake in memory; returns the server's and the client's end."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        server.wrap_bio(up, down, server_side=True),
        client.wrap_bio(down, up, server_hostname=host),
    )
    waiting = [ends[1], ends[0]]
    for _ in range(20):
        for end in list(waiting):
            try:
                end.do_handshake()
                waiting.remove(end)
            except ssl.SSLWantReadError:
                pass
        if not waiting:
            return ends
    raise AssertionError("the handshake never ended")


def test_first_start_makes_a_private_pair(pair: CertificateFiles) -> None:
    directory = pair.key.parent
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(pair.key.stat().st_mode) == 0o600
    assert {path.name for path in directory.iterdir()} == {"cert.pem", "key.pem", "cert.pem.lock"}


def test_certificate_is_p256_for_a_century_and_no_ca(pair: CertificateFiles) -> None:
    shown = subprocess.run(
        ["openssl", "x509", "-noout", "-text", "-in", str(pair.certificate)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert "prime256v1" in shown and "CN = rshell" in shown.replace("CN=", "CN = ")
    assert shown.count("Basic Constraints") == 1 and "CA:FALSE" in shown


def test_second_start_keeps_the_pair(tmp_path: Path) -> None:
    first = ensure_certificate(tmp_path / "server")
    content = first.key.read_bytes(), first.certificate.read_bytes()
    second = ensure_certificate(tmp_path / "server")
    assert (second.key.read_bytes(), second.certificate.read_bytes()) == content


@pytest.mark.parametrize("lost", ["cert.pem", "key.pem"])
def test_crash_between_key_and_certificate_is_mended(tmp_path: Path, lost: str) -> None:
    directory = tmp_path / "server"
    files = ensure_certificate(directory)
    (directory / lost).unlink()
    assert ensure_certificate(directory) == files
    server_context(files.certificate, files.key)  # they fit together


@pytest.mark.parametrize("name", ["cert.pem", "key.pem"])
def test_a_file_that_a_full_disk_left_empty_is_made_anew(tmp_path: Path, name: str) -> None:
    files = ensure_certificate(tmp_path / "server")
    (tmp_path / "server" / name).write_bytes(b"")
    assert ensure_certificate(tmp_path / "server") == files
    server_context(files.certificate, files.key)


def test_an_openssl_program_that_wrote_nothing_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a full disk it leaves empty files and says that all went well."""
    program = tmp_path / "openssl"
    program.write_text('#!/bin/sh\nfor name; do case $name in *.pem) : >"$name";; esac; done\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError, match=r"can be used in .*Is the disk full\?"):
        ensure_certificate(tmp_path / "server")
    assert [path.name for path in (tmp_path / "server").iterdir()] == ["cert.pem.lock"]


def test_two_starts_at_once_make_one_pair(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib; from rshell.security.certificates import *\n"
        "files = ensure_certificate(pathlib.Path(sys.argv[1]))\n"
        "print(fingerprint(certificate_der(files.certificate)))"
    )
    root = Path(certificates.__file__).parents[2]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path / "server")],
            cwd=root,
            stdout=subprocess.PIPE,
        )
        for _ in range(4)
    ]
    outputs = {process.communicate(timeout=60)[0] for process in processes}
    assert len(outputs) == 1 and outputs.pop().startswith(b"SHA256:")


def test_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    files = ensure_certificate(tmp_path / "server")
    files.key.chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        ensure_certificate(tmp_path / "server")


def test_missing_openssl_program_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError, match=r"openssl.*--cert.*--key.*--unix"):
        ensure_certificate(tmp_path / "server")


def test_failing_openssl_program_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "openssl"
    program.write_text("#!/bin/sh\necho out of luck >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError, match="out of luck"):
        ensure_certificate(tmp_path / "server")
    assert [path.name for path in (tmp_path / "server").iterdir()] == ["cert.pem.lock"]


def test_fingerprint_and_binding_are_the_sha256_of_the_certificate() -> None:
    assert fingerprint(b"der") == f"SHA256:{hashlib.sha256(b'der').hexdigest()}"
    assert binding(b"der") == hashlib.sha256(b"der").digest()


def test_fingerprint_agrees_with_openssl(pair: CertificateFiles) -> None:
    shown = subprocess.run(
        ["openssl", "x509", "-noout", "-fingerprint", "-sha256", "-in", str(pair.certificate)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    theirs = parse_fingerprint(shown.partition("=")[2])
    assert theirs == fingerprint(certificate_der(pair.certificate))


@pytest.mark.parametrize(
    "text",
    [
        f"SHA256:{HEX}",
        HEX,
        HEX.upper(),
        f"sha256:{HEX.upper()}",
        "SHA256:" + ":".join(["0A"] * 31 + ["FF"]),
        f"  SHA256:{HEX}\n",
    ],
)
def test_fingerprint_is_normalised(text: str) -> None:
    assert parse_fingerprint(text) == f"SHA256:{HEX}"


@pytest.mark.parametrize(
    "text", ["", "SHA256:", HEX[:-1], HEX + "0", f"MD5:{HEX}", HEX[:-1] + "g", f":{HEX}", HEX + ":"]
)
def test_what_is_no_whole_fingerprint_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="not a fingerprint"):
        parse_fingerprint(text)


@given(st.binary())
def test_every_fingerprint_reads_back_as_itself(der: bytes) -> None:
    assert parse_fingerprint(fingerprint(der)) == fingerprint(der)


def test_first_certificate_of_a_chain_is_the_servers_own(
    pair: CertificateFiles, tmp_path: Path
) -> None:
    other = certificate_for("example.org", tmp_path)
    chain = tmp_path / "chain.pem"
    chain.write_text("text before\n" + pair.certificate.read_text() + other.certificate.read_text())
    assert certificate_der(chain) == certificate_der(pair.certificate)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"-----BEGIN CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
    ],
)
def test_file_without_a_certificate_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "cert.pem").write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"cert\.pem"):
        certificate_der(tmp_path / "cert.pem")


def test_missing_certificate_is_explained(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="can't read"):
        certificate_der(tmp_path / "cert.pem")


def test_handshake_is_tls_1_3_with_our_protocol_and_no_tickets(pair: CertificateFiles) -> None:
    context = server_context(pair.certificate, pair.key)
    server, client = shake_hands(context, client_context())
    assert server.version() == client.version() == "TLSv1.3"
    assert server.selected_alpn_protocol() == client.selected_alpn_protocol() == ALPN
    assert client.getpeercert(binary_form=True) == certificate_der(pair.certificate)
    assert context.num_tickets == 0


def test_older_tls_is_refused_by_both_ends(pair: CertificateFiles) -> None:
    old_client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old_client.check_hostname, old_client.verify_mode = False, ssl.CERT_NONE
    old_client.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        shake_hands(server_context(pair.certificate, pair.key), old_client)
    old_server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    old_server.load_cert_chain(pair.certificate, pair.key)
    old_server.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        shake_hands(old_server, client_context())


def test_key_of_another_certificate_is_refused(pair: CertificateFiles, tmp_path: Path) -> None:
    other = ensure_certificate(tmp_path / "other")
    with pytest.raises(ConfigurationError, match="belong together"):
        server_context(pair.certificate, other.key)


def test_missing_pair_is_explained(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="can't use the certificate"):
        server_context(tmp_path / "cert.pem", tmp_path / "key.pem")


def test_encrypted_key_is_refused_and_asks_no_terminal(
    pair: CertificateFiles, tmp_path: Path
) -> None:
    key = tmp_path / "key.pem"
    subprocess.run(
        [
            "openssl",
            "pkey",
            "-in",
            str(pair.key),
            "-aes256",
            "-passout",
            "pass:x",
            "-out",
            str(key),
        ],
        check=True,
        capture_output=True,
    )
    with pytest.raises(ConfigurationError, match="encrypted"):
        server_context(pair.certificate, key)


def test_ca_file_lets_its_own_server_in(tmp_path: Path) -> None:
    files = certificate_for("example.org", tmp_path)
    context = client_context(files.certificate)
    shake_hands(server_context(files.certificate, files.key), context, "example.org")


def test_ca_file_refuses_another_host(tmp_path: Path) -> None:
    files = certificate_for("example.org", tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname"):
        shake_hands(
            server_context(files.certificate, files.key),
            client_context(files.certificate),
            "example.com",
        )


@pytest.mark.parametrize("system", [True, False])
def test_ca_refuses_a_certificate_that_it_did_not_sign(
    pair: CertificateFiles, tmp_path: Path, system: bool
) -> None:
    context = client_context(
        "system" if system else certificate_for("example.org", tmp_path).certificate
    )
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(server_context(pair.certificate, pair.key), context, "example.org")


@pytest.mark.parametrize("content", [None, b"", b"nonsense"])
def test_unusable_ca_file_is_refused_instead_of_trusting_all(
    tmp_path: Path, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "ca.pem").write_bytes(content)
    with pytest.raises(ConfigurationError, match="CA file"):
        client_context(tmp_path / "ca.pem")


def test_without_tls_neither_ssl_nor_subprocess_is_imported() -> None:
    program = (
        "import sys; import rshell.security.credentials\n"
        "print(sorted({'ssl', 'subprocess', 'asyncio', 'tempfile'} & set(sys.modules)))"
    )
    root = Path(certificates.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
