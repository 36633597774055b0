"""Kills servers and clients at random moments under load, and looks at what is left.

Run as `python -m tests.support.kill_storm SEED SERVERS CLIENTS`: so many servers and clients are
killed by SIGKILL, each while commands, jobs, a shell and a named shell run and start. All rounds
share one state directory and one socket's path, as a machine's own would. It prints what was
found amiss, a line each, and exits with 1 if there was anything:

- a process that should have ended with what was killed;
- a client that does not notice that its server is gone;
- a server that does not start where another was killed, serves nobody, does not stop, or leaves its
  socket;
- a file in the state directory that can't be read.

Not found are background children of commands that ended by themselves: they are left alone.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import rshell
from rshell.values import Bounds, TerminalSize

GRACE = 0.3
LIMITS = json.dumps({"kill_grace": GRACE, "resume_window": 1.0})
PATIENCE = 20.0  # seconds until what is still there counts as left behind
LONGEST = 0.8  # seconds under load until the kill


@dataclass
class Storm:
    """One run in `directory`: `amiss` has what was found."""

    directory: Path
    seed: int
    amiss: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._state = self.directory / "state"
        self._socket = self.directory / "socket"
        # Told from all other sleeps of the machine; .1 lives as its client does, .2 as its server.
        self._mark = 10_000_000 + os.getpid()
        self._env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}

    def kill_server(self) -> None:
        """Kill a server under load."""
        server, client = self._begin()
        self._end(server)
        self._await(lambda: client.poll() is not None, "the client does not notice")
        self._await(lambda: not self._left(""), "processes outlive their server")
        self._end(client)
        self._check_files()

    def kill_client(self) -> None:
        """Kill a client under load; then stop its server as an administrator would."""
        server, client = self._begin()
        self._end(client)
        self._await(lambda: not self._left(".1"), "processes outlive their client")
        asked = self._run("rshell", "-c", "exit 7", f"unix:{self._socket}")
        if asked.wait() != 7:
            self.amiss.append("the server serves nobody any more")
        for _ in range(2):  # the second ends the wait for jobs
            server.send_signal(signal.SIGTERM)
            time.sleep(0.1)
        self._await(lambda: server.poll() is not None, "the server does not stop")
        if self._socket.exists():
            self.amiss.append("a server that stopped left its socket")
        self._await(lambda: not self._left(""), "processes outlive a server that stopped")
        self._end(server)
        self._check_files()

    def _begin(self) -> tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]]:
        server = self._run(
            *("server", "--unix", str(self._socket), "--state", str(self._state)),
            stdout=subprocess.PIPE,
        )
        assert server.stdout is not None
        if not server.stdout.readline():
            raise SystemExit("a server does not start: " + "; ".join(self.amiss))
        argv = [sys.executable, "-m", "tests.support.kill_storm", "load"]
        client = subprocess.Popen(
            [*argv, f"unix:{self._socket}", str(self._mark)],
            env=self._env,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert client.stdout is not None
        client.stdout.readline()
        time.sleep(self._random.uniform(0, LONGEST))
        return server, client

    def _run(self, name: str, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-m", "tests.support.limited", name, LIMITS, *arguments]
        return subprocess.Popen(argv, env=self._env, stderr=subprocess.DEVNULL, **options)

    def _end(self, popen: subprocess.Popen[bytes]) -> None:
        popen.kill()
        popen.communicate()

    def _await(self, condition: Any, what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                self.amiss.append(f"{what}: {self._left('')}")
                return
            time.sleep(0.02)

    def _left(self, which: str) -> list[str]:
        """Return the sleeps that carry the mark; ".1" are those that live as their client does."""
        wanted = f"sleep\0{self._mark}{which}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with suppress(OSError):
                    line = (entry / "cmdline").read_bytes()
                    if line.startswith(wanted):
                        found.append(f"{entry.name} {line!r}")
        return found

    def _check_files(self) -> None:
        for path in self._state.rglob("*"):
            if path.suffix in (".json", ".jsonl"):
                for text in path.read_text().splitlines():
                    try:
                        json.loads(text)
                    except ValueError:
                        self.amiss.append(f"{path.name} holds {text[-100:]!r}")
            elif path.is_file() and path.name.endswith((".tmp", ".new")):
                self.amiss.append(f"{path} was left behind")


async def load(address: str, mark: str) -> None:
    """Do all that a client can do, until one end is killed."""
    async with rshell.connect(address, limits=Bounds(resume_window=0.5)) as client:

        async def run(command: str) -> None:
            while True:
                await client.run(command)

        async def jobs() -> None:
            while True:
                await client.start_job(f"echo begun; exec sleep {mark}.2")
                await client.start_job("head -c 100000 /dev/zero")
                await asyncio.sleep(0.05)

        async def shell() -> None:
            async with client.open_shell() as shell:
                await shell.run(f"sleep {mark}.1 &")
                while True:
                    await shell.run("sh -c 'sleep 0.01'")

        async def named() -> None:
            name = f"n{os.getpid()}"
            async with client.open_line(TerminalSize(80, 24), term="dumb", name=name) as line:
                await line.run(f"sleep {mark}.2")

        await client.run("true")
        print("under load", flush=True)
        await asyncio.gather(
            *(run(f"sleep {mark}.1 & sleep {mark}.1") for _ in range(3)),
            *(run("head -c 3000000 /dev/zero; exit 3") for _ in range(2)),
            run("sleep 0.01"),
            jobs(),
            shell(),
            named(),
        )


def main() -> None:
    """Run a storm, or its load."""
    if sys.argv[1] == "load":
        asyncio.run(load(*sys.argv[2:]))
        return
    seed, servers, clients = map(int, sys.argv[1:])
    with tempfile.TemporaryDirectory(prefix="storm") as directory:
        storm = Storm(Path(directory), seed)
        kills = [storm.kill_server] * servers + [storm.kill_client] * clients
        random.Random(seed).shuffle(kills)
        for number, kill in enumerate(kills, 1):
            before = len(storm.amiss)
            kill()
            for what in storm.amiss[before:]:
                print(f"{number} {kill.__name__}: {what}", flush=True)
        print(f"{servers} servers and {clients} clients killed, {len(storm.amiss)} things amiss")
        sys.exit(bool(storm.amiss))


if __name__ == "__main__":
    main()
