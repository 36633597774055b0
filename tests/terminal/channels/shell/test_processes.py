"""Which process is behind a shell, and how one is ended."""

from __future__ import annotations

import pytest

from rshell.channels.base import Context
from rshell.channels.shell.messages import ShellRequest
from rshell.channels.shell.native.native_process import NativeProcess
from rshell.channels.shell.processes import end_process, start_process
from rshell.channels.shell.shell_process import ShellProcess
from rshell.transport.channel import Channel
from rshell.values import TerminalSize
from tests.support.session import tls_session

SIZE = TerminalSize(80, 24)


@pytest.mark.parametrize(
    ("program", "size", "kind"),
    [
        ("/bin/bash", SIZE, NativeProcess),
        ("/bin/bash", None, ShellProcess),
        ("/bin/sh", SIZE, ShellProcess),
        ("/bin/cat", SIZE, NativeProcess),  # it has the terminal as it is
    ],
)
async def test_the_users_own_shell_is_for_terminals_alone(
    program: str, size: TerminalSize | None, kind: type
) -> None:
    async def serve(channel: Channel, context: Context) -> None:
        channel.accept()
        shell = await start_process(
            context, ShellRequest(), program, "/", context.environment, channel, size
        )
        shell.resume()
        is_right = isinstance(shell, kind)
        shell.close()
        status = await end_process(shell, 5.0)
        channel.write_nowait(f"{is_right} {shell.process.exit_status == status}".encode(), 1)
        channel.close()

    async with (
        tls_session(handlers={"test": serve}) as client,
        client.open_channel("test") as channel,
    ):
        assert await channel.stream(1).read() == b"True True"
