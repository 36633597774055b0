"""A client against servers that lie: every step is checked against what was asked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from rshell.client.connect import dial
from rshell.errors import AuthenticationFailed, ConnectError, SessionClosed, VersionMismatch
from rshell.protocol.frames import FrameType
from rshell.protocol.scram import ScramServer, Verifier
from rshell.security.certificates import (
    CertificateFiles,
    binding,
    certificate_der,
    ensure_certificate,
    fingerprint,
)
from rshell.security.credentials import Trust
from rshell.security.tokens import new_token
from rshell.values import Address, Bounds
from tests.support.proxy import Impostor, Peer

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")

MECHANISMS = ["SCRAM-SHA-256-PLUS"]
TOKEN = new_token()


@pytest.fixture
def files(tmp_path: Path) -> CertificateFiles:
    return ensure_certificate(tmp_path / "server")


async def attempt(
    script: Callable[[Peer], None], files: CertificateFiles, token: str = TOKEN
) -> None:
    trust = Trust("me", token, fingerprint(certificate_der(files.certificate)))
    async with Impostor(script, files) as impostor:
        link = await dial(Address.parse(impostor.address), trust, None, HASTY)
        try:
            await link.live.wait_ended()
            assert link.live.error is not None
            raise link.live.error
        finally:
            link.driver.abort()
            await link.driver.done.wait()


HASTY = Bounds(open_timeout=1.0)


def honest(files: CertificateFiles, then: Callable[[Peer], None]) -> Callable[[Peer], None]:
    """Return a script that logs in as an honest server does and then goes its own way."""
    verifier = Verifier.from_secret(TOKEN)

    def script(peer: Peer) -> None:
        der = certificate_der(files.certificate)
        login = ScramServer(lambda _: verifier, bytes(32), binding(der))
        peer.say_hello(mechanisms=MECHANISMS)
        peer.expect(FrameType.HELLO)
        peer.say(FrameType.AUTH, data=login.challenge(peer.expect(FrameType.AUTH)["data"]))
        proof = login.finish(peer.expect(FrameType.AUTH)["data"])
        peer.say(FrameType.AUTH, data=proof, done=True, identity="me")
        peer.expect(FrameType.ATTACH)
        then(peer)

    return script


def attach(peer: Peer) -> None:
    peer.say(FrameType.ATTACHED, session="s", secret="x", received=0)


async def test_a_server_that_ends_the_login_before_it_proved_anything(
    files: CertificateFiles,
) -> None:
    seen: list[int] = []

    def script(peer: Peer) -> None:
        peer.say_hello(mechanisms=MECHANISMS)
        peer.say(FrameType.AUTH, data="", done=True, identity="me")
        peer.say(FrameType.ATTACHED, session="s", secret="x", received=0)
        seen.extend(number for number, _, _ in peer.rest())

    with pytest.raises(AuthenticationFailed, match="before it proved anything"):
        await attempt(script, files)
    assert FrameType.ATTACH not in seen


async def test_a_server_that_knows_no_token_can_not_end_a_challenge_either(
    files: CertificateFiles,
) -> None:
    def script(peer: Peer) -> None:
        login = ScramServer(lambda _: None, bytes(32), None)
        peer.say_hello(mechanisms=MECHANISMS)
        peer.expect(FrameType.HELLO)
        first = peer.expect(FrameType.AUTH)["data"].replace("p=tls-server-end-point", "n")
        peer.say(FrameType.AUTH, data=login.challenge(first))
        peer.expect(FrameType.AUTH)
        proof = "v=" + "A" * 43 + "="
        peer.say(FrameType.AUTH, data=proof, done=True, identity="me")
        assert FrameType.ATTACH not in [number for number, _, _ in peer.rest()]

    with pytest.raises(AuthenticationFailed, match="did not prove that it knows the token"):
        await attempt(script, files)


async def test_a_server_that_asks_for_one_step_too_many(files: CertificateFiles) -> None:
    """A second challenge would be a second guess at the token."""

    def script(peer: Peer) -> None:
        peer.say_hello(mechanisms=MECHANISMS)
        peer.expect(FrameType.HELLO)
        first = peer.expect(FrameType.AUTH)["data"]
        nonce = first.partition("r=")[2]
        challenge = f"r={nonce}more,s=AAAAAAAAAAAAAAAAAAAAAA==,i=4096"
        peer.say(FrameType.AUTH, data=challenge)
        peer.expect(FrameType.AUTH)
        peer.say(FrameType.AUTH, data=challenge)
        assert FrameType.AUTH not in [number for number, _, _ in peer.rest()]

    with pytest.raises(AuthenticationFailed, match="not due"):
        await attempt(script, files)


@pytest.mark.parametrize(
    "challenge", ["", "nonsense", "r=other,s=AAAAAAAAAAAAAAAAAAAAAA==,i=4096", "x" * 5000]
)
async def test_a_challenge_that_was_not_made_for_us(
    files: CertificateFiles, challenge: str
) -> None:
    def script(peer: Peer) -> None:
        peer.say_hello(mechanisms=MECHANISMS)
        peer.say(FrameType.AUTH, data=challenge)
        peer.rest()

    with pytest.raises(AuthenticationFailed, match="login failed"):
        await attempt(script, files)


async def test_a_challenge_that_would_cost_us_minutes_is_refused(files: CertificateFiles) -> None:
    def script(peer: Peer) -> None:
        peer.say_hello(mechanisms=MECHANISMS)
        peer.expect(FrameType.HELLO)
        nonce = peer.expect(FrameType.AUTH)["data"].partition("r=")[2]
        peer.say(FrameType.AUTH, data=f"r={nonce}x,s=AAAAAAAAAAAAAAAAAAAAAA==,i=999999999")
        peer.rest()

    with pytest.raises(AuthenticationFailed, match="iterations"):
        await attempt(script, files)


async def test_no_common_version_names_both_ranges(files: CertificateFiles) -> None:
    def script(peer: Peer) -> None:
        peer.say_hello(2, 3)
        peer.rest()

    with pytest.raises(VersionMismatch) as caught:
        await attempt(script, files)
    assert (caught.value.ours, caught.value.theirs) == ((1, 1), (2, 3))


async def test_a_server_that_refuses_our_version_itself(files: CertificateFiles) -> None:
    def script(peer: Peer) -> None:
        peer.say(FrameType.GOODBYE, code="version", reason="too old", versions=[5, 6])
        peer.rest()

    with pytest.raises(VersionMismatch) as caught:
        await attempt(script, files)
    assert caught.value.theirs == (5, 6)


@pytest.mark.parametrize("garbage", [b"\xff" * 64, b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0" * 9])
async def test_garbage_before_the_login_is_a_connect_error(
    files: CertificateFiles, garbage: bytes
) -> None:
    def script(peer: Peer) -> None:
        peer.send(garbage)
        peer.rest()

    with pytest.raises(ConnectError):
        await attempt(script, files)


async def test_a_server_that_closes_instead_of_attaching(files: CertificateFiles) -> None:
    with pytest.raises(ConnectError, match="before login ended"):
        await attempt(honest(files, lambda peer: None), files)


async def test_an_honest_server_is_believed_and_may_open_no_channels(
    files: CertificateFiles,
) -> None:
    refusals = []

    def script(peer: Peer) -> None:
        attach(peer)
        peer.say(FrameType.OPEN, 2, kind="process", window=1000, request={"command": "id"})
        while (found := peer.next_frame()) is not None:
            if found[0] == FrameType.REFUSED:
                refusals.append(json.loads(found[2]))
                break
        peer.say(FrameType.GOODBYE, code="test", reason="that was all")
        peer.rest()

    with pytest.raises(SessionClosed) as caught:
        await attempt(honest(files, script), files)
    assert (caught.value.code, caught.value.by) == ("test", "remote")
    assert refusals[0]["code"] == "unknown-kind" and "process" in refusals[0]["reason"]
