"""Reaching a server, and all the ways of not reaching it; nothing is ever left open."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import rshell
from rshell.client.child import local_server_argv
from rshell.client.connect import dial
from rshell.client.links import ClientLink
from rshell.errors import (
    AddressError,
    AuthenticationFailed,
    ConfigurationError,
    ConnectError,
    OpenTimeout,
    UntrustedServer,
)
from rshell.security.certificates import CertificateFiles, ensure_certificate
from rshell.security.credentials import Trust, local_token
from rshell.security.files import private_directory, server_directory
from rshell.security.tokens import TokenLine, new_token
from rshell.values import Address, Bounds
from tests.support.commands import until as wait_until
from tests.support.proxy import Impostor, Peer, Relay
from tests.support.session import until

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")

HASTY = Bounds(open_timeout=0.3)
FALSE = "SHA256:" + "0" * 64
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"address": "h", "local": True},
        {"address": "h", "via": "cat"},
        {"local": True, "via": "cat"},
    ],
)
def test_exactly_one_way_is_asked_for(arguments: dict[str, object]) -> None:
    with pytest.raises(AddressError, match="one of"):
        rshell.connect(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("address", ["", "a b", "-x", "host:port", "unix:relative"])
async def test_a_nonsense_address_is_refused_before_anything_is_dialled(address: str) -> None:
    with pytest.raises(AddressError):
        await rshell.connect(address)


@pytest.mark.parametrize("via", ["'", 'sh -c "', "", "  "])
async def test_a_via_that_is_no_command_is_refused(via: str) -> None:
    with pytest.raises(AddressError, match="'via'"):
        await rshell.connect(via=via)


async def test_every_way_in(tmp_path: Path) -> None:
    path = private_directory(tmp_path / "u") / "s"
    async with rshell.serve("localhost", 0, unix=path) as server:
        tls = server.addresses[0]
        ways: list[str | Address] = [*server.addresses, str(tls), f"localhost:{tls.port}"]
        for address in ways:
            async with rshell.connect(address) as client:
                assert (await client.run("echo hi")).stdout == b"hi\n"
        client = await rshell.connect(tls, fingerprint=server.fingerprint)
        assert client.identity == "local"
        await client.close()


async def test_a_child_process_is_a_way_in_too() -> None:
    for opening in (
        rshell.connect(local=True),
        rshell.connect(via=local_server_argv(background=False)),
    ):
        async with opening as client:
            assert (await client.run("echo $PPID; exit 3", text=True)).exit_status == 3
    script = f"{sys.executable} -m 'rshell.cli.server' --stdio"
    async with rshell.connect(via=script) as client:
        assert (await client.run("echo hi")).stdout == b"hi\n"
    with pytest.raises(AddressError, match="needs a program"):
        await rshell.connect(via="")
    with pytest.raises(AddressError, match="needs a program"):
        await rshell.connect(via=[])


async def test_wrong_token_unknown_identity_and_wrong_fingerprint() -> None:
    async with rshell.serve("127.0.0.1", 0) as server:
        line = local_token(server_directory())
        assert line is not None
        where = server.addresses[0]
        for identity, token in (("local", new_token()), ("nobody", line.token)):
            wrong = str(TokenLine(where, line.fingerprint, identity, token))
            with pytest.raises(AuthenticationFailed, match="not known here, or was revoked"):
                await rshell.connect(where, token=wrong)
        with pytest.raises(UntrustedServer):
            await rshell.connect(where, fingerprint="SHA256:" + "0" * 64)
        with pytest.raises(ConfigurationError):
            await rshell.connect(where, token="nonsense")
        async with rshell.connect(where, token=str(line)) as client:
            assert client.identity == "local"


async def test_cancelling_leaves_nothing_open(tmp_path: Path) -> None:
    arrived = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stay_silent(peer: Peer) -> None:
        loop.call_soon_threadsafe(arrived.set)
        while peer.socket.recv(65536):
            pass

    async with rshell.serve("127.0.0.1", 0):
        pass  # leaves a token
    async with Impostor(stay_silent) as silent:
        opening = asyncio.ensure_future(open_client(silent.address))
        await arrived.wait()
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
    started = tmp_path / "started"
    child = ["sh", "-c", f"echo > {started}; cat > /dev/null"]
    opening = asyncio.ensure_future(open_client(None, via=child))
    await asyncio.to_thread(until_exists, started)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening


async def open_client(address: str | None, via: list[str] | None = None) -> rshell.Client:
    return await rshell.connect(address, via=via)


def until_exists(path: Path) -> None:
    wait_until(path.exists, "the start of the program")


async def test_the_same_opening_can_not_hide_its_failure() -> None:
    with pytest.raises(ConnectError):
        async with rshell.connect("unix:/no/such/socket"):
            raise AssertionError("never entered")


async def test_addresses_are_values_as_well() -> None:
    with pytest.raises(ConnectError, match="unix:/no/such/socket"):
        await rshell.connect(Address(path="/no/such/socket"))


def stay_silent(peer: Peer) -> None:
    while peer.socket.recv(65536):
        pass


def our_trust(fingerprint: str | None = None) -> Trust:
    line = local_token(server_directory())
    assert line is not None
    return Trust(line.identity, line.token, fingerprint)


async def close(link: ClientLink) -> None:
    link.driver.close("done", "")
    await link.driver.done.wait()


async def test_a_listener_that_never_answers_is_an_open_timeout() -> None:
    async with Impostor(stay_silent) as silent:
        with pytest.raises(OpenTimeout, match="firewall") as caught:
            await dial(Address.parse(silent.address), Trust("me", "x"), None, HASTY)
    assert caught.value.timeout == HASTY.open_timeout
    with socket.create_server(("127.0.0.1", 0)) as never_accepts, pytest.raises(OpenTimeout):
        where = Address("127.0.0.1", never_accepts.getsockname()[1])
        await dial(where, Trust("", ""), None, HASTY)


async def test_a_server_silent_after_tls_is_an_open_timeout(tmp_path: Path) -> None:
    files = ensure_certificate(tmp_path / "server")
    async with Impostor(stay_silent, files) as silent:
        with pytest.raises(OpenTimeout):
            await dial(Address.parse(silent.address), Trust("me", "x"), None, HASTY)


async def test_a_unix_socket_that_never_answers_is_an_open_timeout(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "s"))
        sock.listen(1)
        with pytest.raises(OpenTimeout, match="unix:"):
            await dial(Address(path=str(tmp_path / "s")), None, None, HASTY)


async def test_the_unreachable_is_explained(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    with pytest.raises(ConnectError, match="nothing listens at"):
        await dial(Address("127.0.0.1", port), Trust("me", "x"), None, Bounds())
    with pytest.raises(ConnectError, match="nothing listens at"):
        await dial(Address("localhost", port), Trust("me", "x"), None, Bounds())
    with pytest.raises(ConnectError, match=r"no machine is called 'no-such\.invalid'"):
        await dial(Address("no-such.invalid"), Trust("me", "x"), None, Bounds())
    with pytest.raises(ConnectError, match="--unix on that path"):
        await dial(Address(path=str(tmp_path / "none")), None, None, Bounds())


async def test_a_wrong_fingerprint_is_untrusted_and_nothing_is_sent(tmp_path: Path) -> None:
    files = ensure_certificate(tmp_path / "server")
    async with Impostor(stay_silent, files) as impostor:
        with pytest.raises(UntrustedServer, match="Nothing was sent") as caught:
            await dial(Address.parse(impostor.address), Trust("me", "x", FALSE), None, Bounds())
        assert impostor.received == b""
    assert caught.value.expected == FALSE and caught.value.received.startswith("SHA256:")


async def test_a_man_in_the_middle_fails_on_first_contact_without_any_pin(tmp_path: Path) -> None:
    """The login is bound to the certificate that the client saw, so it can't be relayed."""
    files = ensure_certificate(tmp_path / "middle")
    async with rshell.serve("127.0.0.1", 0) as server:
        trust = our_trust()
        async with Relay(server.addresses[0].port, files) as relay:
            where = Address.parse(relay.address)
            with pytest.raises(AuthenticationFailed):
                await dial(where, trust, None, Bounds())
            assert relay.passed  # it did get as far as the login
        link = await dial(server.addresses[0], trust, None, Bounds())
        await close(link)


def signed_certificate(directory: Path, names: str) -> tuple[Path, CertificateFiles]:
    """Make an authority and a certificate for `names` that it has signed."""
    directory.mkdir()
    program = """
    set -e
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=authority \
        -addext basicConstraints=critical,CA:TRUE -keyout ca.key -out ca.pem
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=server \
        -keyout server.key -out server.csr
    printf 'subjectAltName=%s' "$0" > names
    openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
        -extfile names -out server.pem
    """
    subprocess.run(
        ["/bin/sh", "-c", program, names], cwd=directory, check=True, capture_output=True
    )
    return directory / "ca.pem", CertificateFiles(
        directory / "server.pem", directory / "server.key"
    )


async def test_an_authority_vouches_for_the_names_in_the_certificate_alone(tmp_path: Path) -> None:
    authority, files = signed_certificate(tmp_path / "ca", "DNS:localhost,IP:127.0.0.1")
    async with rshell.serve("localhost", 0, certificate=files) as server:
        port = server.addresses[0].port
        for host in ("localhost", "127.0.0.1"):
            async with rshell.connect(f"{host}:{port}", ca=authority) as client:
                assert client.identity == "local"
        with pytest.raises(UntrustedServer, match="'::1'"):
            await rshell.connect(f"[::1]:{port}", ca=authority)


async def test_an_unknown_authority_vouches_for_nobody_and_nothing_is_sent(tmp_path: Path) -> None:
    other, _ = signed_certificate(tmp_path / "other", "DNS:localhost")
    _, files = signed_certificate(tmp_path / "ca", "IP:127.0.0.1")
    async with rshell.serve("127.0.0.1", 0):
        pass  # leaves a token
    async with Impostor(stay_silent, files) as impostor:
        for ca in (str(other), "system"):
            with pytest.raises(UntrustedServer):
                await rshell.connect(impostor.address, ca=ca)
        assert impostor.received == b""
    with pytest.raises(rshell.ConfigurationError, match="CA file"):
        await rshell.connect(impostor.address, ca=tmp_path / "none.pem")


@needs_root
async def test_a_socket_of_another_user_is_untrusted_and_nothing_is_sent(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "s"))
        os.seteuid(4242)
        try:
            sock.listen(1)  # the kernel notes who does this
        finally:
            os.seteuid(0)
        with pytest.raises(UntrustedServer, match="4242"):
            await dial(Address(path=str(tmp_path / "s")), None, None, Bounds())
        accepted, _ = sock.accept()
        with accepted:
            assert accepted.recv(1) == b""


async def test_giving_up_at_any_moment_leaves_no_link_behind(tmp_path: Path) -> None:
    # The hazard is the moment at which the link is attached and nobody has it yet.
    path = private_directory(tmp_path / "u") / "s"
    limits = Bounds(resume_window=0.0)
    async with rshell.serve(None, unix=path, limits=limits) as server:
        where = server.addresses[0]
        passes = 0
        while True:
            dialling = asyncio.ensure_future(dial(where, None, None, limits))
            for _ in range(passes):
                await asyncio.sleep(0)
            if dialling.done():
                await close(dialling.result())
                break
            dialling.cancel()
            await asyncio.gather(dialling, return_exceptions=True)
            await until(lambda: not server._entrance.links)
            passes += 1
        assert passes > 3
        await until(lambda: not server.sessions)
