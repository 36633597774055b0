"""The witness: a small process that tells the server when its client was killed.

A server keeps a session whose link was lost, because it can't tell a killed client from a cut path;
this machine can. The witness holds the read end of a pipe whose only write end is the client's
process. However that process ends, the kernel closes its end, and the witness logs in to the server
of each session that is left, claims the session, and says GOODBYE. When the whole machine dies, the
witness dies with it: that is silence, and the session is kept.

It is the mirror image of the server's reaper, and as poor: a session of the kernel's own, no
descriptor but the pipe, hardly an import until it has something to tell. What it must know, secrets
included, comes through the pipe alone. A line is `NUMBER RECORD`, a JSON object without a newline,
which replaces the one before; `NUMBER` alone forgets it; `NUMBER !` says that the client is done
with the session and could not say so itself. It ends when the client has ended and all is told, or
when nothing is left that a server would still keep.

Hazard: the session's secret changes with each link, and the client tells us the new one before it
has shown the server that it has it. What we know is therefore always good.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

_FIRST_WAIT = 0.1  # seconds
_LONGEST_WAIT = 5.0
_AT_ONCE = 16  # attempts; a server turns more away


def main() -> None:
    """Keep what stdin says, and tell it once stdin has ended."""
    # What is meant for the client, such as a kill of everything of this user, comes here too.
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those who tell for the living
    records: dict[bytes, bytes] = {}
    rest = b""
    while chunk := os.read(0, 65536):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            _note(line, records)
    if records:
        tell(list(records.values()))


def _note(line: bytes, records: dict[bytes, bytes]) -> None:
    """Apply one line of the client's."""
    number, _, text = line.partition(b" ")
    record = records.pop(number, None)
    if text == b"!":
        if record is not None and not os.fork():
            try:
                os.close(0)  # or the pipe would still seem to be read once the witness is dead
                tell([record])
            finally:
                os._exit(0)
    elif text:
        records[number] = text


def tell(records: list[bytes]) -> None:
    """Say GOODBYE for each session, trying again as long as its server may keep it."""
    import asyncio

    async def run() -> None:
        turns = asyncio.Semaphore(_AT_ONCE)
        telling = (_tell(record, turns) for record in records)
        await asyncio.gather(*telling, return_exceptions=True)

    asyncio.run(run())


async def _tell(record: bytes, turns: asyncio.Semaphore) -> None:
    import asyncio
    import json
    import random
    from pathlib import Path

    from rshell.aio import timeout
    from rshell.client.connect import end_session
    from rshell.client.links import FINAL
    from rshell.errors import ConnectError
    from rshell.security.credentials import Trust
    from rshell.values import Address, Bounds

    facts = json.loads(record)
    trust = None
    if facts["identity"] is not None:
        trust = Trust(facts["identity"], facts["token"], facts["fingerprint"])
    ca = facts["ca"]
    authority = ca if ca in (None, "system") else Path(ca)
    address = Address.parse(facts["address"])
    wait = _FIRST_WAIT
    async with timeout(facts["window"]):
        while True:
            try:
                async with turns:
                    which = facts["session"], facts["secret"]
                    await end_session(address, trust, authority, Bounds(), *which)
                return
            except FINAL:
                return
            except ConnectError:
                await asyncio.sleep(wait * random.uniform(0.5, 1.0))
            wait = min(wait * 2, _LONGEST_WAIT)
