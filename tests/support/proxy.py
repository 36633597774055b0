"""The other end of a real connection, made by hand: impostors, raw clients, and who stands between.

Strategy: blocking sockets in a thread of their own, so that the code under test keeps its event
loop. Every wait has a deadline, every thread is joined, and what goes wrong in one is raised
where its block is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import select
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

from rshell.protocol.frames import FrameDecoder, FrameType
from rshell.protocol.messages import Auth
from rshell.protocol.scram import ScramClient
from rshell.security.certificates import CertificateFiles, binding, client_context, server_context
from tests.support.wire import frame

DEADLINE = 30.0
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close by RST

Received = tuple[int, int, bytes]


class Peer:
    """One end of a connection that says what a test wants, and reads frames."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.received = b""
        self._decoder = FrameDecoder(2**20)
        self._frames: list[Received] = []
        sock.settimeout(DEADLINE)

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self.socket.sendall(data)

    def say(self, frame_type: int, channel: int = 0, **body: Any) -> None:
        """Send one frame with a JSON body."""
        self.send(frame(frame_type, channel, body))

    def say_hello(self, lowest: int = 1, highest: int = 1, **more: Any) -> None:
        """Send HELLO."""
        body = {"versions": [lowest, highest], "frame": 2**18, "implementation": "test"}
        self.send(frame(FrameType.HELLO, 0, body | more))

    def next_frame(self) -> Received | None:
        """Return the next frame, None at the end of the connection."""
        while not self._frames:
            try:
                data = self.socket.recv(65536)
            except (ConnectionError, ssl.SSLError):
                data = b""
            if not data:
                return None
            self.received += data
            self._frames += [
                (item.type, item.channel, bytes(item.body)) for item in self._decoder.feed(data)
            ]
        return self._frames.pop(0)

    def expect(self, frame_type: int) -> dict[str, Any]:
        """Return the JSON body of the next frame, which must be of this type.

        A client may leave at any time, as one does whose time for logging in is over.
        """
        found = self.next_frame()
        if found is None:
            raise ConnectionAbortedError(f"the client left before {FrameType(frame_type).name}")
        assert found[0] == frame_type, (FrameType(frame_type), found)
        body: dict[str, Any] = json.loads(found[2])
        return body

    def rest(self) -> list[Received]:
        """Return all frames up to the end."""
        frames = []
        while (found := self.next_frame()) is not None:
            frames.append(found)
        return frames

    def log_in(self, identity: str, token: str) -> None:
        """Log in as a client, up to the server's proof; ATTACH is the caller's."""
        assert isinstance(self.socket, ssl.SSLSocket)
        der = self.socket.getpeercert(binary_form=True)
        assert der is not None
        login = ScramClient(identity, token, binding(der))
        self.say_hello()
        first = Auth(login.first(), mechanism="SCRAM-SHA-256-PLUS")
        self.send(frame(FrameType.AUTH, 0, first.encode()))
        self.expect(FrameType.HELLO)
        challenge = self.expect(FrameType.AUTH)
        self.send(frame(FrameType.AUTH, 0, Auth(login.final(challenge["data"])).encode()))
        login.verify(self.expect(FrameType.AUTH)["data"])


@contextlib.contextmanager
def raw_client(port: int) -> Iterator[Peer]:
    """Connect over TLS to a server on the loopback, checking nothing."""
    context = client_context()
    with (
        socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as sock,
        context.wrap_socket(sock) as wrapped,
    ):
        yield Peer(wrapped)


def reset(sock: socket.socket) -> None:
    """Close a TCP connection by RST."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    sock.close()


class Impostor:
    """Listens on a free port and gives each connection to `script`, one after another.

    With `files` it speaks TLS; then `received` is what came through it, else what came at all.
    """

    def __init__(
        self,
        script: Callable[[Peer], None],
        files: CertificateFiles | None = None,
        alpn: str | None = None,
    ) -> None:
        self.peers: list[Peer] = []
        self._script = script
        self._context = None if files is None else server_context(files.certificate, files.key)
        if self._context is not None and alpn is not None:
            self._context.set_alpn_protocols([alpn])
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self._stop, self._stopped = socket.socketpair()
        self._failures: list[Exception] = []
        self._thread = threading.Thread(target=self._serve)

    @property
    def received(self) -> bytes:
        """All that was received, on all connections."""
        return b"".join(peer.received for peer in self.peers)

    def __enter__(self) -> Impostor:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stop.close()
        self._thread.join(DEADLINE)
        self._stopped.close()
        self._listening.close()
        assert not self._failures, self._failures

    async def __aenter__(self) -> Impostor:
        return self.__enter__()

    async def __aexit__(self, *exc_info: object) -> None:
        # The client under test closes its end in this very loop.
        await asyncio.to_thread(self.__exit__)

    def _serve(self) -> None:
        while True:
            ready, _, _ = select.select([self._listening, self._stopped], [], [])
            if self._stopped in ready:
                return
            sock, _ = self._listening.accept()
            with sock:
                try:
                    self._talk(sock)
                except ConnectionError:
                    pass  # the client has left
                except Exception as error:
                    self._failures.append(error)

    def _talk(self, sock: socket.socket) -> None:
        sock.settimeout(DEADLINE)
        if self._context is None:
            self.peers.append(Peer(sock))
            self._script(self.peers[-1])
            return
        try:
            wrapped = self._context.wrap_socket(sock, server_side=True)
        except ssl.SSLError:
            return  # the client refused our certificate
        with wrapped:
            self.peers.append(Peer(wrapped))
            self._script(self.peers[-1])


class Relay:
    """Passes bytes between clients and a server on the loopback, until it is cut.

    With `files` it stands in the middle: TLS with that certificate to the client, and TLS of
    its own to the server. `passed` holds what the client said, as far as it could be read.
    """

    def __init__(self, port: int, files: CertificateFiles | None = None) -> None:
        self.passed = b""
        self._port = port
        self._files = files
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self._stop, self._stopped = socket.socketpair()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Relay:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.cut()
        self._stopped.close()

    async def __aenter__(self) -> Relay:
        return self.__enter__()

    async def __aexit__(self, *exc_info: object) -> None:
        await asyncio.to_thread(self.__exit__)

    def cut(self) -> None:
        """Reset every connection and listen no more."""
        self._stop.close()
        self._thread.join(DEADLINE)
        self._listening.close()

    def _serve(self) -> None:
        pairs: dict[socket.socket, socket.socket] = {}
        while True:
            ready, _, _ = select.select([self._listening, self._stopped, *pairs], [], [])
            if self._stopped in ready:
                for sock in pairs:
                    reset(sock)
                return
            for sock in ready:
                if sock is self._listening:
                    self._join(pairs)
                elif sock in pairs and not self._pass_on(sock, pairs[sock]):
                    other = pairs.pop(sock)
                    pairs.pop(other)
                    sock.close()
                    other.close()

    def _join(self, pairs: dict[socket.socket, socket.socket]) -> None:
        client, _ = self._listening.accept()
        client.settimeout(DEADLINE)
        server = socket.create_connection(("127.0.0.1", self._port), timeout=DEADLINE)
        if self._files is not None:
            context = server_context(self._files.certificate, self._files.key)
            try:
                client = context.wrap_socket(client, server_side=True)
            except (ssl.SSLError, ConnectionError):
                client.close()
                server.close()
                return
            server = client_context().wrap_socket(server)
        pairs[client], pairs[server] = server, client

    def _pass_on(self, sock: socket.socket, other: socket.socket) -> bool:
        try:
            data = sock.recv(65536)
            while isinstance(sock, ssl.SSLSocket) and sock.pending():
                data += sock.recv(65536)
            if other.getpeername()[1] == self._port:
                self.passed += data
            other.sendall(data)
        except OSError:  # ssl.SSLError is one
            return False
        return bool(data)
