"""Asking a shell whether a text is whole, without running it (`sh -n`).

Strategy: the shell itself is the only judge of its language. It costs a process, so texts that
can't be incomplete are not asked about, and a judge that takes too long is not heard.
"""

from __future__ import annotations

import asyncio
import os

from rshell.channels.base import Context
from rshell.channels.shell.completeness import may_be_incomplete, says_incomplete, wants_more_text
from rshell.errors import SpawnError
from rshell.execution.pipes import PipeSink, PipeSource, input_pipe, output_pipe
from rshell.execution.spawn import Command

_DEADLINE = 3.0  # seconds; a text that is not judged by then is run as it is
_BLOCK = 4096
_ENOUGH = 16384  # bytes of complaints


async def wants_more(context: Context, shell: str, text: str) -> bool:
    """Return whether `text` is the beginning of something longer. Cancelling is safe."""
    if wants_more_text(text):
        return True
    if not may_be_incomplete(text):
        return False
    try:
        return says_incomplete(await _complaint(context, shell, text))
    except (SpawnError, OSError, TimeoutError):
        return False  # then the shell itself will say what it thinks of it


async def _complaint(context: Context, shell: str, text: str) -> str:
    stdin_end, stdin = input_pipe()
    output, output_end = output_pipe()
    nothing = os.open(os.devnull, os.O_WRONLY)
    environment = dict(context.environment) | {"LC_ALL": "C"}
    try:
        process = await context.spawner.spawn(
            Command((shell, "-n"), "/", environment),
            stdin=stdin_end,
            stdout=nothing,
            stderr=output_end,
        )
    except BaseException:
        os.close(stdin)
        os.close(output)
        raise
    finally:
        for fd in (stdin_end, output_end, nothing):
            os.close(fd)
    said = bytearray()
    ended = asyncio.Event()
    sink = PipeSink(stdin)
    source = PipeSource(
        output, said.extend, ended.set, block=_BLOCK, room=lambda: _ENOUGH - len(said)
    )
    try:
        async with asyncio.timeout(_DEADLINE):
            try:
                await sink.write(text.encode(errors="surrogateescape") + b"\n")
            except BrokenPipeError:
                pass  # it has made up its mind
            sink.close()
            await process.wait()
            source.drain_then_end()
    finally:
        sink.close()
        source.close()
        process.close()
    return said.decode(errors="replace")
