"""The client's side of commands: results, errors, limits, and servers that don't tell the truth."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from rshell import (
    PIPE,
    ChannelRefused,
    ChannelReset,
    CompletedProcess,
    ExitStatus,
    LinkLost,
    OutputTruncated,
    ProcessFailed,
    ProcessTimeout,
    RemoteProtocolError,
    SessionClosed,
)
from rshell.channels.process.client import make_request, run_process, start_process
from rshell.channels.process.messages import ProcessRequest
from rshell.transport.channel import Channel
from rshell.transport.streams import TextReader
from rshell.values import Bounds
from tests.support.processes import gone
from tests.support.session import MemorySession, memory_session, tls_session, until

MIB = 1024 * 1024
EXIT: dict[str, Any] = {"type": "exit", "exit_status": 0, "stdout": 0, "stderr": 0, "duration": 0.5}


# Results.


async def test_a_result_has_all_there_is_to_know() -> None:
    async with tls_session() as client:
        done = await client.run("echo out; echo err >&2; exit 3")
        assert done.command == "echo out; echo err >&2; exit 3"
        assert (done.exit_status, done.signal, done.status) == (3, None, ExitStatus(code=3))
        assert (done.stdout, done.stderr, done.held_open) == (b"out\n", b"err\n", False)
        assert 0 < done.duration < 30


async def test_check_raises_with_the_facts_and_the_last_line_of_stderr() -> None:
    async with tls_session() as client:
        with pytest.raises(ProcessFailed) as caught:
            await client.run("echo out; echo why >&2; exit 3", check=True)
        error = caught.value
        assert (error.exit_status, error.signal) == (3, None)
        assert (error.stdout, error.stderr) == (b"out\n", b"why\n")
        assert "status 3" in str(error)
        assert str(error).endswith("why")
        with pytest.raises(ProcessFailed, match="SIGKILL") as caught:
            await client.run("kill -9 $$", check=True, text=True)
        assert (caught.value.signal, caught.value.stdout) == ("SIGKILL", "")
        await client.run("true", check=True)


def test_checking_a_result_without_stderr() -> None:
    status = ExitStatus(signal="SIGTERM", signal_number=15)
    with pytest.raises(ProcessFailed, match=r"^the command was ended by SIGTERM: 'x'$"):
        CompletedProcess("x", status, b"", b" \n", 0.0).check()
    CompletedProcess(["x"], ExitStatus(code=0), "", "whatever", 0.0).check()


async def test_text_is_decoded_and_never_fails() -> None:
    async with tls_session() as client:
        done = await client.run(r"printf 'n\303\257\377'; printf '\351' >&2", text=True)
        assert (done.stdout, done.stderr) == ("nï\ufffd", "\ufffd")
        latin = await client.run(r"printf '\351'", encoding="latin-1")
        assert latin.stdout == "é"
        assert (await client.run("cat", input="é", encoding="latin-1")).stdout == "é"
        assert (await client.run("cat", input="é")).stdout == "é".encode()


async def test_streams_may_be_text() -> None:
    async with (
        tls_session() as client,
        client.open_process(r"printf 'a\nn\303\257\n'; echo err >&2", encoding="utf-8") as process,
    ):
        assert isinstance(process.stdout, TextReader)
        assert await process.stdout.readline() == "a\n"
        assert "".join([part async for part in process.stdout]) == "nï\n"
        assert await process.stderr.read() == "err\n"
        assert (await process.wait()).code == 0


async def test_a_dialogue_line_by_line() -> None:
    script = 'while read -r line; do echo "<$line>"; done; echo bye'
    async with tls_session() as client, client.open_process(script, stdin=PIPE) as process:
        assert process.stdin is not None
        for word in (b"one", b"two"):
            await process.stdin.write(word + b"\n")
            assert await process.stdout.readline() == b"<" + word + b">\n"
        await process.stdin.close()
        await process.stdin.close()
        with pytest.raises(BrokenPipeError):
            await process.stdin.write(b"late")
        assert await process.stdout.read() == b"bye\n"
        assert process.ending is None or process.ending.status.code == 0
        assert (await process.wait()).code == 0
        assert process.ending is not None


async def test_without_pipe_there_is_no_stdin() -> None:
    async with tls_session() as client, client.open_process("true") as process:
        assert process.stdin is None
        assert (await process.wait()).code == 0


async def test_waiting_may_be_cancelled_and_the_process_goes_on() -> None:
    async with tls_session() as client, client.open_process("cat", stdin=PIPE) as process:
        waiting = asyncio.ensure_future(process.wait())
        await client.run("true")
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert process.stdin is not None
        await process.stdin.write(b"still here")
        await process.stdin.close()
        assert await process.stdout.read() == b"still here"
        assert (await process.wait()).code == 0


async def test_output_past_the_limit_ends_the_command() -> None:
    async with tls_session(limits=Bounds(kill_grace=0.3)) as client:
        for script in ("yes", "yes >&2", "yes & yes >&2"):
            with pytest.raises(OutputTruncated) as caught:
                await client.run(script, max_output=1000)
            error = caught.value
            assert error.max_output == 1000
            assert isinstance(error.stdout, bytes)
            assert isinstance(error.stderr, bytes)
            output = error.stdout + error.stderr
            assert len(output) > 1000, script
            assert set(output) == set(b"y\n")


async def test_output_up_to_the_limit_is_whole() -> None:
    async with tls_session() as client:
        done = await client.run("printf 12345; printf 67890 >&2", max_output=10)
        assert (done.stdout, done.stderr) == (b"12345", b"67890")
        with pytest.raises(OutputTruncated) as caught:
            await client.run("printf 12345; printf 67890x >&2", max_output=10, text=True)
        assert isinstance(caught.value.stdout, str)
        assert (await client.run("true", max_output=0)).stdout == b""


async def test_a_session_that_is_closed_amid_a_command_says_so() -> None:
    async with tls_session(limits=Bounds(kill_grace=0.3)) as client:
        process = await client.open_process("echo $$; exec sleep 100")
        pid = int(await process.stdout.readline())
        waits = [process.wait(), process.stdout.read(), client.run("sleep 100")]
        waiting = [asyncio.ensure_future(wait) for wait in waits]
        await asyncio.sleep(0)
        await client.close()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [SessionClosed] * 3
        await gone(pid)
        with pytest.raises(SessionClosed):
            await client.run("true")


# Requests.


def test_a_string_is_for_the_shell_and_a_sequence_is_not() -> None:
    assert make_request("ls -l") == ProcessRequest(command="ls -l")
    assert make_request(["ls", "-l"], cwd="/") == ProcessRequest(argv=("ls", "-l"), cwd="/")
    assert make_request(None) == ProcessRequest()
    nonsense: tuple[Any, ...] = (b"ls", [], ())
    for command in nonsense:
        with pytest.raises(TypeError):
            make_request(command)


# Servers that don't tell the truth.

Serve = Callable[[Channel], Awaitable[None]]


def fake(*messages: dict[str, Any], out: bytes = b"", err: bytes = b"") -> Serve:
    """A server that sends some output, then these messages, and closes."""

    async def serve(channel: Channel) -> None:
        channel.accept({"pid": 1})
        await channel.write(out, 1)
        await channel.write(err, 2)
        for message in messages:
            channel.send_message(message)

    return serve


async def run(session: MemorySession, **options: Any) -> CompletedProcess[bytes]:
    options = {"input": None, "limits": Bounds()} | options
    return await run_process(session.live, "command", **options)


async def test_an_honest_fake_passes() -> None:
    serve = fake(EXIT | {"stdout": 3, "stderr": 2, "exit_status": 5}, out=b"abc", err=b"de")
    async with memory_session(serve) as session:
        done = await run(session)
        assert (done.exit_status, done.stdout, done.stderr) == (5, b"abc", b"de")


async def test_output_past_the_limit_is_told_of_a_command_that_ended_with_it() -> None:
    serve = fake(EXIT | {"stdout": 3}, out=b"abc")
    async with memory_session(serve) as session:
        assert (await run(session, max_output=3)).stdout == b"abc"
        with pytest.raises(OutputTruncated) as caught:
            await run(session, max_output=2)
        assert caught.value.stdout == b"abc"


async def test_an_ending_that_does_not_fit_is_an_error_and_never_a_status() -> None:
    for name, serve in {
        "no ending": fake(),
        "output and no ending": fake(out=b"abc"),
        "another message": fake({"type": "stdin-closed"}),
        "an unknown message": fake({"type": "later-version"}),
        "uncounted stdout": fake(EXIT, out=b"x"),
        "uncounted stderr": fake(EXIT, err=b"x"),
        "stdout that never came": fake(EXIT | {"stdout": 1}),
        "stdout cut short": fake(EXIT | {"stdout": 2}, out=b"x"),
        "bytes of the wrong stream": fake(EXIT | {"stderr": 1, "stdout": 0}, out=b"x"),
    }.items():
        async with memory_session(serve) as session:
            with pytest.raises(RemoteProtocolError):
                pytest.fail(f"{name}: {await run(session)}")
            process = await start_process(session.live, ProcessRequest(command="x"), None)
            with pytest.raises(RemoteProtocolError):
                pytest.fail(f"{name}: {await process.wait()}")


async def test_an_ending_that_makes_no_sense_resets_the_channel() -> None:
    peers: list[Channel] = []
    endings: list[dict[str, Any]] = [
        {"type": "exit"},
        EXIT | {"exit_status": 300},
        EXIT | {"duration": "long"},
    ]

    async def serve(channel: Channel) -> None:
        channel.accept()
        channel.send_message(endings[len(peers)])
        peers.append(channel)
        await channel.wait_closed()

    async with memory_session(serve) as session:
        for ending in endings:
            with pytest.raises(ChannelReset) as caught:
                await run(session)
            assert caught.value.code == "bad-message", ending
            await until(lambda: peers[-1].is_over)
        assert len(peers) == len(endings)


async def test_a_server_that_fails_amid_the_output_is_an_error() -> None:
    async def serve(channel: Channel) -> None:
        channel.accept()
        await channel.write(b"some", 1)
        channel.send_message(EXIT | {"stdout": 4})
        channel.reset("failed", "the server broke")

    async with memory_session(serve) as session:
        with pytest.raises(ChannelReset, match="the server broke"):
            await run(session)


async def test_a_link_cut_after_the_ending_but_before_the_close_is_a_lost_link() -> None:
    async def serve(channel: Channel) -> None:
        channel.accept()
        channel.send_message(EXIT)
        await channel.wait_closed()

    async with memory_session(serve) as session:
        process = await start_process(session.live, ProcessRequest(command="x"), None)
        await until(lambda: process.ending is not None)
        session.stream.cut(None)
        with pytest.raises(LinkLost):
            await process.wait()


async def test_a_server_that_forgets_the_timeout_does_not_keep_the_client(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def serve(channel: Channel) -> None:
        channel.accept()
        await channel.write(b"some", 1)
        await channel.wait_closed()

    monkeypatch.setattr("rshell.channels.process.client._TIMEOUT_MARGIN", 0.0)
    async with memory_session(serve) as session:
        with pytest.raises(ProcessTimeout) as caught:
            await run(session, timeout=0.05, limits=Bounds(kill_grace=0.01))
        assert caught.value.stdout == b"some"
        await until(lambda: not session.server_live.session.channels)


async def test_a_refusal_says_why() -> None:
    async def serve(channel: Channel) -> None:
        channel.refuse("busy", "not today")

    async with memory_session(serve) as session:
        with pytest.raises(ChannelRefused, match="not today"):
            await run(session)


@pytest.mark.parametrize("pid", [None, "7", 1.5, {}])
async def test_no_pid_reads_as_0_and_one_that_is_no_number_is_an_error(pid: object) -> None:
    async def serve(channel: Channel) -> None:
        channel.accept({} if pid is None else {"pid": pid})
        channel.send_message(EXIT)

    async with memory_session(serve) as session:
        starting = start_process(session.live, ProcessRequest(command="x"), None)
        if pid is not None:
            with pytest.raises(RemoteProtocolError, match="pid"):
                await starting
            assert not session.live.session.channels
            return
        process = await starting
        assert process.pid == 0
        await process.wait()


async def test_giving_up_before_the_answer_takes_the_request_back() -> None:
    heard: list[Channel] = []

    async def serve(channel: Channel) -> None:
        heard.append(channel)
        await channel.wait_closed()

    async with memory_session(serve) as session:
        starting = asyncio.ensure_future(
            start_process(session.live, ProcessRequest(command="x"), None)
        )
        await until(lambda: bool(heard))
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        await until(lambda: heard[0].is_over)


async def test_a_full_stdin_of_a_process_that_has_gone_is_a_broken_pipe() -> None:
    async def serve(channel: Channel) -> None:
        channel.accept()
        await channel.stream(0).readexactly(10)
        channel.send_message(EXIT)

    async with memory_session(serve) as session:
        assert (await run(session, input=bytes(16 * MIB))).exit_status == 0
        request = ProcessRequest(command="x", stdin=True)
        process = await start_process(session.live, request, None)
        assert process.stdin is not None
        with pytest.raises(BrokenPipeError):
            await process.stdin.write(bytes(16 * MIB))
        with pytest.raises(BrokenPipeError):
            await process.stdin.write(b"x")


async def test_a_lost_link_is_no_broken_pipe() -> None:
    async def serve(channel: Channel) -> None:
        channel.accept()
        await channel.wait_closed()

    async with memory_session(serve) as session:
        request = ProcessRequest(command="x", stdin=True)
        process = await start_process(session.live, request, None)
        assert process.stdin is not None
        writing = asyncio.ensure_future(process.stdin.write(bytes(16 * MIB)))
        await asyncio.sleep(0)
        session.stream.cut(None)
        with pytest.raises(LinkLost):
            await writing
