"""TLS: who is turned away and why, certificates that don't pass, damage, and much data."""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from rshell.aio import timeout
from rshell.client.links import ClientLink
from rshell.errors import ConnectError, LinkLost, RshellError, SessionClosed, UntrustedServer
from rshell.protocol.frames import FrameType, encode_frame
from rshell.protocol.messages import Goodbye
from rshell.security.certificates import (
    CertificateFiles,
    certificate_der,
    client_context,
    server_context,
)
from rshell.transport.channel import Channel
from rshell.transport.driver import Driver
from rshell.transport.sockets import SocketStream
from rshell.transport.tls import TlsStream
from rshell.values import Bounds
from tests.support.session import DEADLINE, ServerEnd, connected, socket_session

MIB = 1024 * 1024
MakeStream = Callable[[Driver, bool], SocketStream]


async def echo(channel: Channel) -> None:
    channel.accept()
    async for block in channel:
        await channel.write(block)


async def wait(channel: Channel) -> None:
    channel.accept()
    await channel.wait_closed()


@pytest.fixture
def enciphered(certificate: CertificateFiles) -> MakeStream:
    """Makes both ends of a TLS stream."""
    contexts = client_context(), server_context(certificate.certificate, certificate.key)

    def make(driver: Driver, is_server: bool) -> SocketStream:
        context = contexts[is_server]
        return TlsStream(driver, Bounds(), context, server_side=is_server)

    return make


async def test_records_of_one_byte_are_taken_by_helpings_and_in_order(
    enciphered: MakeStream,
) -> None:
    """Each costs as much as one of 16 KiB, and a read may hold eleven thousand of them."""
    async with socket_session(echo, enciphered) as session:
        channel = await session.open()
        driver = session.client.driver
        stream = driver.stream
        assert isinstance(stream, TlsStream) and stream._transport is not None
        paused: list[int] = []
        served = session.server.driver.stream
        assert isinstance(served, TlsStream)
        pause = served.pause
        served.pause = lambda: (paused.append(1), pause())[1]  # type: ignore[func-returns-value, method-assign]
        data = random.Random(3).randbytes(3000)
        out: list[bytes | bytearray | memoryview] = []
        driver.link.session.send(channel._state, 0, data)  # type: ignore[union-attr]
        out += driver.link.data_to_send(MIB, driver.now)
        for byte in b"".join(out):
            stream._tls.write(bytes((byte,)))
        stream._transport.write(stream._outgoing.read())
        channel.send_eof()
        assert await channel.read() == data
        assert paused


async def test_a_goodbye_in_records_that_were_put_off_is_heard_before_the_loss_behind_it(
    enciphered: MakeStream,
) -> None:
    """A write of ours may fail meanwhile, and what was said before tells why."""
    async with socket_session(wait, enciphered) as session:
        stream, served = session.client.driver.stream, session.server.driver.stream
        assert isinstance(stream, TlsStream) and isinstance(served, TlsStream)
        assert stream._transport is not None and served._transport is not None
        transport, pause = served._transport, served.pause

        def lose() -> None:
            served.connection_lost(ConnectionResetError("reset"))
            transport.abort()

        def pause_and_lose() -> None:
            pause()
            asyncio.get_running_loop().call_soon(lose)

        served.pause = pause_and_lose  # type: ignore[method-assign]
        for _ in range(300):
            stream._tls.write(encode_frame(200, 1, b""))  # one to skip
        stream._tls.write(encode_frame(FrameType.GOODBYE, 0, Goodbye("done", "bye").to_bytes()))
        stream._transport.write(stream._outgoing.read())
        async with timeout(DEADLINE):
            await session.server.driver.done.wait()
        assert isinstance(session.server.cause, SessionClosed)
        assert session.server.cause.reason == "bye"


async def test_much_data_both_ways_at_once(enciphered: MakeStream) -> None:
    async with socket_session(echo, enciphered) as session:
        data = random.Random(1).randbytes(24 * MIB)
        channel = await session.open()
        writing = asyncio.ensure_future(channel.write(data))
        assert await channel.stream(0).readexactly(len(data)) == data
        await writing


async def test_many_links_share_the_buffers_without_mixing(enciphered: MakeStream) -> None:
    async def one(seed: int) -> bool:
        chance = random.Random(seed)
        async with socket_session(echo, enciphered) as session:
            channel = await session.open()
            for _ in range(10):
                data = chance.randbytes(chance.randrange(1, 200_000))
                writing = asyncio.ensure_future(channel.write(data))
                if await channel.stream(0).readexactly(len(data)) != data:
                    return False
                await writing
        return True

    assert await asyncio.gather(*map(one, range(20))) == [True] * 20


async def test_a_clean_end_of_tls_without_goodbye_is_a_lost_link(enciphered: MakeStream) -> None:
    async with socket_session(wait, enciphered) as session:
        channel = await session.open()
        stream = session.server.driver.stream
        assert stream is not None
        stream.close()  # says close_notify, which is all that TLS itself knows of an end
        await channel.wait_closed()
        assert isinstance(channel.error, LinkLost)
        await session.client.driver.done.wait()


async def test_an_aborted_end_is_a_lost_link(enciphered: MakeStream) -> None:
    async with socket_session(wait, enciphered) as session:
        channel = await session.open()
        session.server.driver.abort()
        await channel.wait_closed()
        assert isinstance(channel.error, LinkLost)


async def test_a_goodbye_and_then_the_end_is_an_orderly_close(enciphered: MakeStream) -> None:
    async with socket_session(wait, enciphered) as session:
        channel = await session.open()
        session.server.link.close("shutdown", "going home")
        await channel.wait_closed()
        assert isinstance(channel.error, SessionClosed)
        assert channel.error.code == "shutdown"
        await session.client.driver.done.wait()


@asynccontextmanager
async def served(make: MakeStream) -> AsyncIterator[tuple[ServerEnd, socket.socket]]:
    """A server's end over TLS, and the raw socket at the other end of it."""
    ours, theirs = connected()
    end = ServerEnd()
    async with timeout(DEADLINE):
        await asyncio.get_running_loop().connect_accepted_socket(
            lambda: make(end.driver, True), theirs
        )
        with ours:
            yield end, ours
            await end.driver.done.wait()
    assert end.live is None


async def all_of(sock: socket.socket) -> bytes:
    loop = asyncio.get_running_loop()
    data = b""
    while block := await loop.sock_recv(sock, 65536):
        data += block
    return data


GARBAGE = [
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"SSH-2.0-OpenSSH_9.0\r\n",
    random.Random(5).randbytes(1000),
    b"\x16\x03\x01\xff\xff" + bytes(70_000),
]


@pytest.mark.parametrize("garbage", GARBAGE, ids=["http", "ssh", "noise", "endless record"])
async def test_who_speaks_no_tls_is_turned_away(enciphered: MakeStream, garbage: bytes) -> None:
    async with served(enciphered) as (end, ours):
        await asyncio.get_running_loop().sock_sendall(ours, garbage)
        answer = await all_of(ours)
        assert b"rshell" not in answer  # an alert at most
        assert len(answer) < 20
    assert isinstance(end.cause, ConnectError)
    assert "handshake failed" in str(end.cause)


def client_hello() -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = client_context().wrap_bio(incoming, outgoing)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.99, 1])
async def test_a_handshake_that_is_cut_short(enciphered: MakeStream, share: float) -> None:
    hello = client_hello()
    async with served(enciphered) as (end, ours):
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(ours, hello[: int(len(hello) * share)])
        ours.shutdown(socket.SHUT_WR)
        await all_of(ours)
    assert isinstance(end.cause, ConnectError)
    assert "during the handshake" in str(end.cause)


@pytest.mark.parametrize("moment", ["at once", "amid the handshake"])
async def test_aborted_during_the_handshake(enciphered: MakeStream, moment: str) -> None:
    async with served(enciphered) as (end, ours):
        if moment == "amid the handshake":
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(ours, client_hello())
            assert await loop.sock_recv(ours, 1)
        end.driver.abort()
    assert isinstance(end.cause, LinkLost)


@pytest.mark.parametrize("protocols", [[], ["h2", "http/1.1"], ["rshell/2"]])
async def test_a_browser_is_turned_away_before_it_is_told_anything(
    enciphered: MakeStream, protocols: list[str]
) -> None:
    """OpenSSL goes on without a common protocol; we must not."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(protocols)
    async with served(enciphered) as (end, ours):
        try:
            reader, writer = await asyncio.open_connection(
                sock=ours, ssl=context, server_hostname=""
            )
            assert await reader.read() == b""
            writer.close()
        except ssl.SSLError:
            pass  # a library that refuses the handshake itself does as well
    assert isinstance(end.cause, ConnectError)


@asynccontextmanager
async def stranger(
    context: ssl.SSLContext,
) -> AsyncIterator[tuple[str, int, asyncio.Future[bytes]]]:
    """A TLS server that is not ours; the future holds what a client sent it before its end."""
    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            heard.set_result(await reader.read())
        except OSError as error:
            heard.set_exception(error)
        writer.transport.abort()

    async with timeout(DEADLINE):
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        try:
            yield *server.sockets[0].getsockname()[:2], heard
        finally:
            server.close()


async def dial(
    to: tuple[str, int] | socket.socket,
    *,
    context: ssl.SSLContext | None = None,
    check: Callable[[bytes | None], None] | None = None,
    hostname: str | None = None,
) -> RshellError:
    """Connect a client that checks the certificate as told; return why it ended."""
    link = ClientLink(None, None, Bounds())

    def make() -> TlsStream:
        return TlsStream(
            link.driver,
            Bounds(),
            context or client_context(),
            server_hostname=hostname,
            check_peer=check,
        )

    loop = asyncio.get_running_loop()
    if isinstance(to, socket.socket):
        await loop.connect_accepted_socket(make, to)
    else:
        await loop.create_connection(make, *to)
    await link.driver.done.wait()
    error = link.attached.exception()
    assert isinstance(error, RshellError)
    return error


@pytest.mark.parametrize("raised", [UntrustedServer("a stranger"), KeyError("a bug"), OSError(5)])
async def test_a_failed_check_of_the_certificate_ends_the_link_before_a_byte_of_ours(
    certificate: CertificateFiles, raised: Exception
) -> None:
    shown: list[bytes | None] = []

    def check(der: bytes | None) -> None:
        shown.append(der)
        raise raised

    context = server_context(certificate.certificate, certificate.key)
    async with stranger(context) as (host, port, heard):
        error = await dial((host, port), check=check)
        assert await heard == b""
    assert shown == [certificate_der(certificate.certificate)]
    assert error is raised or error.__cause__ is raised
    assert isinstance(error, ConnectError)


async def test_a_certificate_of_no_known_authority_is_an_untrusted_server(
    enciphered: MakeStream,
) -> None:
    async with served(enciphered) as (end, ours):
        error = await dial(ours, context=client_context("system"), hostname="localhost")
    assert isinstance(error, UntrustedServer)
    assert "handshake failed" in str(error)
    assert "unknown" in str(end.cause).lower()  # the alert told the server why


async def test_a_server_that_speaks_another_protocol_hears_nothing(
    certificate: CertificateFiles,
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.certificate, certificate.key)
    async with stranger(context) as (host, port, heard):
        error = await dial((host, port))
        assert await heard == b""
    assert isinstance(error, ConnectError)
    assert "Check the port" in str(error)


async def test_damage_in_the_stream_ends_the_link_and_is_no_data(enciphered: MakeStream) -> None:
    """Between the ends stands one who flips a bit."""
    near, middle_near = connected()
    middle_far, far = connected()
    loop = asyncio.get_running_loop()
    end = ServerEnd(echo)
    link = ClientLink(None, None, Bounds())
    flip = asyncio.Event()

    async def carry(source: socket.socket, target: socket.socket) -> None:
        while data := await loop.sock_recv(source, 65536):
            if flip.is_set() and source is middle_near:
                data = data[:-1] + bytes([data[-1] ^ 1])
            await loop.sock_sendall(target, data)
        target.shutdown(socket.SHUT_WR)

    async with timeout(DEADLINE):
        with middle_near, middle_far:
            carriers = [
                asyncio.ensure_future(carry(middle_near, middle_far)),
                asyncio.ensure_future(carry(middle_far, middle_near)),
            ]
            await loop.connect_accepted_socket(lambda: enciphered(link.driver, False), near)
            await loop.connect_accepted_socket(lambda: enciphered(end.driver, True), far)
            await link.attached
            channel = link.live.open_channel("echo", {})
            await channel.wait_opened()
            flip.set()
            await channel.write(b"do not change this")
            await channel.wait_closed()
            await end.join()
            await link.driver.done.wait()
            await asyncio.gather(*carriers, return_exceptions=True)
    assert channel.error is not None
    assert channel.stream(0).received == 0
    assert end.cause is not None
    assert "damaged" in str(end.cause)
