"""Jobs on the disk: private directories, one server at a time, and no record believed blindly."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rshell import ConfigurationError, ExitStatus, JobInfo
from rshell.channels.job.store import JobStore
from tests.support.commands import environment
from tests.unit.channels.job.test_messages import BAD_NAMES


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    store = JobStore(tmp_path / "jobs")
    yield store
    store.close()


def info(name: str, state: str = "running") -> JobInfo:
    status = ExitStatus(code=7) if state == "exited" else None
    return JobInfo(name, "exit 7", 1000.0, state, status, None if status is None else 1001.0)


def test_directories_and_files_are_private(store: JobStore, tmp_path: Path) -> None:
    store.create("me", "a")
    store.save("me", info("a"))
    for path in (tmp_path / "jobs").rglob("*"):
        wanted = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path


def test_names_are_unique_for_an_identity_and_made_up_without_one(store: JobStore) -> None:
    assert store.create("me", "a") == store.create("other", "a") == "a"
    names = {store.create("me", None) for _ in range(300)}  # more than there are pairs of words
    assert len(names) == 300


def test_what_has_the_name_of_a_new_job_waits_until_that_has_started(tmp_path: Path) -> None:
    store = JobStore(tmp_path / "jobs")

    def content() -> str:
        return (store.directory("me", "a") / "stdout.0").read_text()

    store.create("me", "a")
    (store.directory("me", "a") / "stdout.0").write_text("old")
    store.create("me", "a")
    assert not list(store.directory("me", "a").iterdir())
    store.settle("me", "a", is_new=False)  # it could not be started
    assert content() == "old"
    store.create("me", "a")
    (store.directory("me", "a") / "stdout.0").write_text("new")
    store.settle("me", "a", is_new=True)
    assert content() == "new"
    for has_made_one in (False, True):  # a server died before the next one had started
        store.create("me", "a")
        if not has_made_one:
            store.directory("me", "a").rmdir()
        store.close()
        store = JobStore(tmp_path / "jobs")
        assert list(store.load()) == [] and content() == "new"
        assert [path.name for path in store.directory("me", "a").parent.iterdir()] == ["a"]
    store.create("me", "a")
    store.save("me", info("a"))  # it had started
    store.close()
    store = JobStore(tmp_path / "jobs")
    assert [found.state for _, found in store.load()] == ["lost"]
    assert [path.name for path in store.directory("me", "a").iterdir()] == ["job.json"]
    store.close()


def test_a_full_disk_takes_no_job_of_that_name_away(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.create("me", "a")
    (store.directory("me", "a") / "stdout.0").write_text("old")

    def mkdir(self: Path, mode: int = 0o777) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", mkdir)
        with pytest.raises(ConfigurationError, match="No space left"):
            store.create("me", "a")
    assert (store.directory("me", "a") / "stdout.0").read_text() == "old"


def test_no_name_leads_out_of_its_directory(store: JobStore) -> None:
    for name in BAD_NAMES:
        with pytest.raises(ValueError, match="not a job's name"):
            store.directory("me", name)


def test_no_identity_leads_out_of_the_directory_and_no_two_share_one(
    store: JobStore, tmp_path: Path
) -> None:
    identities = ["me", "Me", "../me", "a/b", "", "\udcff", "x" * 10_000]
    directories = {store.directory(identity, "a").parent for identity in identities}
    assert len(directories) == len(identities)
    assert {directory.parent for directory in directories} == {tmp_path / "jobs"}


def test_what_was_saved_is_loaded_and_what_ran_is_lost_for_good(tmp_path: Path) -> None:
    store = JobStore(tmp_path / "jobs")
    for name, state in (("done", "exited"), ("ran", "running")):
        store.create("me", name)
        store.save("me", info(name, state))
    store.close()
    for _ in range(2):
        again = JobStore(tmp_path / "jobs")
        found = {job.name: job for identity, job in again.load() if identity == "me"}
        again.close()
        assert found["done"] == info("done", "exited")
        assert (found["ran"].state, found["ran"].status) == ("lost", None)
        assert found["ran"].ended is not None


def test_a_broken_record_is_left_alone_with_a_word(
    store: JobStore, caplog: pytest.LogCaptureFixture
) -> None:
    store.create("me", "a")
    path = store.directory("me", "a") / "job.json"
    for content in (b"", b"{", b"[]", b"{}", b"\xff", b'{"name": "a"}'):
        caplog.clear()
        path.write_bytes(content)
        path.chmod(0o600)
        assert list(store.load()) == []
        assert "is left alone" in caplog.text and path.read_bytes() == content


def test_a_record_counts_in_its_own_directory_only(store: JobStore) -> None:
    store.create("me", "a")
    store.save("me", info("a"))
    store.create("other", "b")
    record = store.directory("me", "a") / "job.json"
    record.rename(store.directory("other", "b") / "job.json")
    assert list(store.load()) == []


def test_a_job_is_removed_with_its_output(store: JobStore) -> None:
    store.create("me", "a")
    (store.directory("me", "a") / "stdout.0").write_bytes(b"x")
    store.remove("me", "a")
    store.remove("me", "a")
    assert not store.directory("me", "a").exists()


def test_one_server_at_a_time_and_the_lock_goes_with_its_process(
    store: JobStore, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match="another server keeps its jobs"):
        JobStore(tmp_path / "jobs")
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from rshell.channels.job.store import JobStore\n"
        "store = JobStore(Path(sys.argv[1]))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    other = tmp_path / "theirs"
    done = subprocess.run(
        [sys.executable, "-c", program, str(other)], env=environment(), timeout=60, check=False
    )
    assert done.returncode == -9
    JobStore(other).close()


def test_a_directory_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(mode=0o755)
    with pytest.raises(ConfigurationError, match="open to other users"):
        JobStore(tmp_path / "open")
