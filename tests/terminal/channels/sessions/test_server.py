"""Questions about named shells, and the end of one that is asked for."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest

import rshell
from rshell import ChannelRefused, ChannelReset
from rshell.channels.sessions.messages import NamedShellInfo
from rshell.client.client import Client
from rshell.protocol.messages import Json
from rshell.values import TerminalSize
from tests.support.audit import audited
from tests.support.guests import BRIEF, attach, guest, inn, listed, watch
from tests.support.processes import gone, is_running


async def end(client: Client, name: str) -> Json:
    async with client.open_channel("sessions", {"verb": "end", "name": name}) as channel:
        message = await channel.receive_message()
        assert message is not None and await channel.receive_message() is None
        return message


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({}, "bad-request"),
        ({"verb": "stop"}, "bad-request"),
        ({"verb": "end"}, "bad-request"),
        ({"verb": "end", "name": "a/b"}, "bad-request"),
        ({"verb": "end", "name": "none"}, "unknown-session"),
    ],
)
async def test_requests_that_are_refused(request_: Json, code: str) -> None:
    async with inn() as server, guest(server) as client:
        with pytest.raises(ChannelRefused) as caught:
            await client.open_channel("sessions", request_)
        assert caught.value.code == code


async def test_a_server_of_one_session_says_where_there_are_some() -> None:
    async with rshell.connect(local=True) as client:
        with pytest.raises(ChannelRefused, match="Start rshell-server on its own") as caught:
            await client.open_channel("sessions", {"verb": "list"})
        assert caught.value.code == "failed"


async def test_sessions_are_listed_by_age() -> None:
    async with inn() as server, guest(server) as client:
        assert await listed(client) == []
        first = await attach(client, "b", cwd="/")
        (await attach(client, "a", terminal=TerminalSize(100, 30))).channel.close()
        await watch(client, "b")
        first.begin("sleep 100")
        while (infos := [NamedShellInfo.decode(found) for found in await listed(client)]) and (
            infos[0].running is None or infos[1].attached
        ):
            pass
        older, newer = infos
        assert (older.name, older.attached, older.watchers) == ("b", True, 1)
        assert (older.running, older.cwd, older.size) == ("sleep 100", "/", TerminalSize(80, 24))
        assert (newer.name, newer.watchers, newer.running) == ("a", 0, None)
        assert (newer.size, newer.identity) == (TerminalSize(100, 30), client.identity)
        assert older.shell == first.channel.reply["shell"]
        assert time.time() - 60 < older.created <= newer.created <= time.time()


async def test_an_end_takes_everything_with_it() -> None:
    # In time enough all go by the hang-up; of what had to be killed, the last may be seen dying.
    async with (
        inn(replace(BRIEF, kill_grace=20.0)) as server,
        guest(server) as one,
        guest(server) as two,
    ):
        first, second = await attach(one), await watch(one)
        done = await first.run("sleep 1000 & echo $$ $!")
        pids = [int(word) for word in (await first.output.readexactly(done.stdout)).split()[-2:]]
        first.begin("sleep 1001")
        await second.message("command")
        await second.done()
        await second.message("command")
        info = NamedShellInfo.decode(await end(two, "work"))
        assert (info.name, info.attached, info.watchers) == ("work", True, 1)
        assert info.running == "sleep 1001"
        assert not any(map(is_running, pids))
        for ended in (first, second):
            await ended.channel.wait_closed()
            assert isinstance(ended.channel.error, ChannelReset)
            assert ended.channel.error.code == "killed"
        assert await listed(one) == []
        assert [line["reason"] for line in audited("shell-ended")] == ["somebody ended this shell"]
        with pytest.raises(ChannelRefused):
            await end(two, "work")


async def test_an_end_goes_on_without_its_asker() -> None:
    async with inn() as server, guest(server) as client:
        first = await attach(client)
        done = await first.run("trap '' HUP TERM; echo $$")
        pid = int(await first.output.readexactly(done.stdout))
        asking = asyncio.ensure_future(end(client, "work"))
        await first.channel.wait_closed()
        asking.cancel()
        await gone(pid)
