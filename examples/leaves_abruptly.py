"""A client that leaves abruptly, while the server serves the next one.

The first client is a program of its own that is killed with SIGKILL in the middle of a command:
it says no goodbye. Its witness, a small process that rshell starts beside a client, tells the
server, which ends what it ran. The next client notices nothing.

Run: python examples/leaves_abruptly.py
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile

import rshell


async def run_until_killed(address: str) -> None:
    """Be the client that will not get to say goodbye. Its token is in $RSHELL_TOKEN."""
    # A session has its witness after a second by default; ours is killed sooner.
    limits = rshell.Limits(witness_after=0.0)
    async with (
        rshell.connect(address, limits=limits) as client,
        client.open_process(["sleep", "1000"]) as process,
    ):
        print(process.pid, flush=True)
        await process.wait()


async def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with rshell.serve("localhost", 0, state=directory) as server:
            first = await asyncio.create_subprocess_exec(
                *(sys.executable, __file__, str(server.addresses[0])),
                stdout=asyncio.subprocess.PIPE,
                env=os.environ | {"RSHELL_TOKEN": server.token_line or ""},
            )
            assert first.stdout is not None
            pid = int(await first.stdout.readline())
            print("the first client runs sleep")
            first.kill()
            await first.wait()
            print("the first client was killed")

            async with rshell.connect(server.addresses[0], token=server.token_line) as client:
                done = await client.run("echo the next client is served", check=True, text=True)
                print(done.stdout, end="")
                gone = f"while kill -0 {pid} 2>/dev/null; do sleep 0.05; done"
                await client.run(gone, timeout=30)
                print("the first client's sleep was ended")


if __name__ == "__main__":
    asyncio.run(run_until_killed(sys.argv[1]) if len(sys.argv) > 1 else main())
