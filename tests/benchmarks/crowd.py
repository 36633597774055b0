"""`python -m tests.benchmarks.crowd`: honest logins beside a crowd that only takes places.

A server of our own on the loopback, where 127.0.0.2 and its neighbours play other machines. One
of them opens connections as fast as it is told and says nothing (`idle`), only the first record of
TLS (`hello`), or logs in with a wrong token (`wrong`). Meanwhile clients log in from another
address, and then from the same one. All of it is bounded in number and time, and stops by itself.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Any

import rshell
from rshell.client import connect as connecting
from rshell.security.credentials import local_token
from rshell.security.tokens import TokenLine
from tests.benchmarks.servers import HOST, rshell_server

CROWD, OTHER = "127.0.0.2", "127.0.0.3"
_HELD = 4_000  # sockets that the crowd keeps open; then it lets go of the oldest
_LONGEST = 60.0  # seconds that a crowd may last
_SETTLE = 3.0  # seconds until the crowd has taken what it can


def main(arguments: list[str]) -> int:
    """Run one crowd and print who got in."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.crowd", description=__doc__)
    parser.add_argument("--rate", type=float, default=200.0, help="connections a second (200)")
    parser.add_argument("--kind", choices=("idle", "hello", "wrong"), default="idle")
    parser.add_argument("--logins", type=int, default=50, help="honest logins from each (50)")
    parser.add_argument("--every", type=float, default=0.1, help="seconds between two (0.1)")
    parser.add_argument("--crowd", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.crowd:
        port, rate, seconds, kind = options.crowd
        asyncio.run(_crowd(int(port), float(rate), min(float(seconds), _LONGEST), kind))
        return 0
    with tempfile.TemporaryDirectory() as place, rshell_server(Path(place) / "server") as server:
        seconds = 2 * options.logins * options.every * 3 + _SETTLE
        crowd = [sys.executable, "-m", "tests.benchmarks.crowd", "--crowd", str(server.port)]
        crowd += [str(options.rate), str(seconds), options.kind]
        with subprocess.Popen(crowd, env=server.env) as popen:
            time.sleep(_SETTLE)
            for name, source in (("another address", OTHER), ("the same address", CROWD)):
                print(f"{name}: {asyncio.run(_log_in(server.port, server.token, source, options))}")
            popen.kill()
        state = Path(server.env["XDG_STATE_HOME"]) / "rshell" / "server"
        print(f"audit log: {(state / 'audit.jsonl').stat().st_size} bytes")
    return 0


async def _log_in(port: int, token: str, source: str, options: argparse.Namespace) -> str:
    """Log in again and again, each time beside the others; say how it went."""
    dials = 0

    async def connect_from(*_: Any) -> socket.socket:
        nonlocal dials
        dials += 1
        sock = socket.socket()
        sock.setblocking(False)
        sock.bind((source, 0))
        await asyncio.get_running_loop().sock_connect(sock, (HOST, port))
        return sock

    vars(connecting)["_connect_fastest"] = connect_from
    times: list[float] = []

    async def one(number: int) -> None:
        await asyncio.sleep(number * options.every)
        start = time.perf_counter()
        async with rshell.connect(f"{HOST}:{port}", token=token):
            times.append(time.perf_counter() - start)

    done = await asyncio.gather(*map(one, range(options.logins)), return_exceptions=True)
    failed = [error for error in done if error is not None]
    text = f"{len(times)} of {options.logins} logged in, with {dials} dials"
    if times:
        text += f", median {1e3 * statistics.median(times):.0f} ms, worst {1e3 * max(times):.0f} ms"
    return text + (f"; {type(failed[0]).__name__}: {failed[0]}" if failed else "")


async def _crowd(port: int, rate: float, seconds: float, kind: str) -> None:
    """Open `rate` connections a second for `seconds` from one address."""
    held: deque[socket.socket] = deque()
    wrong = asyncio.Semaphore(64)
    tasks: set[asyncio.Task[None]] = set()
    start, count = time.monotonic(), 0
    while (now := time.monotonic() - start) < seconds:
        while count < now * rate:
            count += 1
            if kind == "wrong":
                task = asyncio.create_task(_guess(port, wrong))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
                continue
            held.append(sock := socket.socket())
            sock.bind((CROWD, 0))
            sock.setblocking(False)
            sock.connect_ex((HOST, port))
            if kind == "hello":
                asyncio.get_running_loop().call_later(0.02, _greet, sock)
            if len(held) > _HELD:
                held.popleft().close()
        await asyncio.sleep(0.005)


def _greet(sock: socket.socket) -> None:
    """Say the first record of TLS, and no more."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    context.set_alpn_protocols(["rshell/1"])
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname=HOST).do_handshake()
    with contextlib.suppress(OSError):
        sock.send(outgoing.read())


async def _guess(port: int, wrong: asyncio.Semaphore) -> None:
    """Log in with a wrong token."""

    async def connect_from(*_: Any) -> socket.socket:
        sock = socket.socket()
        sock.setblocking(False)
        sock.bind((CROWD, 0))
        await asyncio.get_running_loop().sock_connect(sock, (HOST, port))
        return sock

    vars(connecting)["_connect_fastest"] = connect_from
    own = local_token(_own_state())
    assert own is not None
    line = str(TokenLine(own.address, own.fingerprint, "somebody", "A" * 43))
    async with wrong:
        with contextlib.suppress(rshell.RshellError, OSError):
            async with rshell.connect(f"{HOST}:{port}", token=line):
                pass


def _own_state() -> Path:
    from rshell.security.files import server_directory

    return server_directory()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
