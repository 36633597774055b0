from __future__ import annotations

import json
import re
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rshell.errors import ConfigurationError
from rshell.protocol.scram import ScramClient, ScramError, ScramServer
from rshell.security import tokens
from rshell.security.tokens import TokenLine, TokenStore, check_identity, new_token
from rshell.values import Address

FINGERPRINT = "SHA256:" + "0a" * 32
TOKEN = "Abc-_" + "x" * 38
LINE = TokenLine(Address("example.org", 7000), FINGERPRINT, "ann", TOKEN)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "tokens.json"


def log_in(store: TokenStore, name: str, token: str) -> None:
    client = ScramClient(name, token, bytes(32))
    server = ScramServer(store.lookup, store.fake_key, bytes(32))
    client.verify(server.finish(client.final(server.challenge(client.first()))))


def test_token_has_256_bits_and_no_padding() -> None:
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", token) for token in tokens)


@pytest.mark.parametrize("name", ["a", "9", "ann@host.org", "a-b_c.d", "x" * 64])
def test_identity_names(name: str) -> None:
    assert check_identity(name) == name


@pytest.mark.parametrize(
    "name", ["", "-rf", ".hidden", "@a", "a b", "a\n", "a/b", "../a", "ä", "a,b", "x" * 65, "a\0"]
)
def test_crafted_identity_names_are_refused(name: str, path: Path) -> None:
    with pytest.raises(ValueError, match="not an identity"):
        check_identity(name)
    with pytest.raises(ValueError, match="not an identity"):
        TokenStore(path).add(name)
    assert not path.exists()


def test_added_token_logs_in_and_another_does_not(path: Path) -> None:
    store = TokenStore(path)
    token = store.add("ann")
    log_in(store, "ann", token)
    log_in(TokenStore(path), "ann", token)
    with pytest.raises(ScramError):
        log_in(store, "ann", new_token())


def test_token_itself_is_never_stored(path: Path) -> None:
    token = TokenStore(path).add("ann")
    files = [file for file in path.parent.iterdir() if file.is_file()]
    assert path in files
    assert all(token.encode() not in file.read_bytes() for file in files)


def test_store_is_for_us_alone(path: Path) -> None:
    TokenStore(path).add("ann")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_empty_store_finds_nobody_and_writes_nothing(path: Path) -> None:
    store = TokenStore(path)
    assert store.list() == [] and store.lookup("ann") is None and not store.refresh()
    assert not path.parent.exists()


def test_name_that_exists_is_not_replaced(path: Path) -> None:
    store = TokenStore(path)
    token = store.add("ann")
    with pytest.raises(ConfigurationError, match="already"):
        store.add("ann")
    log_in(store, "ann", token)


def test_revoked_token_logs_in_no_more(path: Path) -> None:
    store = TokenStore(path)
    token = store.add("ann")
    store.add("bob")
    store.revoke("ann")
    assert [record.name for record in store.list()] == ["bob"]
    with pytest.raises(ScramError):
        log_in(store, "ann", token)


def test_revoking_an_unknown_name_says_so(path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no token for 'ann'"):
        TokenStore(path).revoke("ann")


def test_list_tells_name_time_and_key(path: Path) -> None:
    store, before = TokenStore(path), time.time()
    for name in ("bob", "ann"):
        store.add(name)
    ann, bob = store.list()
    assert (ann.name, bob.name) == ("ann", "bob")
    assert before <= bob.created <= ann.created <= time.time()
    assert ann.key_id != bob.key_id


def test_name_added_again_has_another_key_id(path: Path) -> None:
    store = TokenStore(path)
    store.add("ann")
    first = store.list()[0].key_id
    store.revoke("ann")
    store.add("ann")
    assert store.list()[0].key_id != first


def test_changes_of_another_process_count_at_once(path: Path) -> None:
    server, command = TokenStore(path), TokenStore(path)
    token = command.add("ann")
    log_in(server, "ann", token)
    command.revoke("ann")
    assert server.lookup("ann") is None


def test_refresh_reports_each_change_once_even_after_a_lookup(path: Path) -> None:
    server, command = TokenStore(path), TokenStore(path)
    assert not server.refresh()
    command.add("ann")
    assert server.lookup("ann") is not None  # must not swallow the report
    assert server.refresh()
    assert not server.refresh()
    command.revoke("ann")
    assert server.refresh()
    assert not server.refresh()


def test_a_file_that_is_gone_or_another_servers_revokes_nobody(path: Path) -> None:
    store = TokenStore(path)
    token = store.add("ann")
    store.refresh()
    aside = path.rename(path.with_name("aside"))
    for look in (store.refresh, lambda: store.lookup("ann"), lambda: store.add("bob")):
        with pytest.raises(ConfigurationError, match=r"is gone\. Restore it"):
            look()
    with pytest.raises(ConfigurationError, match=r"is gone\. Restore it"):
        TokenStore(path, has_been=True)
    assert not path.exists()
    TokenStore(path).add("mallory")
    with pytest.raises(ConfigurationError, match="replaced by another server's"):
        store.refresh()
    aside.replace(path)
    assert store.refresh()
    log_in(store, "ann", token)


def test_fake_key_survives_a_restart_and_every_change(path: Path) -> None:
    key = TokenStore(path).fake_key
    assert len(key) == 32
    store = TokenStore(path)
    assert store.fake_key == key
    store.add("ann")
    assert TokenStore(path).fake_key == store.fake_key == key


def test_fake_keys_of_two_servers_differ(tmp_path: Path) -> None:
    one, two = (TokenStore(tmp_path / name / "tokens.json") for name in "ab")
    assert one.fake_key != two.fake_key


def test_two_processes_at_once_lose_no_update(path: Path) -> None:
    program = (
        "import sys, pathlib; from rshell.security.tokens import TokenStore\n"
        "for i in range(10): TokenStore(pathlib.Path(sys.argv[1])).add(sys.argv[2] + str(i))"
    )
    root = Path(tokens.__file__).parents[2]
    processes = [
        subprocess.Popen([sys.executable, "-c", program, str(path), name], cwd=root)
        for name in "abc"
    ]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert len(TokenStore(path).list()) == 30


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_file_open_to_others_is_refused_even_while_running(path: Path, mode: int) -> None:
    store = TokenStore(path)
    store.add("ann")
    assert store.lookup("ann") is not None
    path.chmod(mode)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        store.lookup("ann")
    with pytest.raises(ConfigurationError, match="chmod 600"):
        TokenStore(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        b"{}",
        json.dumps({"version": 2, "fake_key": "00" * 32, "tokens": {}}).encode(),
        json.dumps({"version": 1, "fake_key": "00", "tokens": {}}).encode(),
        json.dumps({"version": 1, "fake_key": "00" * 32, "tokens": []}).encode(),
        json.dumps({"version": 1, "fake_key": "00" * 32, "tokens": {"a": {}}}).encode(),
        json.dumps({"version": 1, "fake_key": "00" * 32, "tokens": {"a": None}}).encode(),
        json.dumps({"version": 1, "fake_key": "00" * 32, "tokens": {"../a": {}}}).encode(),
    ],
)
def test_damaged_file_is_refused_and_never_overwritten(path: Path, content: bytes) -> None:
    store = TokenStore(path)
    store.add("ann")
    path.write_bytes(content)
    for _ in range(2):  # not only the first time that it is looked at
        with pytest.raises(ConfigurationError, match="damaged"):
            store.lookup("ann")
    with pytest.raises(ConfigurationError, match="damaged"):
        store.refresh()
    with pytest.raises(ConfigurationError, match="damaged"):
        store.add("bob")
    assert path.read_bytes() == content


@given(st.data())
def test_fuzz_file_with_one_damaged_value(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "tokens.json"
    path.parent.chmod(0o700)
    store = TokenStore(path)
    store.add("ann")
    body = json.loads(path.read_bytes())
    entry = body["tokens"]["ann"]
    target = data.draw(st.sampled_from([body, entry, entry["verifier"]]))
    key = data.draw(st.sampled_from(sorted(target)))
    scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
    target[key] = data.draw(scalars | st.lists(scalars) | st.dictionaries(st.text(), scalars))
    path.write_text(json.dumps(body))
    try:
        store.lookup("ann")
    except ConfigurationError:
        pass


def test_token_line_survives_text() -> None:
    assert str(LINE) == f"rshell1 example.org:7000 {FINGERPRINT} ann {TOKEN}"
    assert TokenLine.parse(str(LINE)) == LINE
    assert TokenLine.parse(f"  {LINE}\r\n") == LINE


@pytest.mark.parametrize("text", ["::1", "[fe80::1%eth0]:7001", "10.0.0.1:65535", "host"])
def test_token_line_holds_any_network_address(text: str) -> None:
    line = TokenLine(Address.parse(text), FINGERPRINT, "ann", TOKEN)
    assert TokenLine.parse(str(line)) == line


def test_token_line_normalises_the_fingerprint() -> None:
    line = TokenLine(LINE.address, FINGERPRINT.upper(), "ann", TOKEN)
    assert line == LINE


def test_repr_of_a_token_line_hides_the_token() -> None:
    assert TOKEN not in repr(LINE) and "ann" in repr(LINE)


@pytest.mark.parametrize(
    "text",
    [
        "",
        TOKEN,
        f"rshell2 example.org:7000 {FINGERPRINT} ann {TOKEN}",
        f"rshell1 {TOKEN} {FINGERPRINT} ann",
        f"rshell1 {TOKEN}: {FINGERPRINT} ann {TOKEN}",
        f"rshell1 example.org:7000 {TOKEN} ann {TOKEN}",
        f"rshell1 example.org:7000 {FINGERPRINT} -{TOKEN} {TOKEN}",
        f"rshell1 example.org:7000 {FINGERPRINT} ann {TOKEN}x",
        f"rshell1 example.org:7000 {FINGERPRINT} ann {TOKEN} more",
        f"rshell1 -option {FINGERPRINT} ann {TOKEN}",
        f"rshell1 unix:/socket {FINGERPRINT} ann {TOKEN}",
        f"{LINE}{' ' * 2000}",
    ],
)
def test_wrong_token_line_is_refused_without_repeating_the_token(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        TokenLine.parse(text)
    error: BaseException | None = caught.value
    while error is not None:
        assert TOKEN not in str(error)
        error = error.__cause__ or error.__context__


@given(st.text())
def test_fuzz_token_line_raises_nothing_else(text: str) -> None:
    for line in (text, f"rshell1 {text}", f"rshell1 example.org {FINGERPRINT} {text} {TOKEN}"):
        try:
            TokenLine.parse(line)
        except ConfigurationError:
            pass


def test_token_line_that_could_not_be_read_back_is_never_made() -> None:
    for address in (Address("a b"), Address("-x"), Address("", 0, "/socket")):
        with pytest.raises(ValueError):
            TokenLine(address, FINGERPRINT, "ann", TOKEN)
    with pytest.raises(ValueError, match="not a token"):
        TokenLine(LINE.address, FINGERPRINT, "ann", f"{TOKEN}\nrshell1")
