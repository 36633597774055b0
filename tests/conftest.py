"""What every test gets: directories of its own, and a look at what it left behind.

The look is in the hooks around a whole test, so it comes after every fixture and after the event
loop was closed. asyncio only logs what nobody retrieved; here that fails the test. Garbage is
collected after each test, or a leak would be blamed on a later one; in tests/unit, where that
would cost more than the tests, after each module: its last test is blamed there.

A test in tests/unit that starts a process, binds a socket or opens a terminal fails.

Hazard: a thread that reaps a killed process may be a moment behind; a leak is what stays.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import itertools
import logging
import math
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support import parallel
from tests.support.forked import start_zygote, stop_zygote, zygote_pid

settings.register_profile("same every time", derandomize=True, deadline=None, database=None)
settings.load_profile("same every time")

_TESTS = Path(__file__).resolve().parent
_STACK_DEPTH = 3
_PATIENCE = 5.0  # seconds until what is still there counts as left behind
# Without bytecode, each of the commands that tests start would take three times as long.
_SLOWING = ("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX")
_FOREIGN = ("BASH_ENV", "ENV", "RSHELL_HOST", "RSHELL_TOKEN", "PROMPT_COMMAND", *_SLOWING)
_DESCRIPTORS = next((p for p in (Path("/proc/self/fd"), Path("/dev/fd")) if p.is_dir()), None)

# What has no place in tests/unit, as Python's audit hooks call it; the last is our own name.
_OUTSIDE = {
    *("subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system", "os.exec"),
    *("socket.bind", "socket.connect", "os.openpty"),
}

if sys.version_info < (3, 10):
    asyncio.set_event_loop(None)  # or pytest-asyncio would make one, which nobody closes

pytest_plugins = ["tests.support.fixtures"]
_left = pytest.StashKey["_Belongings"]()


@pytest.fixture(scope="session")
def prepared_state(tmp_path_factory: pytest.TempPathFactory) -> Path | None:
    """A state directory in which a server has its certificate already, None without `openssl`."""
    if shutil.which("openssl") is None:
        return None
    from rshell.security.certificates import ensure_certificate
    from rshell.security.files import private_directory

    state = tmp_path_factory.mktemp("prepared") / "state"
    ensure_certificate(private_directory(state / "rshell" / "server"))
    return state


@pytest.fixture(autouse=True)
def own_directories(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Give the test a home and XDG directories of its own, and a known shell.

    Outside of tests/unit, the one certificate of the run is in the state directory, since making
    one costs more than most tests. A test that is marked `bare` finds no state directory.
    """
    own = tmp_path / "own"
    for directory in (own, own / "home", own / "run"):
        directory.mkdir(mode=0o700)
    monkeypatch.setenv("HOME", str(own / "home"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(own / "run"))
    is_prepared = _tier(request.node) != "unit" and not request.node.get_closest_marker("bare")
    if is_prepared and (state := request.getfixturevalue("prepared_state")):
        shutil.copytree(state, own / "state")
    # Made by what needs them first.
    monkeypatch.setenv("XDG_STATE_HOME", str(own / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(own / "config"))
    monkeypatch.setenv("SHELL", "/bin/bash" if os.access("/bin/bash", os.X_OK) else "/bin/sh")
    for name in _FOREIGN:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
async def no_task_left() -> AsyncIterator[None]:
    """Fail if a task outlives the test and its fixtures."""
    # A busy machine is no news: debug mode would log each pause, where tests look at logs.
    asyncio.get_running_loop().slow_callback_duration = math.inf
    yield
    if left := asyncio.all_tasks() - {asyncio.current_task()}:
        _, left = await asyncio.wait(left, timeout=_PATIENCE)
    assert not left, f"tasks were left behind: {left}"


@pytest.fixture(autouse=True)
def tasks_watched(request: pytest.FixtureRequest, own_directories: None) -> None:
    """Have `no_task_left` around every test that has an event loop."""
    if inspect.iscoroutinefunction(request.function):
        request.getfixturevalue("no_task_left")


class _Belongings(logging.Handler):
    """What this process held when a test began, and what asyncio complained of since."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.complaints: list[str] = []
        self.outside: list[str] = []
        self._descriptors = _open_descriptors()
        self._had_children = _has_children()
        logging.getLogger("asyncio").addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.complaints.append(self.format(record))

    def check(self, *, is_last: bool) -> None:
        """Fail if something was left behind; look through the garbage for it if `is_last`."""
        if is_last:
            gc.collect()
            gc.freeze()  # what is alive now is not this test's, and was looked at often enough
        logging.getLogger("asyncio").removeHandler(self)
        assert not self.outside, f"not in tests/unit: {', '.join(self.outside)}"
        assert not self.complaints, "asyncio complained:\n" + "\n".join(self.complaints)
        deadline = time.monotonic() + _PATIENCE
        while (left := self._find()) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not left, f"left behind: {left}"

    def _find(self) -> list[str]:
        now = _open_descriptors()
        left = [
            f"descriptor {number}: {target}"
            for number, target in now.items()
            if self._descriptors.get(number) != target
        ]
        if not self._had_children and _has_children():
            left.append("a child process")
        return left


class _Watched:
    """The test in tests/unit that runs, if one does."""

    unit_test: _Belongings | None = None


def _note_outside(event: str, _: object) -> None:
    if event in _OUTSIDE and _Watched.unit_test is not None:
        _Watched.unit_test.outside.append(event)


def _open_descriptors() -> dict[str, str]:
    found: dict[str, str] = {}
    if _DESCRIPTORS is not None:
        for name in os.listdir(_DESCRIPTORS):  # noqa: PTH208 - a Path for each costs a second in all
            try:
                found[name] = os.readlink(f"{_DESCRIPTORS}/{name}")  # noqa: PTH115 - the same
            except OSError:
                pass  # the descriptor of this very listing; or a system without such links
    return found


def _has_children() -> bool:
    """Whether there is a child process, running or not yet waited for, besides the zygote."""
    zygote = zygote_pid()
    if zygote is not None:
        children: set[int] = set()
        for thread in os.listdir("/proc/self/task"):  # noqa: PTH208 - as above
            with suppress(FileNotFoundError), open(f"/proc/self/task/{thread}/children") as file:  # noqa: PTH123 - as above
                children.update(map(int, file.read().split()))
        return bool(children - {zygote})
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def pytest_configure() -> None:
    """Make runs alike, however they were started, and asyncio's debug mode affordable."""
    # It keeps, of each callback, task and future, the stack that asked for it, which under pytest
    # is more than fifty frames deep. The innermost are those that tell something.
    walk_stack = traceback.walk_stack
    pytest.MonkeyPatch().setattr(
        traceback, "walk_stack", lambda frame: itertools.islice(walk_stack(frame), _STACK_DEPTH)
    )
    sys.addaudithook(_note_outside)
    openpty = os.openpty

    def noted_openpty() -> tuple[int, int]:
        _note_outside("os.openpty", ())
        return openpty()

    pytest.MonkeyPatch().setattr(os, "openpty", noted_openpty)
    # Tests, and what they start, take signals as at a terminal.
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):  # by nohup, or & in a script
        if signal.getsignal(number) is signal.SIG_IGN:
            is_ours = number is signal.SIGINT
            signal.signal(number, signal.default_int_handler if is_ours else signal.SIG_DFL)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let whoever looks for what tests do to each other say in how many processes they run."""
    parser.addoption(
        "--processes",
        type=int,
        metavar="N",
        help="run files in N processes; 1 for one after another",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Start what forks commands, and run the files side by side if there are several."""
    gc.collect()
    gc.freeze()  # what is there now, and stays, is spared from later collections
    if session.config.option.collectonly or session.testsfailed:
        return None

    def begin() -> None:
        if any(_tier(item) != "unit" for item in session.items):
            start_zygote()

    count = parallel.processes(session)
    if count < 2:
        begin()
        return None
    parallel.run(session, count, begin)
    return True


def pytest_sessionfinish() -> None:
    """End what forks commands."""
    stop_zygote()


def _tier(item: pytest.Item) -> str:
    """Return the directory in tests/ in which a test is."""
    return item.path.relative_to(_TESTS).parts[0]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    """Note what is there before the first fixture."""
    belongings = item.stash[_left] = _Belongings()
    _Watched.unit_test = belongings if _tier(item) == "unit" else None
    return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """Look after the last fixture."""
    try:
        return (yield)
    finally:
        _Watched.unit_test = None
        is_last = nextitem is None or nextitem.path != item.path or _tier(item) != "unit"
        item.stash[_left].check(is_last=is_last)
