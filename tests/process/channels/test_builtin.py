"""The kinds that every server offers."""

from __future__ import annotations

import pytest

from rshell import BUILTIN_HANDLERS, ChannelRefused
from rshell.channels.builtin import serve_job
from rshell.channels.process.server import serve_process
from rshell.channels.sessions.server import serve_sessions
from rshell.channels.shell.server import serve_shell
from tests.support.session import tls_session


def test_the_names_are_those_of_the_wire() -> None:
    offered = {
        "job": serve_job,
        "process": serve_process,
        "sessions": serve_sessions,
        "shell": serve_shell,
    }
    assert offered == BUILTIN_HANDLERS


async def test_a_server_offers_them_and_refuses_the_rest_by_name() -> None:
    async with tls_session() as client:
        assert (await client.run("echo hi")).stdout == b"hi\n"
        async with client.open_shell() as shell:
            assert (await shell.run("echo hi")).stdout == b"hi\n"
        for kind in ("files", "", "Process", "serve", "x" * 100, "\x1b[31m"):
            with pytest.raises(ChannelRefused, match="job, process, sessions, shell") as caught:
                await client.open_channel(kind)
            assert caught.value.code == "unknown-kind"


async def test_a_server_with_handlers_of_its_own_offers_only_those() -> None:
    async with tls_session(handlers={}) as client:
        with pytest.raises(ChannelRefused, match="there are none"):
            await client.run("echo hi")
