"""Links that are cut, at any byte and in any way, under sessions that go on.

Strategy: a real server, a real client and a relay between them that cuts as it is told. What
arrives is compared byte by byte or by its SHA-256, and a file notes how often a command ran.

Hazard: how fast this machine is must not matter. Windows are long where a session
should survive, and what is waited for is an event or a change, never a time.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import rshell
from rshell.aio import timeout
from rshell.channels.base import Context, Handler
from rshell.client.client import Client
from rshell.errors import LinkLost, ResumeFailed, SessionClosed
from rshell.server.server import Server
from rshell.transport.channel import Channel
from rshell.values import Bounds
from tests.support.audit import audited, noted
from tests.support.commands import argv, begin, only_line, read_line, serving
from tests.support.commands import until as wait_until
from tests.support.cutting import Cutter, How, Plan, Way
from tests.support.execution import await_gone
from tests.support.outages import SIDES, outage
from tests.support.session import until
from tests.support.transfers import listing, make_tree

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")

PATIENT = Bounds(witness_after=math.inf)
WATCHFUL = replace(PATIENT, ping_idle=0.1, ping_dead=0.5, open_timeout=5.0)
DEADLINE = 300.0
CUTS = 334  # of each kind, so a thousand in all
# Small frames, and few bytes of a link: a cut costs the same, and less is sent between two. At
# times a whole frame must come through.
SMALL = replace(PATIENT, frame=32 * 1024, read_block=30 * 1024)
MOST = 225_000
SIZE = 5_000_000
GONE = "the client has ended without a word"


@asynccontextmanager
async def through_cutter(
    limits: Bounds = PATIENT,
    server_limits: Bounds | None = None,
    plans: Iterator[Plan] | None = None,
    handlers: dict[str, Handler] | None = None,
) -> AsyncIterator[tuple[Client, Cutter, Server]]:
    """Run a server and yield a client that reaches it through a relay that cuts."""
    async with (
        timeout(DEADLINE),
        rshell.serve("127.0.0.1", 0, limits=server_limits or limits, handlers=handlers) as server,
        Cutter(server.addresses[0].port, plans) as cutter,
        rshell.connect(cutter.address, limits=limits) as client,
    ):
        yield client, cutter, server


# What a cut must never change.


@pytest.mark.parametrize("what", ["output", "input", "both"])
async def test_a_thousand_cuts_at_random_bytes_change_nothing(what: str, tmp_path: Path) -> None:
    chance = random.Random(what)
    ways = {"output": [Way.DOWN], "input": [Way.UP], "both": list(Way)}[what]
    told = [How.FIN, How.RST]
    plans = (
        Plan(way, chance.randrange(5_000, MOST), chance.choice(told), chance.choice(told))
        for way in (chance.choice(ways) for _ in range(CUTS))
    )
    content = chance.randbytes(SIZE)
    (tmp_path / "content").write_bytes(content)
    command = {
        "output": "echo run >> runs; cat content; exit 3",
        "input": "echo run >> runs; sha256sum; exit 3",
        "both": "echo run >> runs; cat; exit 3",
    }[what]
    digest = hashlib.sha256(content).hexdigest()
    runs = 0
    async with through_cutter(SMALL, plans=plans) as (client, cutter, _):
        while cutter.cuts < CUTS:
            sent = None if what == "output" else content
            done = await client.run(command, input=sent, cwd=str(tmp_path))
            runs += 1
            if what == "input":
                assert done.stdout.split()[0].decode() == digest
            else:
                assert hashlib.sha256(done.stdout).hexdigest() == digest
            assert (done.exit_status, done.stderr) == (3, b"")
    assert (tmp_path / "runs").read_text() == "run\n" * runs
    assert len(audited("command")) == runs


async def test_cuts_at_random_bytes_change_no_file(tmp_path: Path) -> None:
    chance = random.Random("files")
    told = [How.FIN, How.RST]
    plans = (
        Plan(chance.choice(list(Way)), chance.randrange(5_000, MOST), *chance.choices(told, k=2))
        for _ in range(CUTS // 30)
    )
    tree = make_tree(tmp_path / "tree")
    async with through_cutter(SMALL, plans=plans) as (client, cutter, _):
        number = 0
        while cutter.cuts < CUTS // 30:
            number += 1
            there, back = tmp_path / f"there{number}", tmp_path / f"back{number}"
            done = await client.put(f"{tree}/", there, recursive=True)
            assert done.files == 15
            await client.get(f"{there}/", back, recursive=True)
            assert listing(back) == listing(there) == listing(tree)


async def test_cuts_on_the_way_back_at_any_step_of_it(tmp_path: Path) -> None:
    # TLS, login, ATTACH, ATTACHED, OPEN, OPENED and the first DATA all lie in these bytes.
    plans = [Plan(way, after) for way in Way for after in range(1, 4_500, 150)]
    async with (
        through_cutter() as (client, cutter, _),
        client.open_process("cat", stdin=rshell.PIPE) as process,
    ):
        assert process.stdin is not None
        for number, plan in enumerate(plans):
            cutter.plans = iter((plan,))
            line = b"line %d\n" % number
            await process.stdin.write(line)
            await cutter.cut()
            await process.stdin.write(line)
            done = await client.run("echo run >> runs; echo $$", cwd=str(tmp_path), check=True)
            assert done.stdout.count(b"\n") == 1
            assert await process.stdout.readexactly(2 * len(line)) == 2 * line
        assert cutter.links > len(plans) + cutter.cuts > len(plans)
        await process.stdin.close()
        assert (await process.wait()).code == 0
    assert (tmp_path / "runs").read_text() == "run\n" * len(plans)


async def test_a_first_link_that_is_cut_at_any_step_is_tried_again() -> None:
    """Nothing has run by then. One that was cut in TLS was tried again, a later one was not."""
    plans = [Plan(way, after) for way in Way for after in range(0, 2_000, 250)]
    async with (
        timeout(DEADLINE),
        rshell.serve("127.0.0.1", 0) as server,
        Cutter(server.addresses[0].port) as cutter,
    ):
        for number, plan in enumerate(plans):
            plan = replace(plan, client=list(How)[number % 2], server=list(How)[number // 2 % 2])
            cutter.plans = iter((plan,))
            async with rshell.connect(cutter.address, limits=PATIENT) as client:
                assert (await client.run("echo on")).stdout == b"on\n", plan
        assert cutter.cuts > len(plans) / 3
        assert len(audited("command")) == len(plans)


@pytest.mark.parametrize("down", list(How))
@pytest.mark.parametrize("up", list(How))
async def test_each_end_hears_of_a_cut_in_its_own_way(up: How, down: How) -> None:
    async with (
        through_cutter(WATCHFUL) as (client, cutter, _),
        client.open_process("cat", stdin=rshell.PIPE) as process,
    ):
        assert process.stdin is not None
        await process.stdin.write(b"before\n")
        await cutter.cut(client=down, server=up)
        await process.stdin.write(b"after\n")
        assert await process.stdout.readexactly(13) == b"before\nafter\n"
        assert cutter.links >= 2


@pytest.mark.skipif(sys.platform != "linux", reason="needs all of 127.0.0.0/8 on the loopback")
async def test_a_client_whose_address_changed_has_its_session() -> None:
    async with (
        through_cutter() as (client, cutter, _),
        client.open_process("cat", stdin=rshell.PIPE) as process,
    ):
        assert process.stdin is not None
        await process.stdin.write(b"before\n")
        cutter.source = "127.0.0.2"
        await cutter.cut()
        await process.stdin.write(b"after\n")
        assert await process.stdout.readexactly(13) == b"before\nafter\n"
        assert audited("login")[0]["source"] == "127.0.0.1"
        assert audited("resume")[-1]["source"] == "127.0.0.2"


async def test_bytes_from_a_stranger_cost_the_link_and_not_the_session() -> None:
    async with (
        through_cutter() as (client, cutter, _),
        client.open_process("cat", stdin=rshell.PIPE) as process,
    ):
        await cutter.damage()
        await cutter.count(2)
        assert process.stdin is not None
        await process.stdin.write(b"on\n")
        assert await process.stdout.readline() == b"on\n"


async def test_a_link_that_fell_silent_is_noticed_and_replaced() -> None:
    async with through_cutter(replace(WATCHFUL, open_timeout=1.0)) as (client, cutter, _):
        cutter.freeze()
        running = asyncio.ensure_future(client.run("echo there; exit 4"))
        await noted("detach")
        await cutter.count(2)  # taken, but nothing passes
        await cutter.cut(How.SILENCE, How.SILENCE)
        cutter.thaw()
        done = await running
        assert (done.stdout, done.exit_status) == (b"there\n", 4)
        assert "nothing was heard" in audited("detach")[0]["reason"]


async def test_a_link_that_fell_silent_with_a_full_buffer_holds_its_descriptor_no_longer() -> None:
    flood = Flood()
    async with (
        through_cutter(WATCHFUL, handlers={"flood": flood.serve}) as (client, cutter, server),
        client.open_channel("flood") as channel,
    ):
        await channel.stream(0).readexactly(65_536)
        before = len(audited("detach"))  # a machine that paused may have brought one already
        driver = next(iter(server._sessions)).link.driver
        cutter.freeze()
        await noted("detach", before + 1)
        await until(driver.done.is_set)
        channel.reset("cancelled", "enough")


async def test_a_stopped_client_comes_back_after_the_server_gave_its_link_up() -> None:
    limits = Bounds(ping_idle=0.1, ping_dead=0.4)
    async with (
        timeout(DEADLINE),
        rshell.serve("127.0.0.1", 0, limits=limits) as server,
    ):
        command = "echo first; read line; echo $line; exit 7"
        arguments = argv("rshell", "-c", command, str(server.addresses[0]))
        pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        with begin(arguments, **pipes) as popen:
            assert await asyncio.to_thread(read_line, popen.stdout) == b"first"
            popen.send_signal(signal.SIGSTOP)
            await noted("detach")
            popen.send_signal(signal.SIGCONT)
            stdout, _ = await asyncio.to_thread(popen.communicate, b"second\n")
            assert (stdout, popen.returncode) == (b"second\n", 7)
        assert len(audited("command")) == 1


@pytest.mark.parametrize("side", list(SIDES))
async def test_sessions_whose_links_are_all_reset_for_a_while_are_all_there(side: str) -> None:
    """The long run is `python -m tests.support.outages`."""
    async with rshell.serve("127.0.0.1", 0, limits=WATCHFUL) as server:
        port = server.addresses[0].port
        for resets in (False, True):
            got = await outage(port, 0.5, side, sessions=5, limits=WATCHFUL, resets=resets)
            assert got.is_good and got.received, got


# What goes on over a cut.


async def test_a_shell_survives_a_cut_in_the_middle_of_a_command(tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    async with (
        through_cutter() as (client, cutter, _),
        client.open_shell(cwd=str(tmp_path)) as shell,
    ):
        await shell.run("word=kept")
        running = asyncio.ensure_future(
            shell.run("echo run >> runs; until test -e ready; do sleep 0.05; done; echo $word")
        )
        await asyncio.to_thread(wait_until, (tmp_path / "runs").exists, "the command")
        cutter.refuse()
        await cutter.cut()
        (tmp_path / "ready").touch()
        cutter.let_through()
        assert (await running).stdout == b"kept\n"
        assert (await shell.run("cat runs")).stdout == b"run\n"


async def test_a_channel_asked_for_while_the_link_is_down_is_opened_once_it_is_back() -> None:
    async with through_cutter() as (client, cutter, _):
        for _ in range(3):
            cutter.refuse()
            await cutter.cut()
            await until(lambda: not client.links.is_up)
            running = [asyncio.ensure_future(client.run(f"echo {n}")) for n in range(20)]
            cutter.let_through()
            outputs = [(await each).stdout for each in running]
            assert outputs == [b"%d\n" % n for n in range(20)]
        assert len(audited("command")) == 60


async def test_whoever_asks_is_told_when_the_link_is_up() -> None:
    async with through_cutter() as (client, cutter, _):
        changes: list[bool] = []
        client.links.on_change = lambda: changes.append(client.links.is_up)
        assert client.links.is_up
        await client.links.wait_up()
        cutter.refuse()
        await cutter.cut()
        await until(lambda: not client.links.is_up)
        waiting = asyncio.ensure_future(client.links.wait_up())
        cutter.let_through()
        await waiting
        assert client.links.is_up and changes == [False, True]
    assert not client.links.is_up
    with pytest.raises(SessionClosed):
        await client.links.wait_up()


class Flood:
    """A handler that writes numbered blocks without end, and counts them."""

    def __init__(self) -> None:
        self.written = 0
        self.channel: Channel | None = None

    async def serve(self, channel: Channel, context: Context) -> None:
        self.channel = channel
        channel.accept()
        while True:
            await channel.write(self.written.to_bytes(4, "big") * 16_384)
            self.written += 1


async def test_a_link_that_is_down_is_back_pressure_and_no_memory() -> None:
    flood = Flood()
    async with (
        through_cutter(handlers={"flood": flood.serve}) as (client, cutter, server),
        client.open_channel("flood") as channel,
    ):
        await channel.stream(0).readexactly(65_536)
        cutter.refuse()
        await cutter.cut()
        session = next(iter(server._sessions)).live.session
        await until(lambda: all(each.wants_room for each in session.channels.values()))
        bound = server.limits.channel_queue + server.limits.replay_largest
        assert session.replay.size <= session.replay.limit + server.limits.frame
        assert flood.written * 65_536 <= bound
        written = flood.written
        for _ in range(1000):
            await asyncio.sleep(0)
        assert flood.written == written
        cutter.let_through()
        for number in range(1, written + 100):
            block = await channel.stream(0).readexactly(65_536)
            assert block == number.to_bytes(4, "big") * 16_384
        channel.reset("cancelled", "enough")


# How it ends.


async def test_a_server_that_is_stopped_says_so_and_nobody_tries_again() -> None:
    async with through_cutter() as (client, cutter, server):
        running = asyncio.ensure_future(client.run("sleep 100"))
        await noted("command")
        await server.close()
        with pytest.raises(SessionClosed, match="shutting down") as caught:
            await running
        assert caught.value.code == "shutdown" and cutter.links == 1


@pytest.mark.parametrize("whose", ["client", "server"])
async def test_a_window_of_0_forbids_coming_back(whose: str) -> None:
    never = replace(PATIENT, resume_window=0.0)
    limits = never if whose == "client" else PATIENT
    server_limits = never if whose == "server" else PATIENT
    async with through_cutter(limits, server_limits) as (client, cutter, server):
        running = asyncio.ensure_future(client.run("sleep 100"))
        await noted("command")
        await cutter.cut()
        with pytest.raises(LinkLost if whose == "client" else ResumeFailed):
            await running
        assert client.is_closed and not client.links.is_up
        await until(lambda: not server.sessions)


async def test_a_server_waits_for_its_window_and_then_ends_the_command(tmp_path: Path) -> None:
    short = replace(PATIENT, resume_window=0.3)
    async with through_cutter(PATIENT, short) as (client, cutter, _):
        script = f"cd {tmp_path}; echo $$ > new; mv new pid; sleep 100"
        running = asyncio.ensure_future(client.run(script))
        await asyncio.to_thread(wait_until, (tmp_path / "pid").exists, "the command")
        cutter.refuse()
        await cutter.cut()
        await noted("end")
        await asyncio.to_thread(await_gone, int((tmp_path / "pid").read_text()))
        cutter.let_through()
        with pytest.raises(ResumeFailed):
            await running


async def test_a_client_gives_up_after_its_own_window() -> None:
    async with through_cutter(replace(PATIENT, resume_window=0.3), PATIENT) as (client, cutter, _):
        cutter.refuse()
        await cutter.cut()
        closed = await client.wait_closed()
        assert isinstance(closed, LinkLost) and "0.3 s" in closed.reason


async def test_closing_while_the_link_is_down_is_prompt_and_ends_the_session_there() -> None:
    limits = Bounds(resume_window=60.0)
    async with through_cutter(limits) as (client, cutter, server):
        async with client.open_process("sleep 100"):
            cutter.refuse()
            await cutter.cut()
            await until(lambda: not client.links.is_up)
            async with timeout(limits.close_seconds - 1):
                await client.close()
        assert server.sessions == 1
        cutter.let_through()  # the witness has it from here
        await noted("end")
        assert audited("end")[0]["reason"] == GONE and server.sessions == 0


@pytest.mark.parametrize("is_cut", [False, True])
async def test_a_client_that_is_killed_leaves_nothing_running(is_cut: bool) -> None:
    """The server can't tell its end from a cut, and would keep its session for 300 s."""
    async with (
        timeout(DEADLINE),
        rshell.serve("127.0.0.1", 0) as server,
        Cutter(server.addresses[0].port) as cutter,
    ):
        limits = {"witness_after": 0.0}
        command = "echo $$; read x; echo $x; sleep 100"
        with begin(
            argv("rshell", "-c", command, cutter.address, limits=limits),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as popen:
            pid = int(await asyncio.to_thread(read_line, popen.stdout))
            if is_cut:  # the secret is another one from here on
                await cutter.cut()
                assert popen.stdin is not None
                popen.stdin.write(b"on\n")
                popen.stdin.flush()
                assert await asyncio.to_thread(read_line, popen.stdout) == b"on"
                cutter.refuse()
                await cutter.cut()
            popen.kill()
            popen.wait()
            cutter.let_through()
            await asyncio.to_thread(await_gone, pid)
        assert audited("end")[0]["reason"] == GONE


@pytest.mark.parametrize("comes_back", [True, False])
def test_a_server_that_was_killed_has_lost_the_session_and_runs_nothing_twice(
    comes_back: bool, tmp_path: Path
) -> None:
    command = f"echo run >> {tmp_path}/runs; echo up; sleep 100"
    with serving("--port", "0") as server:
        limits = None if comes_back else {"resume_window": 0.2}
        arguments = argv("rshell", "-c", command, server.address, limits=limits)
        with begin(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as client:
            assert read_line(client.stdout) == b"up"
            server.popen.kill()
            server.popen.wait()
            if comes_back:
                with serving("--port", str(server.port)):
                    _, stderr = client.communicate(timeout=DEADLINE)
            else:
                _, stderr = client.communicate(timeout=DEADLINE)
    assert client.returncode == 255
    expected = "does not keep that session" if comes_back else "no way back was found"
    assert expected in only_line(stderr)
    assert (tmp_path / "runs").read_text() == "run\n"
