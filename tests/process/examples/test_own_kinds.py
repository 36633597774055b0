"""What docs/kinds.md and docs/embedding.md promise to those who write handlers or embed servers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

import rshell
from rshell.aio import timeout


@asynccontextmanager
async def a_session(
    *, commands: bool = False, **handlers: rshell.Handler
) -> AsyncIterator[rshell.Client]:
    """A client of a server with these kinds."""
    with TemporaryDirectory() as directory:
        unix = f"{directory}/socket"
        async with (
            timeout(60),
            rshell.serve(
                None, unix=unix, handlers=handlers, commands=commands, state=directory
            ) as server,
            rshell.connect(server.addresses[0]) as client,
        ):
            yield client


@pytest.mark.bare
async def test_a_servers_token_line_logs_in_without_the_users_files(tmp_path: Path) -> None:
    state = tmp_path / "own" / "elsewhere"
    async with (
        rshell.serve("localhost", 0, state=state) as server,
        rshell.connect(server.addresses[0], token=server.token_line) as client,
    ):
        assert client.identity == "local"
        assert server.token_line is not None
        assert server.token_line.split()[1] == str(server.addresses[0])
        assert server.token_line not in repr(vars(server)["_tls"])
    assert not (tmp_path / "own" / "state").exists()


async def test_a_unix_socket_alone_has_no_token_line(tmp_path: Path) -> None:
    with TemporaryDirectory() as directory:
        async with rshell.serve(None, unix=f"{directory}/socket", state=directory) as server:
            assert server.token_line is None
            assert sorted(path.name for path in Path(directory).glob("*.pem")) == []


async def test_a_handler_that_fails_ends_its_channel_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail(channel: rshell.Channel, context: rshell.Context) -> None:
        if channel.request:
            channel.accept()
        raise KeyError("the secret of the handler")

    with caplog.at_level(logging.CRITICAL, "rshell"):
        async with a_session(fail=fail) as client:
            with pytest.raises(rshell.ChannelRefused) as refused:
                await client.open_channel("fail")
            with pytest.raises(rshell.ChannelReset) as cut:
                async with client.open_channel("fail", {"accept": True}) as channel:
                    await channel.read()
            for error in (refused.value, cut.value):
                assert error.code == "failed"
                assert error.reason == "the server failed: KeyError"
            assert not client.is_closed


async def test_a_handler_that_does_not_answer_is_a_refusal() -> None:
    async def mute(channel: rshell.Channel, context: rshell.Context) -> None:
        channel.send_message({"dropped": "before accept"})

    async with a_session(mute=mute) as client:
        with pytest.raises(rshell.ChannelRefused) as refused:
            await client.open_channel("mute")
        assert refused.value.code == "failed"


async def test_closing_cancels_the_handler_and_the_end_of_input_does_not() -> None:
    cancelled = asyncio.Event()

    async def wait(channel: rshell.Channel, context: rshell.Context) -> None:
        channel.accept()
        try:
            assert await channel.read() == b""
            channel.send_message({"alive": True})
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async with a_session(wait=wait) as client:
        async with client.open_channel("wait") as channel:
            channel.send_eof()
            assert await channel.receive_message() == {"alive": True}
            assert not cancelled.is_set()
        await cancelled.wait()


async def test_a_write_that_can_never_go_out_raises_instead_of_waiting() -> None:
    async def hasty(channel: rshell.Channel, context: rshell.Context) -> None:
        try:
            await channel.write(b"too early")
        except rshell.LocalProtocolError as error:
            channel.refuse("hasty", str(error))

    async def patient(channel: rshell.Channel, context: rshell.Context) -> None:
        channel.accept()
        await channel.read()

    async with a_session(hasty=hasty, patient=patient) as client:
        with pytest.raises(rshell.ChannelRefused, match="before accept") as refused:
            await client.open_channel("hasty")
        assert refused.value.code == "hasty"
        channel = await client.open_channel("patient")
        channel.send_eof()
        with pytest.raises(rshell.LocalProtocolError, match="after send_eof"):
            await channel.write(b"too late")


async def test_a_command_that_a_shell_can_not_be_given_does_not_cost_the_shell() -> None:
    async with a_session(commands=True) as client, client.open_shell() as shell:
        await shell.run("kept=yes")
        with pytest.raises(ValueError, match="NUL"):
            await shell.run("echo \0")
        with pytest.raises(ValueError, match="longer"):
            await shell.run("x" * 300_000)
        assert (await shell.run("echo $kept")).stdout == b"yes\n"


async def test_a_program_that_opens_no_session_leaves_no_complaint() -> None:
    """On Python 3.11 its pipe was aborted twice, which asyncio logged with a traceback."""
    with pytest.raises(rshell.ConnectError, match="status 1"):
        await rshell.connect(via="false")
