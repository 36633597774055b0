"""What goes wrong between here and there: always 255, always one line, never a traceback."""

from __future__ import annotations

import shutil
import socket
import subprocess
from functools import partial
from pathlib import Path

import pytest

from rshell.protocol.frames import FrameType
from rshell.security.certificates import ensure_certificate
from rshell.security.tokens import TokenLine, new_token
from tests.process.commands.test_oneshot import free_port
from tests.support.commands import Done, argv, begin, elsewhere, only_line, run, serving
from tests.support.proxy import Impostor, Peer, Relay

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")

HASTY = {"resume_window": 0.2}  # nobody waits for a server that is gone
FALSE = "SHA256:" + "0" * 64


def refused(*arguments: str, env: dict[str, str] | None = None) -> str:
    done: Done = run("-c", "echo never", *arguments, env=env)
    assert (done.stdout, done.returncode) == (b"", 255), done.stderr.decode()
    return only_line(done.stderr)


def local_line() -> TokenLine:
    """Return the token that the server left for its own user."""
    done = run("path", command="token")
    path = Path(done.stdout.decode().strip()).with_name("local-token")
    return TokenLine.parse(path.read_text())


def token_env(line: TokenLine, **changes: str) -> dict[str, str]:
    fields = {"fingerprint": line.fingerprint, "identity": line.identity, "token": line.token}
    return {"RSHELL_TOKEN": str(TokenLine(line.address, **(fields | changes)))}


def test_nobody_listens() -> None:
    with serving("--port", "0"):
        pass  # leaves a token
    assert "nothing listens" in refused(f"127.0.0.1:{free_port()}")


def test_unknown_host_name(tmp_path: Path) -> None:
    with serving("--port", "0"):
        line = local_line()
    for env in (token_env(line), elsewhere(tmp_path)):  # which has no token, and no matter
        shown = refused("no-such-host.invalid", env=env)
        assert "no machine is called 'no-such-host.invalid'" in shown


@pytest.mark.parametrize("address", ["", "host:99999999", "-oProxyCommand=id", "a b", "[::1"])
def test_a_nonsense_address(address: str) -> None:
    assert refused("--", address)


def test_no_token_for_this_server(tmp_path: Path) -> None:
    with serving("--port", "0") as server:
        assert "rshell --login" in refused(server.address, env=elsewhere(tmp_path))


def test_wrong_token_and_unknown_identity_are_refused_in_the_same_words() -> None:
    with serving("--port", "0") as server:
        line = local_line()
        wrong = refused(server.address, env=token_env(line, token=new_token()))
        unknown = refused(server.address, env=token_env(line, identity="nobody"))
        assert wrong == unknown
        assert "token" in wrong and line.token not in wrong
        assert run("-c", "echo hi", server.address, env=token_env(line)).stdout == b"hi\n"


def test_untrusted_certificate_is_told_nothing(tmp_path: Path) -> None:
    files = ensure_certificate(tmp_path / "other")
    with serving("--port", "0") as server, Impostor(listen_only, files) as impostor:
        for arguments, env in (
            ([impostor.address], {}),
            ([server.address], token_env(local_line(), fingerprint=FALSE)),
            (["--fingerprint", FALSE, server.address], {}),
            (["--fingerprint", server.fingerprint, impostor.address], {}),
        ):
            shown = refused(*arguments, env=env)
            assert "is not the server " in shown
        assert impostor.received == b""
        good = run("--fingerprint", server.fingerprint, "-c", "echo hi", server.address)
        assert good.stdout == b"hi\n"


def listen_only(peer: Peer) -> None:
    peer.rest()


def test_a_man_in_the_middle_is_found_out(tmp_path: Path) -> None:
    files = ensure_certificate(tmp_path / "other")
    with serving("--port", "0") as server, Relay(server.port, files) as relay:
        assert "is not the server of your own rshell-server here" in refused(relay.address)
        assert relay.passed == b""


def test_no_common_version_names_both_ranges(tmp_path: Path) -> None:
    def newer(peer: Peer) -> None:
        peer.say_hello(8, 9, mechanisms=["SCRAM-SHA-256-PLUS"])
        peer.rest()

    with serving("--port", "0"):
        files = ensure_certificate(Path(server_directory()))
        with Impostor(newer, files) as impostor:
            shown = refused(impostor.address)
    assert "1 to 1" in shown and "8 to 9" in shown


def server_directory() -> str:
    return str(Path(run("path", command="token").stdout.decode().strip()).parent)


def test_what_is_no_rshell_server_is_named_as_such(tmp_path: Path) -> None:
    files = ensure_certificate(tmp_path / "other")
    with serving("--port", "0"):
        pass
    with Impostor(listen_only, files, alpn="http/1.1") as web:
        assert "not rshell" in refused(web.address)
        assert web.received == b""

    for greeting, expected in (
        (b"SSH-2.0-OpenSSH_9.2\r\n", "speaks SSH: it says 'SSH-2.0-OpenSSH_9.2'"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "speaks HTTP without TLS: it says 'HTTP/1.1 400"),
        (b"220 \x1b[31mmail\r\n", "speaks no TLS: it says '220 \\x1b[31mmail'"),
    ):
        greet = partial(greet_with, greeting)
        with Impostor(greet) as other:
            assert expected in refused(other.address)


def greet_with(greeting: bytes, peer: Peer) -> None:
    peer.send(greeting)
    while peer.socket.recv(65536):
        pass


def test_a_server_that_closes_before_login(tmp_path: Path) -> None:
    with serving("--port", "0"):
        files = ensure_certificate(Path(server_directory()))
    for its in (files, None):
        with Impostor(lambda peer: None, its) as impostor:
            done = run("-c", "true", impostor.address, limits={"open_timeout": 0.2})
        assert done.returncode == 255 and only_line(done.stderr)


def test_escape_sequences_in_a_servers_reason_do_not_reach_the_terminal(tmp_path: Path) -> None:
    def nasty(peer: Peer) -> None:
        peer.say_hello(mechanisms=["SCRAM-SHA-256-PLUS"])
        peer.say(FrameType.GOODBYE, code="auth", reason="\x1b]0;owned\x07\nrshell: \x9bfine")
        peer.rest()

    with serving("--port", "0"):
        files = ensure_certificate(Path(server_directory()))
    with Impostor(nasty, files) as impostor:
        shown = refused(impostor.address)
    assert "\x1b" not in shown and "\x9b" not in shown and "owned" in shown


def test_a_program_that_serves_nothing_behind_via() -> None:
    assert "can't start" in refused("--via", "/no/such/program")
    assert "false" in refused("--via", "false")
    assert "printed 'garbage on the link" in refused("--via", "echo garbage on the link")
    assert refused("--via", "")


@pytest.mark.parametrize("signal_name", ["KILL", "SEGV"])
def test_a_server_killed_in_mid_reply_is_never_a_success(signal_name: str) -> None:
    with serving("--port", "0") as server:
        script = f"echo begun; kill -{signal_name} {server.pid}; sleep 100"
        done = run("-c", script, server.address, limits=HASTY)
        assert done.returncode == 255
        assert done.stdout in (b"begun\n", b"")
        only_line(done.stderr)


def test_a_child_server_killed_in_mid_reply_is_never_a_success() -> None:
    done = run("--local", "-c", "echo begun; kill -9 $PPID; sleep 100")
    assert done.returncode == 255
    only_line(done.stderr)


def test_a_cut_link_is_never_a_success() -> None:
    with serving("--port", "0") as server, Relay(server.port) as relay:
        with begin(
            argv("rshell", "-c", "echo hi; sleep 100", relay.address, limits=HASTY),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as client:
            assert client.stdout is not None
            assert client.stdout.readline() == b"hi\n"
            relay.cut()
            _, stderr = client.communicate(timeout=60)
        assert client.returncode == 255
        only_line(stderr)


def test_port_in_use_and_loose_directory_are_one_clear_line_of_the_server(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        done = run("--host", "127.0.0.1", "--port", str(port), command="server")
    assert done.returncode == 1
    assert done.stderr.decode().count("\n") == 1 and f"port {port}" in done.stderr.decode()
    loose = tmp_path / "loose"
    loose.mkdir(mode=0o755)
    for command, arguments in (("server", ["--port", "0"]), ("token", ["list"])):
        done = run("--state", str(loose), *arguments, command=command)
        assert done.returncode == 1
        assert done.stderr.decode().count("\n") == 1 and "chmod 700" in done.stderr.decode()


def test_a_full_disk_behind_json_is_one_line_and_255() -> None:
    with Path("/dev/full").open("wb") as full:
        done = run("--json", "--via", "true", "true", stdout=full)
    assert done.returncode == 255
    assert "No space left" in only_line(done.stderr)
