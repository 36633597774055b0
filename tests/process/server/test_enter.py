"""From a process that a way in has started into a background server, which is started by need."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rshell.server import enter
from rshell.server.enter import NoBackground, hand_over, is_owned, join, peer_pid, socket_path
from tests.support.commands import ROOT, until
from tests.support.forked import zygote_pid

START = "import sys; sys.path.insert(0, sys.argv.pop(1)); from rshell.cli.server import run; run()"
SERVER = [sys.executable, "-I", "-S", "-c", START, str(ROOT)]


# Those who start a server end before it, but for these tests.
pytestmark = pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory for sockets, and no other."""
    path = tmp_path / "p"
    monkeypatch.setattr(enter, "places", lambda: [str(path)])
    return path


@pytest.fixture
def path(place: Path) -> Iterator[str]:
    """Where a server listens, which is ended if it is there."""
    path = socket_path("n" * 64)
    yield path
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as server:
        server.connect(path)
        for _ in range(2):
            os.kill(peer_pid(server), signal.SIGTERM)
    until(lambda: not is_owned(path), "the end of the server")
    while reap():
        pass


def reap() -> bool:
    """Wait for a child; return False if there is none but the zygote."""
    try:
        for directory in Path("/proc/self/task").iterdir():
            for pid in (directory / "children").read_text().split():
                if int(pid) != zygote_pid():
                    os.waitpid(int(pid), 0)
                    return True
    except (FileNotFoundError, ChildProcessError):
        pass
    return False


def test_those_who_come_at_once_start_one_server_which_ends_when_idle(path: str) -> None:
    found: list[int] = []
    together = threading.Barrier(5)

    def come() -> None:
        together.wait()
        with join(SERVER, path, 0.3) as server:
            found.append(peer_pid(server))

    threads = [threading.Thread(target=come) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 5 and len(set(found)) == 1
    until(lambda: not is_owned(path), "the end of an idle server")
    until(lambda: not os.path.lexists(path), "the end of its socket")
    with join(SERVER, path, 0.3) as server:  # and the next one is started
        assert peer_pid(server) not in found


async def test_what_is_handed_over_is_served_until_it_ends(path: str) -> None:
    from rshell.client.links import ClientLink
    from rshell.transport.stdio import PipeStream
    from rshell.values import Bounds

    server = await asyncio.to_thread(join, SERVER, path, 900.0)
    (theirs_in, ours_out), (ours_in, theirs_out) = os.pipe(), os.pipe()
    with server:
        hand_over(server, (theirs_in, theirs_out), {"PATH": os.environ["PATH"], "WHO": "me"})
        os.close(theirs_in)
        os.close(theirs_out)
        link = ClientLink(None, None, Bounds())
        stream = PipeStream(link.driver, Bounds())
        stream.connect(os.fdopen(ours_in, "rb", 0), os.fdopen(ours_out, "wb", 0))
        await link.attached
        link.driver.close("done", "the client is done")
        assert await asyncio.to_thread(server.recv, 1) == b""  # it is done with them


def test_a_server_that_can_not_start_is_tried_once_and_says_why(path: str) -> None:
    """Twenty starts of Python took seconds, and a whole traceback was shown."""
    script = "import sys; print('Traceback', file=sys.stderr); sys.exit('it went wrong')"
    starts = Path(f"{path}.log")
    with pytest.raises(NoBackground, match="it went wrong") as caught:
        join([sys.executable, "-I", "-S", "-c", script], path, 1.0)
    assert "Traceback" not in str(caught.value)
    assert starts.read_text().count("it went wrong") == 1
    with pytest.raises(NoBackground, match="it says nothing"):
        join([sys.executable, "-I", "-S", "-c", ""], path, 1.0)
    with pytest.raises(NoBackground, match="can't start"):
        join(["/no/such/python"], path, 1.0)


def test_a_server_that_does_not_answer_is_not_waited_for_for_ever(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enter, "_PATIENCE", 0.05)
    with socket.socket(socket.AF_UNIX) as stopped:
        stopped.bind(path)
        stopped.listen()
        with pytest.raises(NoBackground, match="does not answer within"):
            join(SERVER, path, 1.0)
    Path(path).unlink()


def test_a_socket_is_in_the_first_directory_that_is_ours_alone_and_can_have_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fine, shared, file, link = (tmp_path / name for name in ("fine", "shared", "file", "link"))
    shared.mkdir(mode=0o755)
    file.write_text("")
    link.symlink_to(tmp_path)
    deep = tmp_path / ("x" * 90)
    for bad, why in (
        (shared, "not ours alone"),
        (file, "File exists"),
        (link, "not a directory"),
        (deep, "no place"),
    ):
        monkeypatch.setattr(enter, "places", lambda bad=bad: [str(bad)])
        with pytest.raises(NoBackground, match=why):
            socket_path("name")
        monkeypatch.setattr(enter, "places", lambda bad=bad: [str(bad), str(fine)])
        found = Path(socket_path("name"))
        assert found.parent == fine and fine.stat().st_mode & 0o777 == 0o700
        assert found.name.startswith("name-") and not list(fine.iterdir())


def test_a_server_is_found_again_where_it_is_when_another_place_has_become_better(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A home that had been full was not any more, and the session was sought at another server."""
    first, second = tmp_path / "first", tmp_path / "second"
    monkeypatch.setattr(enter, "places", lambda: [str(first), str(second)])
    first.write_text("no directory")
    path = socket_path("name")
    assert Path(path).parent == second
    first.unlink()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        assert socket_path("name") == path
    assert Path(socket_path("name")).parent == first
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(socket_path("name"))
        server.listen()
        monkeypatch.setattr(enter, "_try", lambda probe: pytest.fail("there is no room"))
        assert Path(socket_path("name")).parent == first
