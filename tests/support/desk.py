"""What the tests of jobs share: the jobs of a server, without the server."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from rshell.channels.base import Work
from rshell.channels.job.jobs import Jobs, RunningJob
from rshell.execution.spawn import Command, SpawnQueue
from rshell.protocol.codec import Json
from rshell.values import Bounds

BRIEF = Bounds(kill_grace=0.3)


class Desk:
    """Jobs as a server has them, and what was written to the audit log."""

    def __init__(self, directory: Path, limits: Bounds) -> None:
        self.jobs = Jobs(directory, SpawnQueue(100), limits, Work())
        self.audited: list[tuple[str, Json]] = []

    async def start(self, script: str, name: str | None = None, identity: str = "me") -> str:
        """Start a script of /bin/sh."""
        return await self.jobs.start(
            identity,
            Command(("/bin/sh", "-c", script), cwd=None, env=dict(os.environ)),
            shown=script,
            name=name,
            merge_stderr=False,
            audit=lambda event, facts: self.audited.append((event, facts)),
        )

    def running(self, name: str, identity: str = "me") -> RunningJob:
        """Return a job that must be running."""
        job = self.jobs.find(identity, name)
        assert isinstance(job, RunningJob)
        return job

    async def ended(self, name: str, identity: str = "me") -> None:
        """Wait until a job has ended."""
        job = self.jobs.find(identity, name)
        if isinstance(job, RunningJob):
            await job.wait()

    def read(self, name: str, identity: str = "me") -> bytes:
        """Return what is kept of both streams, in order."""
        reader = self.jobs.read_log(identity, name)
        try:
            return b"".join(piece.data for piece in iter(reader.read, None))
        finally:
            reader.close()

    async def until_output(self, name: str, wanted: bytes) -> None:
        """Wait until a running job has written something."""
        job = self.running(name)
        while wanted not in self.read(name):
            assert not job.is_over
            await job.wait_change()


@asynccontextmanager
async def desk(directory: Path, limits: Bounds = BRIEF) -> AsyncIterator[Desk]:
    """Keep jobs in a directory until the block is left."""
    desk = Desk(directory, limits)
    try:
        yield desk
    finally:
        await desk.jobs.close()
