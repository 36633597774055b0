"""Sessions that wait for another link: who gets one, who does not, and what is left of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

import rshell
from rshell.aio import timeout
from rshell.errors import LinkLost, ResumeFailed, RshellError, SessionClosed
from rshell.protocol.frames import FrameType
from rshell.protocol.messages import Attach, Resume
from rshell.protocol.session import Role, Session
from rshell.security.credentials import local_token
from rshell.security.files import server_directory
from rshell.security.tokens import TokenStore
from rshell.server.login import ServerLink
from rshell.server.server import Server
from rshell.server.session_table import KeptSession, SessionTable
from rshell.transport.live_session import LiveSession
from rshell.values import Bounds
from tests.support.audit import audited
from tests.support.commands import until as wait_until
from tests.support.cutting import Cutter
from tests.support.execution import await_gone
from tests.support.proxy import Peer, raw_client
from tests.support.session import ServerEnd, refuse_all

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")

PATIENT = Bounds(witness_after=math.inf)
REFUSAL = "this server does not keep that session (any more), or the secret is wrong"


# Over real links, by hand.


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with rshell.serve("127.0.0.1", 0, limits=PATIENT) as server:
        yield server
        async with rshell.connect(server.addresses[0]) as client:
            assert (await client.run("echo alive")).stdout == b"alive\n"


class Visitor:
    """A client made by hand: each link logs in and asks for what the test says."""

    def __init__(self, port: int, identity: str | None = None, token: str | None = None) -> None:
        line = local_token(server_directory())
        assert line is not None
        self.session = self.secret = ""
        self.received = 0
        self._port = port
        self._identity = identity or line.identity
        self._token = token or line.token
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Visitor:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    def ask(self, **attach: Any) -> tuple[Peer, int, dict[str, Any]]:
        """Log in on a new link and send ATTACH; return the link and what is answered."""
        peer = self._stack.enter_context(raw_client(self._port))
        peer.log_in(self._identity, self._token)
        peer.say(FrameType.ATTACH, **attach)
        found = peer.next_frame()
        assert found is not None
        return peer, found[0], json.loads(found[2])

    def begin(self, linger: float = 100.0) -> Peer:
        """Begin a session."""
        peer, number, body = self.ask(linger=linger)
        assert number == FrameType.ATTACHED
        self.session, self.secret = body["session"], body["secret"]
        return peer

    def resume(self, secret: str | None = None, received: int = 0) -> Peer:
        """Resume it; it must be granted."""
        given = {"session": self.session, "secret": self.secret if secret is None else secret}
        peer, number, body = self.ask(**given, received=received, linger=100.0)
        assert (number, body.get("session")) == (FrameType.ATTACHED, self.session), body
        self.secret, self.received = body["secret"], body["received"]
        return peer

    def is_refused(self, session: str, secret: str) -> None:
        """Ask for a session that must be refused, in the one sentence."""
        _, number, body = self.ask(session=session, secret=secret, received=0)
        assert number == FrameType.GOODBYE
        assert (body["code"], body["reason"]) == ("resume-failed", REFUSAL)


async def play(server: Server, script: Callable[[Visitor], None], **who: str) -> None:
    """Play a script of blocking steps in a thread."""

    def run() -> None:
        with Visitor(server.addresses[0].port, **who) as visitor:
            script(visitor)

    await asyncio.to_thread(run)


def prove(peer: Peer) -> None:
    """Show that we have what ATTACHED said, and see that the server has taken note."""
    peer.say(FrameType.PING, id=7)
    while (found := peer.next_frame()) is not None:
        if found[0] == FrameType.PONG:
            return
    raise AssertionError("the link ended")


@needs_openssl
async def test_whatever_is_wrong_is_refused_in_the_same_words_and_noted(server: Server) -> None:
    def script(visitor: Visitor) -> None:
        visitor.begin()
        for session, secret in (
            ("0123456789abcdef", visitor.secret),
            ("", ""),
            (visitor.session, ""),
            (visitor.session, visitor.secret[:-1]),
            (visitor.session, visitor.secret.swapcase()),
        ):
            visitor.is_refused(session, secret)
        for session, secret in (("\ud800", visitor.secret), (visitor.session, "\ud800")):
            _, number, body = visitor.ask(session=session, secret=secret, received=0)
            assert (number, body["code"]) == (FrameType.GOODBYE, "protocol")  # it is no text
        visitor.resume()

    await play(server, script)
    failed = audited("resume-failed")
    assert len(failed) == 5 and not audited("login-failed")
    assert {(entry["identity"], entry["reason"]) for entry in failed} == {("local", REFUSAL)}
    assert len(audited("resume")) == 1


@needs_openssl
async def test_those_who_come_back_to_a_server_started_anew_lock_nobody_out(
    server: Server,
) -> None:
    """Each came with a session of the server before, and counted as a login that had failed."""

    def script(visitor: Visitor) -> None:
        line = local_token(server_directory())
        assert line is not None
        with contextlib.ExitStack() as stack:
            crowd = [stack.enter_context(raw_client(server.addresses[0].port)) for _ in range(8)]
            for peer in crowd:
                peer.log_in(line.identity, line.token)
            for peer in crowd:
                peer.say(FrameType.ATTACH, session="before", secret="old", received=0)
                assert peer.expect(FrameType.GOODBYE)["code"] == "resume-failed"
        visitor.begin()

    await play(server, script)
    assert len(audited("resume-failed")) == 8 and not audited("login-failed")


@needs_openssl
async def test_another_identity_gets_no_session_whatever_it_knows(server: Server) -> None:
    token = TokenStore(server_directory() / "tokens.json").add("other")

    def script(visitor: Visitor) -> None:
        visitor.begin()
        with Visitor(server.addresses[0].port, "other", token) as other:
            other.is_refused(visitor.session, visitor.secret)
        visitor.resume()

    await play(server, script)


@needs_openssl
async def test_a_secret_is_good_until_the_next_one_was_proved_and_no_longer(
    server: Server,
) -> None:
    def script(visitor: Visitor) -> None:
        visitor.begin()
        first = visitor.secret
        visitor.resume()
        visitor.resume(secret=first)  # ATTACHED was lost, so the client has only this one
        prove(visitor.resume(secret=first))
        visitor.is_refused(visitor.session, first)
        visitor.resume()

    await play(server, script)


@needs_openssl
async def test_a_secret_of_a_lost_answer_is_stale(server: Server) -> None:
    def script(visitor: Visitor) -> None:
        visitor.begin()
        first = visitor.secret
        visitor.resume()
        second = visitor.secret
        visitor.resume(secret=first)
        visitor.is_refused(visitor.session, second)

    await play(server, script)


@needs_openssl
async def test_a_peer_that_is_ahead_of_what_was_sent_ends_the_session(server: Server) -> None:
    def script(visitor: Visitor) -> None:
        visitor.begin()
        given = {"session": visitor.session, "secret": visitor.secret}
        _, number, body = visitor.ask(**given, received=1)
        assert (number, body["code"]) == (FrameType.GOODBYE, "sequence")
        visitor.is_refused(visitor.session, visitor.secret)

    await play(server, script)


@needs_openssl
async def test_a_peer_that_is_behind_what_is_kept_ends_the_session(server: Server) -> None:
    def script(visitor: Visitor) -> None:
        peer = visitor.begin()
        peer.say(FrameType.OPEN, 1, kind="nothing", window=65_536)
        while (found := peer.next_frame()) is not None and found[0] != FrameType.REFUSED:
            pass
        peer.say(FrameType.ACK, received=1)
        prove(peer)
        given = {"session": visitor.session, "secret": visitor.secret}
        _, number, body = visitor.ask(**given, received=0)
        assert (number, body["code"]) == (FrameType.GOODBYE, "resume-failed")
        assert "lacks frames" in body["reason"]

    await play(server, script)


@needs_openssl
async def test_of_two_links_the_later_one_carries_the_session(server: Server) -> None:
    def script(visitor: Visitor) -> None:
        earlier = visitor.begin()
        later = visitor.resume()
        earlier.rest()  # dropped at once, although it never fell silent
        later.say(FrameType.OPEN, 1, kind="process", window=65_536, request={"command": "echo 1"})
        found = later.next_frame()
        while found is not None and found[0] != FrameType.DATA:
            found = later.next_frame()
        assert found is not None and found[2] == b"\x011\n"
        assert server.sessions == 1

    await play(server, script)
    assert not audited("detach")[1:]


@needs_openssl
async def test_an_attach_followed_by_nonsense_ends_the_session_it_names(server: Server) -> None:
    def script(visitor: Visitor) -> None:
        visitor.begin()
        with raw_client(server.addresses[0].port) as peer:
            line = local_token(server_directory())
            assert line is not None
            peer.log_in(line.identity, line.token)
            given: dict[str, Any] = {"session": visitor.session, "secret": visitor.secret}
            peer.say(FrameType.ATTACH, **given, received=0)
            peer.say(FrameType.ATTACH, **given, received=0)
            number, _, body = peer.rest()[-1]
            assert (number, json.loads(body)["code"]) == (FrameType.GOODBYE, "protocol")
        wait_until(lambda: not server.sessions, "the end of the session")

    await play(server, script)


# What becomes of sessions without a link.


@needs_openssl
async def test_a_full_server_still_takes_its_own_sessions_back() -> None:
    limits = replace(PATIENT, sessions=1)
    async with (
        timeout(60),
        rshell.serve("127.0.0.1", 0, limits=limits) as server,
        Cutter(server.addresses[0].port) as cutter,
        rshell.connect(cutter.address, limits=limits) as client,
    ):
        cutter.refuse()
        await cutter.cut()
        await asyncio.to_thread(wait_until, lambda: audited("detach"), "the cut")
        with pytest.raises(rshell.ConnectError, match="as many sessions as it takes"):
            await rshell.connect(server.addresses[0])
        assert server.sessions == 1
        cutter.let_through()
        assert (await client.run("echo back")).stdout == b"back\n"


@needs_openssl
async def test_a_revoked_token_ends_the_session_that_waits_for_its_client() -> None:
    async with (
        timeout(60),
        rshell.serve("127.0.0.1", 0, limits=PATIENT) as server,
        Cutter(server.addresses[0].port) as cutter,
        rshell.connect(cutter.address, limits=PATIENT) as client,
    ):
        running = asyncio.ensure_future(client.run("sleep 100"))
        await asyncio.to_thread(wait_until, lambda: audited("command"), "the command")
        cutter.refuse()
        await cutter.cut()
        await asyncio.to_thread(wait_until, lambda: audited("detach"), "the cut")
        TokenStore(server_directory() / "tokens.json").revoke("local")
        await until_async(lambda: server.sessions == 0)
        assert "revoked" in audited("end")[0]["reason"]
        cutter.let_through()
        with pytest.raises(SessionClosed):
            await running


@needs_openssl
async def test_closing_the_server_ends_sessions_that_wait(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    async with (
        timeout(60),
        rshell.serve("127.0.0.1", 0, limits=PATIENT) as server,
        Cutter(server.addresses[0].port) as cutter,
        rshell.connect(cutter.address, limits=PATIENT) as client,
    ):
        running = asyncio.ensure_future(client.run(f"echo $$ > {pid}; sleep 100"))
        await until_async(lambda: pid.exists() and pid.read_text() != "")
        cutter.refuse()
        await cutter.cut()
        await until_async(lambda: audited("detach") != [])
        await server.close()
        assert server.sessions == 0
        await asyncio.to_thread(await_gone, int(pid.read_text()))
        await client.close()
        with pytest.raises(SessionClosed):
            await running


async def until_async(condition: Callable[[], bool]) -> None:
    await asyncio.to_thread(wait_until, condition, "a change")


# The table alone, against a model.


class Kept:
    """What the model knows of a session."""

    def __init__(self, kept: KeptSession, owner: str, secret: str) -> None:
        self.kept = kept
        self.owner = owner
        self.secret = secret
        self.before = ""
        self.link = kept.link
        self.is_waiting = False
        self.is_over = False


async def test_sessions_that_wait_have_a_share_and_who_waits_longest_gives_way() -> None:
    limits = Bounds(parked_each=3, parked_memory_each=100_000, sessions_each=6)
    expired: list[str] = []
    table = SessionTable(
        limits, lambda kept, error: expired.append(kept.id), lambda event, facts: None
    )
    ends: list[ServerEnd] = []

    def begin(identity: str, name: str, keeps: int = 0) -> KeptSession:
        end = ServerEnd(limits=limits)
        ends.append(end)
        end.link.identity = identity
        session = Session(Role.SERVER, limits, id=name, secret="s")
        session.replay.append((bytes(keeps),), keeps, 0.0)
        end.link.live = LiveSession(session, refuse_all)
        return table.add(end.link.live, end.link, Attach(linger=100.0))

    def park(*names: str) -> None:
        for name in names:
            assert table.detach(table[name], LinkLost("cut", silent=True))

    for number in range(6):
        assert table.crowded("a") is None
        begin("a", f"a{number}")
    crowded = table.crowded("a")
    assert crowded is not None and crowded.limit == "sessions_each"
    assert table.crowded("b") is None
    begin("b", "b0")
    park("b0", "a0", "a1", "a2")
    assert table.parked == 4 and not expired
    park("a3")
    assert expired == ["a0"]
    back = ServerEnd(limits=limits)
    ends.append(back)
    back.link.identity = "a"
    kept = table.resume(back.link, Attach(Resume("a1", "s", 0), 100.0))
    park("a4")
    assert expired == ["a0"] and table.parked == 4
    # What they keep in memory counts, too; one alone may keep more than the share.
    begin("b", "b1", keeps=60_000)
    begin("b", "b2", keeps=60_000)
    begin("b", "b3", keeps=600_000)
    park("b1", "b2")
    assert expired == ["a0", "b0", "b1"]
    park("b3")
    assert expired == ["a0", "b0", "b1", "b2"]
    assert kept in table
    table.remove(kept)
    for left in table:
        table.remove(left)
        assert left not in table
    assert (len(table), table.parked) == (0, 0) and not table._each
    for end in ends:
        end.driver.abort()


class SessionTableModel(RuleBasedStateMachine):
    """Links come, claim sessions, prove that they have the secret, and go, in any order."""

    names = Bundle("names")
    sessions = Bundle("sessions")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.limits = Bounds(resume_window=1000.0)
        self.expired: list[KeptSession] = []
        self.table = SessionTable(
            self.limits, lambda kept, error: self.expired.append(kept), lambda event, facts: None
        )
        self.known: list[Kept] = []
        self.links: list[ServerLink] = []
        self.count = 0

    def teardown(self) -> None:
        async def end() -> None:
            for kept in self.table:
                self.table.remove(kept)
            for link in self.links:
                link.driver.abort()

        self.loop.run_until_complete(end())
        self.loop.close()

    def in_loop(self, action: Callable[[], Any]) -> Any:
        async def run() -> Any:
            return action()

        return self.loop.run_until_complete(run())

    def new_link(self, identity: str) -> ServerLink:
        link: ServerLink = self.in_loop(lambda: ServerEnd(limits=self.limits).link)
        link.identity = identity
        self.links.append(link)
        return link

    @rule(target=sessions, owner=st.sampled_from("ab"), linger=st.sampled_from([None, 5.0, 9e9]))
    def begin(self, owner: str, linger: float | None) -> Kept:
        link = self.new_link(owner)
        self.count += 1
        secret = f"secret {self.count}"
        session = Session(Role.SERVER, self.limits, id=f"id {self.count}", secret=secret)
        link.live = self.in_loop(lambda: LiveSession(session, refuse_all))
        entry = Kept(self.table.add(link.live, link, Attach(linger=linger)), owner, secret)
        assert entry.kept.linger <= self.limits.resume_window
        self.known.append(entry)
        return entry

    @rule(
        entry=sessions,
        identity=st.sampled_from("ab"),
        which=st.sampled_from(["present", "before", "wrong", ""]),
    )
    def claim(self, entry: Kept, identity: str, which: str) -> None:
        secret = {"present": entry.secret, "before": entry.before}.get(which, which)
        fits = which == "present" or (which == "before" and bool(entry.before))
        link = self.new_link(identity)
        attach = Attach(Resume(entry.kept.id, secret, 0), 50.0)
        if entry.is_over or identity != entry.owner or not fits:
            with pytest.raises(ResumeFailed):
                self.in_loop(lambda: self.table.resume(link, attach))
            return
        kept = self.in_loop(lambda: self.table.resume(link, attach))
        assert kept is entry.kept and kept.link is link
        link.live = kept.live
        assert kept.live.session.secret not in (entry.secret, entry.before)
        entry.before, entry.secret = secret, kept.live.session.secret
        entry.link, entry.is_waiting = link, False

    @rule(entry=sessions)
    def prove(self, entry: Kept) -> None:
        entry.link.link.is_proved = True
        entry.before = ""

    @rule(entry=sessions, cause=st.sampled_from(["closed", "silent", "goodbye"]))
    def lose(self, entry: Kept, cause: str) -> None:
        if entry.is_over or entry.is_waiting:
            return
        found = self.table.find(entry.link)
        assert found is entry.kept
        error: RshellError = LinkLost("cut", silent=cause == "silent")
        if cause == "goodbye":
            error = SessionClosed("done", "done", by="remote")
        waits = self.in_loop(lambda: self.table.detach(found, error))
        assert waits is (cause != "goodbye" and found.linger > 0)
        entry.is_waiting = waits
        if not waits:
            self.table.remove(found)
            entry.is_over = True

    @rule(entry=sessions)
    def an_old_link_ends(self, entry: Kept) -> None:
        for link in self.links:
            if link.live is entry.kept.live and link is not entry.link:
                assert self.table.find(link) is None

    @rule(entry=sessions)
    def expire(self, entry: Kept) -> None:
        if entry.is_waiting and not entry.is_over:
            self.in_loop(lambda: self.table._expire(entry.kept, 1.0))
            assert self.expired[-1] is entry.kept
            entry.is_over = True

    @invariant()
    def it_keeps_what_is_not_over_and_times_what_waits(self) -> None:
        alive = [entry for entry in self.known if not entry.is_over]
        assert [kept.id for kept in self.table] == [entry.kept.id for entry in alive]
        assert len(self.table) == len(alive)
        for entry in self.known:
            has_timer = entry.kept.timer is not None and not entry.kept.timer.cancelled()
            assert has_timer is (entry.is_waiting and not entry.is_over)


SessionTableModel.TestCase.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, derandomize=True
)


TestSessionTableModel = SessionTableModel.TestCase
