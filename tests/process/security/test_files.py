from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path

import pytest

from rshell.errors import ConfigurationError
from rshell.security.files import (
    LARGEST_FILE,
    check_secret,
    config_directory,
    locked,
    private_directory,
    read_private,
    state_directory,
    write_private,
)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return private_directory(tmp_path / "private")


def lowest_free_descriptor() -> int:
    descriptor = os.open(os.devnull, os.O_RDONLY)
    os.close(descriptor)
    return descriptor


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_missing_directories_are_made_for_us_alone(tmp_path: Path) -> None:
    path = private_directory(tmp_path / "a" / "b")
    assert path == tmp_path / "a" / "b"
    assert mode_of(tmp_path / "a") == mode_of(path) == 0o700


def test_directory_that_is_there_is_left_alone(directory: Path) -> None:
    (directory / "kept").touch()
    assert private_directory(directory) == directory
    assert (directory / "kept").exists()


def test_a_directory_for_all_is_not_to_be_closed_to_them(directory: Path) -> None:
    """Root was told to chmod 700 /tmp."""
    directory.chmod(0o1777)
    with pytest.raises(ConfigurationError, match=f"such as {directory}/rshell") as caught:
        private_directory(directory)
    assert "chmod" not in str(caught.value)


@pytest.mark.parametrize("mode", [0o755, 0o710, 0o702, 0o777])
def test_directory_open_to_others_is_refused_with_the_cure(directory: Path, mode: int) -> None:
    directory.chmod(mode)
    with pytest.raises(ConfigurationError, match=f"chmod 700 {directory}"):
        private_directory(directory)


def test_a_place_that_others_may_replace_is_refused(tmp_path: Path) -> None:
    above = tmp_path / "above"
    above.mkdir()
    secret = above / "private" / "key"
    write_private(secret, b"x")
    (tmp_path / "link").symlink_to(above)
    for mode, is_safe in ((0o755, True), (0o1777, True), (0o757, False)):
        above.chmod(mode)
        for path in (secret, tmp_path / "link" / "private" / "key"):
            if is_safe:
                private_directory(path.parent)
                check_secret(path)
                continue
            with pytest.raises(ConfigurationError, match=f"chmod go-w {above}"):
                private_directory(path.parent)
            with pytest.raises(ConfigurationError, match=f"chmod go-w {above}"):
                check_secret(path)


@needs_root
def test_owners_and_groups_above_are_looked_at(tmp_path: Path) -> None:
    above = tmp_path / "above"
    secret = above / "private" / "key"
    write_private(secret, b"x")
    for uid, gid, mode, words in (
        (0, 0, 0o775, ""),  # root's own group
        (0, 4242, 0o755, ""),
        (0, 4242, 0o775, "can be written by other users"),
        (4242, 4242, 0o755, "belongs to user 4242"),
    ):
        os.chown(above, uid, gid)
        above.chmod(mode)
        if words:
            with pytest.raises(ConfigurationError, match=words):
                private_directory(secret.parent)
        else:
            private_directory(secret.parent)


@needs_root
def test_a_key_may_be_read_by_a_group_where_it_is_roots(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"x")
    for uid, mode, is_safe in (
        (0, 0o600, True),
        (0, 0o640, True),
        (0, 0o660, False),
        (0, 0o644, False),
        (4242, 0o600, False),
    ):
        os.chown(path, uid, 4242)
        path.chmod(mode)
        if is_safe:
            check_secret(path)
        else:
            with pytest.raises(ConfigurationError, match=r"open to other users|belongs to user"):
                check_secret(path)


def test_link_to_a_directory_is_refused(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(directory)
    with pytest.raises(ConfigurationError, match="not a directory"):
        private_directory(tmp_path / "link")


def test_dangling_link_is_refused_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigurationError):
        private_directory(tmp_path / "link")
    assert not (tmp_path / "elsewhere").exists()


def test_file_in_the_place_of_a_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch(0o600)
    with pytest.raises(ConfigurationError):
        private_directory(tmp_path / "file")
    with pytest.raises(ConfigurationError):
        private_directory(tmp_path / "file" / "below")


@needs_root
def test_directory_and_file_of_another_user_are_refused(directory: Path) -> None:
    write_private(directory / "file", b"x")
    os.chown(directory / "file", 4242, -1)
    with pytest.raises(ConfigurationError, match="4242"):
        read_private(directory / "file")
    os.chown(directory, 4242, -1)
    with pytest.raises(ConfigurationError, match="4242"):
        private_directory(directory)


def test_what_was_written_is_read_and_nobody_else_may(directory: Path) -> None:
    before = os.umask(0)
    try:
        write_private(directory / "file", b"secret")
    finally:
        os.umask(before)
    assert read_private(directory / "file") == b"secret"
    assert mode_of(directory / "file") == 0o600


def test_writing_replaces_the_whole_file_and_leaves_nothing_else(directory: Path) -> None:
    write_private(directory / "file", b"long content")
    first = (directory / "file").stat().st_ino
    write_private(directory / "file", b"new")
    assert read_private(directory / "file") == b"new"
    assert (directory / "file").stat().st_ino != first  # replaced, never written over
    assert [path.name for path in directory.iterdir()] == ["file"]


def test_writing_does_not_follow_a_link(directory: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"untouched")
    (directory / "file").symlink_to(target)
    write_private(directory / "file", b"new")
    assert target.read_bytes() == b"untouched"
    assert read_private(directory / "file") == b"new"


def test_failed_write_keeps_the_old_and_leaves_no_temporary_file(directory: Path) -> None:
    (directory / "taken").mkdir()
    with pytest.raises(ConfigurationError, match="can't write"):
        write_private(directory / "taken", b"x")
    assert [path.name for path in directory.iterdir()] == ["taken"]


def test_writing_into_an_open_directory_is_refused(directory: Path) -> None:
    directory.chmod(0o755)
    with pytest.raises(ConfigurationError):
        write_private(directory / "file", b"secret")
    assert not (directory / "file").exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_file_open_to_others_is_refused_with_the_cure(directory: Path, mode: int) -> None:
    write_private(directory / "file", b"secret")
    (directory / "file").chmod(mode)
    with pytest.raises(ConfigurationError, match=f"chmod 600 {directory}/file"):
        read_private(directory / "file")


def test_missing_file_is_told_from_a_broken_one(directory: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_private(directory / "missing")


def test_reading_does_not_follow_a_link(directory: Path) -> None:
    write_private(directory / "file", b"secret")
    (directory / "link").symlink_to(directory / "file")
    with pytest.raises(ConfigurationError):
        read_private(directory / "link")


def test_reading_a_pipe_is_refused_and_does_not_wait(directory: Path) -> None:
    os.mkfifo(directory / "pipe", 0o600)
    with pytest.raises(ConfigurationError, match="not a regular file"):
        read_private(directory / "pipe")


def test_reading_a_directory_is_refused_and_leaks_no_descriptor(directory: Path) -> None:
    private_directory(directory / "inner")
    before = lowest_free_descriptor()
    with pytest.raises(ConfigurationError, match="not a regular file"):
        read_private(directory / "inner")
    assert lowest_free_descriptor() == before


def test_endless_file_is_refused(directory: Path) -> None:
    write_private(directory / "file", b"")
    os.truncate(directory / "file", LARGEST_FILE + 1)
    with pytest.raises(ConfigurationError, match="larger"):
        read_private(directory / "file")


def test_lock_keeps_a_second_holder_out(directory: Path) -> None:
    with (directory / "file.lock").open("w") as second:
        with locked(directory / "file"), pytest.raises(BlockingIOError):
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_lock_is_given_back_after_an_error_which_passes_unchanged(directory: Path) -> None:
    with pytest.raises(PermissionError, match="mine"), locked(directory / "file"):
        raise PermissionError("mine")
    with locked(directory / "file"):
        pass


def test_lock_does_not_follow_a_link(directory: Path, tmp_path: Path) -> None:
    (directory / "file.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigurationError), locked(directory / "file"):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_places_follow_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("XDG_STATE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(variable, str(tmp_path))
    assert state_directory() == config_directory() == tmp_path / "rshell"


@pytest.mark.parametrize("value", [None, "", "relative/path"])
def test_places_without_or_with_a_relative_environment(
    value: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable in ("XDG_STATE_HOME", "XDG_CONFIG_HOME"):
        if value is None:
            monkeypatch.delenv(variable, raising=False)
        else:
            monkeypatch.setenv(variable, value)
    assert state_directory() == tmp_path / ".local/state/rshell"
    assert config_directory() == tmp_path / ".config/rshell"


def test_what_need_not_outlive_a_power_cut_is_whole_and_private_all_the_same(
    tmp_path: Path,
) -> None:
    tmp_path.chmod(0o700)
    for content in (b"old", b"new"):
        write_private(tmp_path / "file", content, durable=False)
        assert read_private(tmp_path / "file") == content
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600
    assert {path.name for path in tmp_path.iterdir()} == {"own", "file"}  # "own": the test's home
