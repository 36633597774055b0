"""The process behind a persistent shell: one that reads lines, or the user's own on a terminal."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from typing import Union

from rshell.channels.base import Context
from rshell.channels.shell.messages import ShellRequest
from rshell.channels.shell.native.native_process import NativeProcess
from rshell.channels.shell.native.startup import native_kind
from rshell.channels.shell.recipe import ShellRecipe
from rshell.channels.shell.shell_process import ShellProcess
from rshell.execution.piped_process import Outlet
from rshell.values import ExitStatus, TerminalSize

AnyProcess = Union[ShellProcess, NativeProcess]


async def start_process(
    context: Context,
    request: ShellRequest,
    program: str,
    cwd: str,
    environment: Mapping[str, str],
    outlet: Outlet,
    size: TerminalSize | None,
) -> AnyProcess:
    """Start `program` in `cwd`, on a terminal of `size` where that is not None.

    Raises SpawnError, and OSError where the server has no descriptors left.
    """
    kind = None if size is None else native_kind(program)
    if kind is not None and size is not None:
        return await NativeProcess.start(
            context, kind, program, cwd, environment, outlet, size, login=request.login
        )
    return await ShellProcess.start(
        context,
        ShellRecipe.choose(program, terminal=size is not None),
        cwd,
        environment,
        outlet,
        stdin=request.stdin,
        terminal=size,
    )


async def end_process(shell: AnyProcess, grace: float) -> ExitStatus:
    """End a shell that was closed, and what runs in it; release all of it.

    An interactive shell ignores SIGTERM; SIGHUP ends it, and its jobs, at once.
    """
    try:
        shell.process.signal_group(signal.SIGHUP)
        await shell.process.end(grace)
        return await shell.process.wait()
    finally:
        shell.release()
