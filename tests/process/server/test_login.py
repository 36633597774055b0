"""The server's end of a login, against clients that do what they like."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

import rshell
from rshell.protocol.frames import FrameType
from rshell.protocol.messages import Auth
from rshell.protocol.scram import ScramClient
from rshell.security.certificates import binding, certificate_der
from rshell.security.credentials import local_token
from rshell.security.files import server_directory
from rshell.security.tokens import TokenLine, TokenStore, new_token
from rshell.server.server import Server
from rshell.values import Bounds
from tests.support.proxy import Peer, raw_client
from tests.support.wire import frame

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with rshell.serve("127.0.0.1", 0, limits=Bounds(penalty_failures=1000)) as server:
        yield server


def our_line() -> TokenLine:
    line = local_token(server_directory())
    assert line is not None
    return line


async def talk(server: Server, script: Callable[[Peer], None]) -> list[tuple[int, dict[str, str]]]:
    """Run a client's script; return what the server said from then on: (type, body)."""
    port = server.addresses[0].port

    def run() -> list[tuple[int, dict[str, str]]]:
        with raw_client(port) as peer:
            script(peer)
            return [(number, json.loads(body)) for number, _, body in peer.rest()]

    return await asyncio.to_thread(run)


def goodbye(said: list[tuple[int, dict[str, str]]]) -> dict[str, str]:
    assert said and said[-1][0] == FrameType.GOODBYE, said
    return said[-1][1]


def say_auth(peer: Peer, data: str, mechanism: str = "SCRAM-SHA-256-PLUS") -> None:
    peer.send(frame(FrameType.AUTH, 0, Auth(data, mechanism=mechanism).encode()))


async def test_wrong_token_and_unknown_identity_hear_the_same(server: Server) -> None:
    line = our_line()
    port = server.addresses[0].port

    def last_words(identity: str, token: str) -> bytes:
        with raw_client(port) as peer:
            with pytest.raises(AssertionError):
                peer.log_in(identity, token)  # instead of the server's proof comes GOODBYE
            return peer.received[peer.received.rindex(b'{"code"') :]

    wrong = await asyncio.to_thread(last_words, "local", new_token())
    unknown = await asyncio.to_thread(last_words, "nobody", line.token)
    assert wrong == unknown and b"revoked" in wrong


async def test_nothing_is_done_for_who_has_not_logged_in(server: Server, tmp_path: Path) -> None:
    request = {"command": f"touch {tmp_path / 'done'}"}
    attempts = [
        frame(FrameType.OPEN, 1, {"kind": "process", "window": 9, "request": request}),
        frame(FrameType.ATTACH),
        frame(FrameType.PING, 0, {"id": 1}),
        frame(FrameType.AUTH, 0, {"data": "", "done": True, "identity": "local"}),
        b"\xff" * 50,
        frame(FrameType.HELLO, 0, b"x" * 20_000),
    ]
    for attempt in attempts:

        def script(peer: Peer, attempt: bytes = attempt) -> None:
            peer.say_hello()
            peer.send(attempt)

        goodbye(await talk(server, script))
    assert not (tmp_path / "done").exists() and server.sessions == 0


async def test_no_common_version_is_answered_with_ours(server: Server) -> None:
    body = goodbye(await talk(server, lambda peer: peer.say_hello(2, 3)))
    assert body["code"] == "version" and body["versions"] == [1, 1]  # type: ignore[comparison-overlap]


@pytest.mark.parametrize("mechanism", ["EXTERNAL", "PLAIN", "SCRAM-SHA-256", ""])
async def test_another_mechanism_is_refused_over_tls(server: Server, mechanism: str) -> None:
    """EXTERNAL would let anybody in as the server's own user."""

    def script(peer: Peer) -> None:
        peer.say_hello()
        say_auth(peer, "", mechanism)

    assert goodbye(await talk(server, script))["code"] == "auth"


async def test_a_login_without_channel_binding_is_refused(server: Server) -> None:
    line = our_line()

    def script(peer: Peer) -> None:
        peer.say_hello()
        say_auth(peer, ScramClient(line.identity, line.token, None).first())

    assert goodbye(await talk(server, script))["code"] == "auth"


async def test_a_login_bound_to_another_certificate_is_refused(server: Server) -> None:
    line = our_line()

    def script(peer: Peer) -> None:
        login = ScramClient(line.identity, line.token, bytes(32))
        peer.say_hello()
        say_auth(peer, login.first())
        peer.expect(FrameType.HELLO)
        final = login.final(peer.expect(FrameType.AUTH)["data"])
        peer.send(frame(FrameType.AUTH, 0, Auth(final).encode()))

    assert goodbye(await talk(server, script))["code"] == "auth"


async def test_a_guess_a_challenge(server: Server) -> None:
    """A second proof for the same challenge would make guessing cheap."""
    line = our_line()

    def script(peer: Peer) -> None:
        login = ScramClient(line.identity, new_token(), bytes(32))
        peer.say_hello()
        say_auth(peer, login.first())
        peer.expect(FrameType.HELLO)
        final = login.final(peer.expect(FrameType.AUTH)["data"])
        peer.send(frame(FrameType.AUTH, 0, Auth(final).encode()) * 3)

    said = await talk(server, script)
    assert [number for number, _ in said] == [FrameType.GOODBYE]


async def test_resume_of_a_session_that_is_not_kept_is_refused(server: Server) -> None:
    line = our_line()

    def script(peer: Peer) -> None:
        peer.log_in(line.identity, line.token)
        peer.say(FrameType.ATTACH, session="0" * 16, secret="x", received=0)

    assert goodbye(await talk(server, script))["code"] == "resume-failed"
    assert server.sessions == 0


async def test_a_login_in_the_middle_of_which_its_token_is_revoked(server: Server) -> None:
    """The challenge was made for the old token; its proof must not count any more."""
    store = TokenStore(server_directory() / "tokens.json")
    token = store.add("laptop")
    seen = binding(certificate_der(server_directory() / "cert.pem"))

    def script(peer: Peer) -> None:
        login = ScramClient("laptop", token, seen)
        peer.say_hello()
        say_auth(peer, login.first())
        peer.expect(FrameType.HELLO)
        final = login.final(peer.expect(FrameType.AUTH)["data"])
        store.revoke("laptop")
        store.add("laptop")
        peer.send(frame(FrameType.AUTH, 0, Auth(final).encode()))

    assert goodbye(await talk(server, script))["code"] == "revoked"


async def test_a_damaged_token_file_lets_nobody_in_and_says_so_once(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    line = our_line()
    path = server_directory() / "tokens.json"
    good = path.read_bytes()
    path.write_bytes(b"{")
    with pytest.raises(rshell.ConnectError, match="can't check logins"):
        await rshell.connect(server.addresses[0])
    assert "nobody can log in" in caplog.text and line.token not in caplog.text
    assert not any(record.exc_info for record in caplog.records)
    path.write_bytes(good)
    async with rshell.connect(server.addresses[0]) as client:
        assert client.identity == "local"


async def test_who_does_not_log_in_in_time_is_closed() -> None:
    async with rshell.serve("127.0.0.1", 0, limits=Bounds(login_seconds=1.5)) as server:
        line = our_line()
        silent, logged_in = await asyncio.gather(
            talk(server, lambda peer: peer.say_hello()),
            talk(server, lambda peer: peer.log_in(line.identity, line.token)),
        )
        assert goodbye(silent)["code"] == "login-timeout"
        assert goodbye(logged_in)["code"] == "login-timeout"  # and never attached
