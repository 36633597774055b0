"""What a way in finds over there, and what is taken away, and what is not."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from rshell.server import enter, upkeep
from rshell.server.enter import machine_mark

NAME = "a" * 64
LISTENS = """
import signal, socket, sys, time
if "deaf" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1])
server.listen()
print(flush=True)
time.sleep(60)
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only directory for sockets; the cache is in `tmp_path` as well."""
    path = tmp_path / "rshell" / "background"
    path.mkdir(parents=True, mode=0o700)
    monkeypatch.setattr(enter, "places", lambda: [str(path)])
    monkeypatch.setattr(upkeep, "places", lambda: [str(path)])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return path


def test_all_that_is_ours_goes_and_nothing_else(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "_PATIENCE", 0.1)
    monkeypatch.setattr(upkeep, "_SIGNALS", ((15, 0.1), (15, 0.1), (9, 5.0)))
    cache = tmp_path / "cache" / "rshell"
    cache.mkdir(parents=True)
    (cache / f"{NAME}.pyz").write_text("")
    (cache / f"{NAME}.pyz.1234").write_text("")
    (cache / "mine").write_text("")
    (place / "old-00000000.state" / "jobs").mkdir(parents=True)
    (place / "old-00000000.lock").write_text("")
    shells = Path(os.environ["XDG_STATE_HOME"]) / "rshell" / "shells"
    killed = shells / f"{os.uname().nodename}-killed"
    killed.mkdir(parents=True)
    os.utime(killed, (1.0, 1.0))
    processes = []
    for number, how in enumerate(("", "deaf")):
        path = place / f"{number}-{machine_mark()}"
        argv = [sys.executable, "-I", "-S", "-c", LISTENS, str(path), how]
        popen = subprocess.Popen(argv, stdout=subprocess.PIPE)
        assert popen.stdout is not None
        with popen.stdout:
            popen.stdout.readline()
        processes.append(popen)
    assert [pid for _, pid in upkeep.servers()] == [popen.pid for popen in processes]
    assert len(upkeep.look(NAME)["servers"]) == 2
    facts = upkeep.stop()
    assert [popen.wait() for popen in processes] == [-15, -9]
    assert not shells.exists()
    assert facts["stopped"] == [popen.pid for popen in processes]
    files = [str(cache / f"{NAME}.pyz{end}") for end in ("", ".1234")]
    assert facts["removed"] == [str(place), *files] and not place.parent.exists()
    assert [path.name for path in cache.iterdir()] == ["mine"]
    assert upkeep.stop() == {"stopped": [], "removed": [], "left": []}


def test_what_another_machine_has_in_the_same_home_is_left_to_it(
    place: Path, tmp_path: Path
) -> None:
    """Its process is none that we could see: 0, which is our own group, was signalled."""
    cache = tmp_path / "cache" / "rshell"
    cache.mkdir(parents=True)
    bundle = cache / f"{NAME}.pyz"
    bundle.write_text("")
    theirs = place / "v-00000000"
    (place / "v-00000000.state").mkdir()
    (place / "gone-00000000.lock").write_text("")
    with socket.socket(socket.AF_UNIX) as server, theirs.with_suffix(".lock").open("wb") as lock:
        server.bind(str(theirs))
        server.listen()
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert list(upkeep.servers()) == []
        facts = upkeep.stop()
        assert facts == {"stopped": [], "removed": [str(place)], "left": [str(theirs)]}
        names = {path.name for path in place.iterdir()}
        assert names == {"v-00000000", "v-00000000.state", "v-00000000.lock"} and bundle.exists()


def test_a_place_that_is_not_ours_is_not_looked_at(place: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "file").write_text("")
    place.rmdir()
    place.symlink_to(target)
    assert upkeep.stop()["removed"] == [] and (target / "file").exists()
    assert "no_socket" in upkeep.look(NAME)
    assert place.is_symlink()
