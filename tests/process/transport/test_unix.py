"""Unix sockets: who is there, and a listener that replaces nobody."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path

import pytest

from rshell.errors import ConfigurationError
from rshell.transport.unix import UnixListener, is_trusted_uid, peer_uid


def test_the_kernel_names_the_user_at_the_other_end() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert peer_uid(ours) == peer_uid(theirs) == os.getuid()


def test_only_our_own_user_and_root_are_trusted() -> None:
    assert is_trusted_uid(os.getuid())
    assert is_trusted_uid(0)
    assert not is_trusted_uid(os.getuid() + 1)
    assert not is_trusted_uid(2**32 - 1)


def test_only_its_user_can_reach_it(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        listener = UnixListener(tmp_path / "s")
        assert os.umask(0) == 0  # ours was put back
    finally:
        os.umask(before)
    assert (tmp_path / "s").stat().st_mode & 0o777 == 0o600
    assert not listener.socket.getblocking()
    assert not os.get_inheritable(listener.socket.fileno())
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(tmp_path / "s"))
    listener.close()


def test_closing_takes_the_path_away_and_leaves_the_lock(tmp_path: Path) -> None:
    UnixListener(tmp_path / "s").close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["own", "s.lock"]


def test_a_path_that_can_not_be_removed_keeps_nothing_open(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "s"
    listener = UnixListener(path)
    path.unlink()
    path.mkdir()
    listener.close()
    assert "can't remove" in caplog.text
    path.rmdir()
    UnixListener(path).close()  # the lock was given back


def test_a_live_listener_is_not_replaced(tmp_path: Path) -> None:
    first = UnixListener(tmp_path / "s")
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="another server listens"):
            UnixListener(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(tmp_path / "s"))
    first.close()
    UnixListener(tmp_path / "s").close()


def test_what_a_killed_server_left_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "s"))
    (tmp_path / "s.lock").touch()
    listener = UnixListener(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(tmp_path / "s"))
    listener.close()


def test_a_file_that_is_no_socket_is_spared(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("precious")
    with pytest.raises(ConfigurationError, match="is no socket"):
        UnixListener(tmp_path / "s")
    assert (tmp_path / "s").read_text() == "precious"


def test_a_path_that_is_too_long_is_refused_and_the_lock_given_back(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 120)
    with pytest.raises(ConfigurationError, match="can't listen"):
        UnixListener(path)
    with path.with_name(path.name + ".lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_directory_that_is_missing_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        UnixListener(tmp_path / "missing" / "s")
