"""A big file sent whole, through the stdin of a remote command.

The file is read and sent a block at a time; `write` waits while the remote command is slow, so
memory stays small whatever the file's size. `cat` ends when the input does.

Run: python examples/send_file.py
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
from pathlib import Path

import rshell

BLOCK = 256 * 1024


async def send_file(client: rshell.Client, source: Path, target: str) -> str:
    """Copy a file to the remote machine and return the SHA-256 that it has there."""
    # As an argument ($1), not inside the command: no name can be taken for shell syntax.
    command = ["sh", "-c", 'cat >"$1" && sha256sum <"$1"', "sh", target]
    async with client.open_process(command, stdin=rshell.PIPE) as process:
        assert process.stdin is not None
        with source.open("rb") as file:
            while block := file.read(BLOCK):
                await process.stdin.write(block)
        await process.stdin.close()
        reply: bytes = await process.stdout.read()
        status = await process.wait()
    if status.code != 0:
        raise OSError(f"sending {source.name} failed: the remote command {status}")
    return reply.split()[0].decode()


async def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        source, target = Path(directory, "original"), Path(directory, "the copy")
        source.write_bytes(os.urandom(64 * 1024 * 1024))
        async with (
            rshell.serve("localhost", 0, state=Path(directory, "state")) as server,
            rshell.connect(server.addresses[0], token=server.token_line) as client,
        ):
            there = await send_file(client, source, str(target))
        print(f"sent {target.stat().st_size} bytes")
        here = hashlib.sha256(source.read_bytes()).hexdigest()
        print(f"both sums are equal: {here == there}")


if __name__ == "__main__":
    asyncio.run(main())
