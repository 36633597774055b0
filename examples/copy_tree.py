"""A tree sent whole, then again after a change: only what differs travels.

Run: python examples/copy_tree.py
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path

import rshell


def make_tree(root: Path) -> None:
    (root / "sub").mkdir(parents=True)
    (root / "large").write_bytes(os.urandom(4_000_000))
    for number in range(100):
        (root / "sub" / f"{number}").write_text(f"file {number}")


async def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        make_tree(directory / "tree")
        async with (
            rshell.serve("localhost", 0, state=directory / "state") as server,
            rshell.connect(server.addresses[0], token=server.token_line) as client,
        ):
            done = await client.put(directory / "tree", directory / "there", recursive=True)
            print(f"{done.files} files sent")
            with (directory / "tree" / "large").open("r+b") as file:
                file.seek(2_000_000)
                file.write(b"a change")
            done = await client.put(directory / "tree", directory / "there", recursive=True)
            print(f"{done.files} file sent, {done.moved} of its {done.bytes} bytes")
            try:
                await client.get("/no/such/file", directory)
            except FileNotFoundError as error:
                print(f"{error.strerror}: {error.filename}")


if __name__ == "__main__":
    asyncio.run(main())
