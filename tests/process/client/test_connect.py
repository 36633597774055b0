"""`rshell.connect`: what it takes, and that what it fails to open is not left open."""

from __future__ import annotations

import asyncio
import shutil
import sys
from pathlib import Path

import pytest

import rshell
from rshell.client.dial import local_server_argv
from rshell.errors import (
    AddressError,
    AuthenticationFailed,
    ConfigurationError,
    ConnectError,
    UntrustedServer,
)
from rshell.security.credentials import local_token
from rshell.security.files import private_directory, server_directory
from rshell.security.tokens import TokenLine, new_token
from rshell.values import Address
from tests.support.commands import until
from tests.support.proxy import Impostor, Peer

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")


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
    for opening in (rshell.connect(local=True), rshell.connect(via=local_server_argv())):
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
    until(path.exists, "the start of the program")


async def test_the_same_opening_can_not_hide_its_failure() -> None:
    with pytest.raises(ConnectError):
        async with rshell.connect("unix:/no/such/socket"):
            raise AssertionError("never entered")


async def test_addresses_are_values_as_well() -> None:
    with pytest.raises(ConnectError, match="unix:/no/such/socket"):
        await rshell.connect(Address(path="/no/such/socket"))
