"""`--json`: one object that says how a command ended and what it printed.

Strategy: the same object for every outcome, a refused login included, so that a script has one
thing to read. Output that is not UTF-8 is given in base64 under another key.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
from typing import Any

from rshell.channels.process.client import PIPE, Process
from rshell.cli.oneshot import TIMEOUT_STATUS
from rshell.cli.options import Options
from rshell.cli.signals import on_signals
from rshell.cli.streams import InputDescriptor
from rshell.client.client import Client
from rshell.errors import ChannelRefused, ConnectError, RshellError
from rshell.transport.streams import ByteReader

FAILED_STATUS = 255


async def run_json(client: Client, options: Options) -> int:
    """Run the command, print the object and return the status to exit with."""
    stdin = None if options.no_stdin else PIPE
    stdout = stderr = b""
    try:
        async with client.open_process(
            options.command, stdin=stdin, timeout=options.timeout
        ) as process:
            interrupt = _Interrupt(process)
            readers: list[ByteReader] = [process.stdout, process.stderr]
            for reader in readers:
                reader.collect()
            feeder = asyncio.create_task(_feed(process.stdin)) if process.stdin else None
            try:
                with on_signals({signal.SIGINT: interrupt}):
                    ending = await process.wait_ending()
            finally:
                if feeder is not None:
                    feeder.cancel()
                stdout, stderr = (reader.take() for reader in readers)
    except RshellError as error:
        print_object(failure(error, stdout, stderr))
        return FAILED_STATUS
    outcome = "timeout" if ending.timed_out else "signaled" if ending.status.signal else "exited"
    print_object(
        {
            "outcome": outcome,
            "exit_status": ending.status.code,
            "signal": ending.status.signal,
            **_output("stdout", stdout),
            **_output("stderr", stderr),
            "duration": round(ending.duration, 6),
            "error": None,
        }
    )
    return TIMEOUT_STATUS if ending.timed_out else ending.status.shell_status


class _Interrupt:
    """SIGINT is for the remote command; a second one ends it and us."""

    def __init__(self, process: Process[ByteReader]) -> None:
        self._process = process
        self._count = 0

    def __call__(self) -> None:
        self._count += 1
        if self._count == 1:
            self._process.send_signal("SIGINT")
        else:
            self._process.end("interrupted twice")


def failure(error: RshellError, stdout: bytes = b"", stderr: bytes = b"") -> dict[str, Any]:
    """Return the object for a command that has no ending of its own."""
    return {
        "outcome": "refused" if isinstance(error, (ConnectError, ChannelRefused)) else "lost",
        "exit_status": None,
        "signal": None,
        **_output("stdout", stdout),
        **_output("stderr", stderr),
        "duration": None,
        "error": str(error),
    }


def print_object(values: dict[str, Any]) -> None:
    """Print one JSON object on stdout. A reader that has left is no error."""
    data = json.dumps(values).encode("ascii") + b"\n"
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(1, view) :]
    except BrokenPipeError:
        pass


def _output(name: str, data: bytes) -> dict[str, str]:
    try:
        return {name: data.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(data).decode("ascii")}


async def _feed(stdin: Any) -> None:
    source = InputDescriptor(0)
    try:
        while block := await source.read():
            await stdin.write(block)
        await stdin.close()
    except (BrokenPipeError, RshellError):
        pass  # it does not read any more, or is lost; its ending will tell
