"""What a server keeps: tokens, and what a first start makes."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import socket
import stat
from pathlib import Path

import pytest

import rshell
from rshell.aio import timeout
from rshell.channels.base import Context
from rshell.errors import ChannelRefused, ConfigurationError
from rshell.security.certificates import ensure_certificate
from rshell.security.credentials import local_token
from rshell.security.files import private_directory, server_directory, write_private
from rshell.security.tokens import TokenStore
from rshell.server.state import Listening, Lookup, TokenWatch
from rshell.transport.channel import Channel

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    tmp_path.chmod(0o700)
    return tmp_path / "tokens.json"


@pytest.fixture
def tokens(path: Path) -> TokenStore:
    store = TokenStore(path)
    store.add("first")
    store.refresh()
    return store


async def test_a_change_is_told_once_with_what_is_valid_now(tokens: TokenStore, path: Path) -> None:
    changes: asyncio.Queue[Lookup] = asyncio.Queue()
    watch = TokenWatch(tokens, changes.put_nowait, pytest.fail, 0.01)
    TokenStore(path).revoke("first")
    async with timeout(30):
        lookup = await changes.get()
        assert lookup("first") is None
        TokenStore(path).add("second")
        assert (await changes.get())("second") is not None
    assert changes.empty()
    watch.close()


async def test_a_file_that_is_broken_is_said_once_and_looked_at_again(
    tokens: TokenStore, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    changes: asyncio.Queue[Lookup] = asyncio.Queue()
    watch = TokenWatch(tokens, changes.put_nowait, pytest.fail, 0.01)
    good = path.read_bytes()
    looks: asyncio.Queue[None] = asyncio.Queue()
    refresh = tokens.refresh

    def look() -> bool:
        looks.put_nowait(None)
        return refresh()

    with caplog.at_level(logging.ERROR), pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokens, "refresh", look)
        path.write_text("rubbish")
        async with timeout(30):
            for _ in range(5):
                await looks.get()
            path.write_bytes(good + b"\n")
            assert (await changes.get())("first") is not None
    assert [record.message[:5] for record in caplog.records] == ["no lo"]
    watch.close()


async def test_a_kill_is_told_once_and_those_of_before_never(path: Path) -> None:
    command = TokenStore(path)
    for name in ("old", "ann", "bob"):
        command.add(name)
    command.revoke("old", kill=True)
    told: asyncio.Queue[str] = asyncio.Queue()
    watch = TokenWatch(TokenStore(path), lambda lookup: None, told.put_nowait, 0.01)
    async with timeout(30):
        command.revoke("ann", kill=True)
        command.add("ann")  # at once: a new holder's jobs are not yet there
        assert await told.get() == "ann"
        command.revoke("bob")
        command.revoke("bob", kill=True)  # an afterthought
        assert await told.get() == "bob"
    assert told.empty()
    watch.close()


async def test_a_watch_that_is_closed_looks_no_more(tokens: TokenStore, path: Path) -> None:
    watch = TokenWatch(tokens, lambda _: pytest.fail("nobody asks any more"), pytest.fail, 0.01)
    watch.close()
    TokenStore(path).revoke("first")
    over = asyncio.Event()
    asyncio.get_running_loop().call_later(0.05, over.set)
    await over.wait()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@needs_openssl
async def test_the_first_start_makes_all_that_it_needs_for_this_user_alone() -> None:
    async with rshell.serve("127.0.0.1", 0) as server:
        directory = server_directory()
        assert mode(directory) == 0o700
        names = {"key.pem", "cert.pem", "tokens.json", "local-token", "audit.jsonl"}
        assert names <= {path.name for path in directory.iterdir()}
        assert all(mode(path) == 0o600 for path in directory.iterdir())
        line = local_token(directory)
        assert line is not None and line.fingerprint == server.fingerprint


@needs_openssl
async def test_a_second_start_keeps_key_and_token() -> None:
    async with rshell.serve("127.0.0.1", 0) as server:
        first = server.fingerprint, local_token(server_directory())
    async with rshell.serve("127.0.0.1", 0) as server:
        assert (server.fingerprint, local_token(server_directory())) == first
        async with rshell.connect(server.addresses[0]) as client:
            assert client.identity == "local"


@needs_openssl
async def test_a_changed_certificate_is_followed_by_the_local_token(tmp_path: Path) -> None:
    async with rshell.serve("127.0.0.1", 0) as server:
        old = local_token(server_directory())
    files = ensure_certificate(tmp_path / "other")
    async with rshell.serve("127.0.0.1", 0, certificate=files) as server:
        new = local_token(server_directory())
        assert old is not None and new is not None
        assert new.token == old.token and new.fingerprint == server.fingerprint != old.fingerprint
        assert mode(server_directory() / "local-token") == 0o600
        async with rshell.connect(server.addresses[0]) as client:
            assert client.identity == "local"


@needs_openssl
async def test_a_revoked_local_token_stays_revoked_after_a_restart() -> None:
    async with rshell.serve("127.0.0.1", 0):
        pass
    TokenStore(server_directory() / "tokens.json").revoke("local")
    async with rshell.serve("127.0.0.1", 0) as server:
        with pytest.raises(rshell.AuthenticationFailed):
            await rshell.connect(server.addresses[0])


@needs_openssl
async def test_a_lost_token_file_does_not_lock_this_user_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with rshell.serve("127.0.0.1", 0) as server:
        before = server.token_line
    (server_directory() / "tokens.json").unlink()
    async with rshell.serve("127.0.0.1", 0) as server:
        assert server.token_line != before
        assert "every token but this user's own has to be added again" in caplog.text
        async with rshell.connect(server.addresses[0]) as client:
            assert client.identity == "local"


@needs_openssl
async def test_a_full_disk_at_the_first_start_is_made_good_by_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever could not be written: no file stays empty, and no token is valid that nobody has."""
    for name in ("local-token", "tokens.json"):

        def fill(path: Path, data: bytes, *, durable: bool = True, full: str = name) -> None:
            if path.name == full:
                raise ConfigurationError("no space left")
            write_private(path, data, durable=durable)

        with monkeypatch.context() as patch:
            for module in ("tokens", "credentials"):
                patch.setattr(f"rshell.security.{module}.write_private", fill)
            with pytest.raises(ConfigurationError, match="no space left"):
                await rshell.serve("127.0.0.1", 0)
        async with (
            rshell.serve("127.0.0.1", 0) as server,
            rshell.connect(server.addresses[0]) as client,
        ):
            assert client.identity == "local"
        for left in ("local-token", "tokens.json", "listening.json"):
            (server_directory() / left).unlink()


@needs_openssl
async def test_a_state_directory_that_is_deleted_or_another_ends_nobodys_session(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rshell.server.server._LOOK", 0.01)
    state = tmp_path / "place"

    said = asyncio.Event()

    def hear(record: logging.LogRecord) -> bool:
        if awaited in record.getMessage():
            said.set()
        return True

    caplog.handler.addFilter(hear)
    awaited = "tokens.json is gone. Restore it"
    async with (
        timeout(30),
        rshell.serve("127.0.0.1", 0, state=state) as server,
        rshell.connect(server.addresses[0], token=server.token_line) as client,
    ):
        state.rename(tmp_path / "aside")
        await said.wait()
        said.clear()
        awaited = "tokens.json was replaced by another server's"
        async with rshell.serve("127.0.0.1", 0, state=state):  # makes it all anew
            await said.wait()
        assert (await client.run("echo on")).stdout == b"on\n"


@needs_openssl
async def test_a_key_that_others_may_read_or_replace_is_refused(tmp_path: Path) -> None:
    files = ensure_certificate(tmp_path / "other")
    files.key.chmod(0o644)
    with pytest.raises(ConfigurationError, match=r"key\.pem is open to other users"):
        await rshell.serve("127.0.0.1", 0, certificate=files)


@needs_openssl
async def test_twice_in_one_loop_side_by_side_and_one_after_the_other(tmp_path: Path) -> None:
    for _ in range(2):
        async with (
            rshell.serve("127.0.0.1", 0) as first,
            rshell.serve("127.0.0.1", 0, state=tmp_path / "second") as second,
        ):
            assert first.fingerprint != second.fingerprint
            line = local_token(tmp_path / "second")
            async with (
                rshell.connect(first.addresses[0]) as one,
                rshell.connect(second.addresses[0], token=str(line)) as two,
            ):
                done = await asyncio.gather(one.run("echo 1"), two.run("echo 2"))
                assert [d.stdout for d in done] == [b"1\n", b"2\n"]


@needs_openssl
async def test_one_state_directory_for_two_servers_at_once() -> None:
    async with rshell.serve("127.0.0.1", 0) as first, rshell.serve("127.0.0.1", 0) as second:
        assert first.fingerprint == second.fingerprint
        for server in (first, second):
            async with rshell.connect(server.addresses[0]) as client:
                assert (await client.run("echo on")).stdout == b"on\n"


def test_of_several_servers_one_that_runs_and_others_reach_is_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    directory = private_directory(tmp_path / "state")
    gone = 2**22 + 1  # larger than the kernel gives out
    assert Listening.load(directory) is None
    for pid, name, elsewhere, expected in (
        (gone, "a", "a", "a"),  # it has ended, and nothing newer is known
        (os.getpid(), "b", "b", "b"),
        (os.getpid(), "c", None, "b"),  # embedded in a program, on loopback
        (gone, "d", "d", "b"),
        (os.getpid(), "e", "e", "e"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(os, "getpid", lambda pid=pid: pid)
            Listening("SHA256:ff", name, elsewhere).save(directory)
        found = Listening.load(directory)
        assert found is not None and found.here == expected, name
    before = (directory / "listening.json").read_text()
    ours = f'"{os.getpid()}@'
    assert before.count(ours) == 3
    # As left by servers that had our number before us, as each has in a container.
    (directory / "listening.json").write_text(before.replace(ours, f"{ours}1"))
    Listening("SHA256:ff", "local", None).save(directory)
    assert (found := Listening.load(directory)) is not None and found.here == "local"
    assert (directory / "listening.json").read_text().count(ours) == 1
    (directory / "listening.json").write_text("{")
    with pytest.raises(ConfigurationError, match="damaged"):
        Listening.load(directory)
    Listening("SHA256:ff", "f", None).save(directory)
    assert "rshell-token will not know" in caplog.text


@needs_openssl
async def test_handlers_that_are_given_replace_the_built_in_ones() -> None:
    async def greet(channel: Channel, context: Context) -> None:
        channel.accept({"from": context.identity})

    async with (
        rshell.serve("127.0.0.1", 0, handlers={"greet": greet}) as server,
        rshell.connect(server.addresses[0]) as client,
    ):
        channel = await client.open_channel("greet")
        assert channel.reply == {"from": "local"}
        with pytest.raises(ChannelRefused, match="'process' here; there are greet"):
            await client.run("true")
    async with (
        rshell.serve("127.0.0.1", 0, handlers={}) as server,
        rshell.connect(server.addresses[0]) as client,
    ):
        with pytest.raises(ChannelRefused, match="there are none"):
            await client.run("true")


@needs_openssl
async def test_a_state_directory_open_to_others_is_refused(tmp_path: Path) -> None:
    loose = tmp_path / "loose"
    loose.mkdir(mode=0o755)
    with pytest.raises(ConfigurationError, match=r"open to other users.*chmod 700"):
        await rshell.serve("127.0.0.1", 0, state=loose)
    with pytest.raises(ConfigurationError, match=r"open to other users.*chmod 700"):
        await rshell.serve(None, unix=loose / "s")


@needs_openssl
async def test_a_port_in_use_is_explained_and_leaves_nothing_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"port {port}.*in use.*another --port"):
            await rshell.serve("127.0.0.1", port)
    with pytest.raises(ConfigurationError, match=r"no-such-name\.invalid"):
        await rshell.serve("no-such-name.invalid", 0)


@needs_openssl
async def test_a_second_server_on_a_path_is_refused_and_the_first_serves_on(
    tmp_path: Path,
) -> None:
    path = private_directory(tmp_path / "u") / "s"
    async with rshell.serve(None, unix=path) as first:
        assert mode(path) == 0o600 and first.fingerprint == ""
        with pytest.raises(ConfigurationError, match="another server listens"):
            await rshell.serve(None, unix=path)
        async with rshell.connect(f"unix:{path}") as client:
            assert (await client.run("echo on")).stdout == b"on\n"
    assert not path.exists()


@needs_openssl
async def test_a_stale_socket_is_replaced_and_a_file_is_not(tmp_path: Path) -> None:
    path = private_directory(tmp_path / "u") / "s"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))  # as a killed server leaves it
    async with (
        rshell.serve(None, unix=path),
        rshell.connect(f"unix:{path}") as client,
    ):
        assert (await client.run("echo on")).stdout == b"on\n"
    path.write_text("somebody's")
    with pytest.raises(ConfigurationError, match="is no socket"):
        await rshell.serve(None, unix=path)
    assert path.read_text() == "somebody's"


@needs_openssl
@pytest.mark.bare
async def test_a_unix_socket_alone_needs_no_certificate_and_no_openssl(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = private_directory(tmp_path / "u") / "s"
    async with rshell.serve(None, unix=path, state=tmp_path / "state"):
        assert {p.name for p in (tmp_path / "state").iterdir()} == {"audit.jsonl"}
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError, match="--unix"):
        await rshell.serve("127.0.0.1", 0)
