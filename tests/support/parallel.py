"""Running the files of the tests side by side, in as many processes as there are processors.

Strategy: pytest collects once; then this process forks, and only looks on. A child asks for one
file after another and runs its tests as pytest does anywhere. Of each test that is over it sends
the reports, which go through the hooks of this process as if it had run the test: what is
printed, counted and returned is what one process would say, but for the order of the files. A
file is never divided, so what its tests share they still share. A child has a session of its own,
and so no terminal, wherever the tests were started.

Whoever takes the place of a test must not hide its end: a child that dies, or a test of which
nothing was heard, fails the run.

Hazards: what a test forked may hold its end of a connection after the child itself has died, so
the parent does not wait for that end alone. The children have the collected tests in common, and
nothing else may be: what captures output is made anew, and what starts processes
(tests/support/forked.py) begins after the fork. Which files one process runs, and after which,
differs from run to run.
"""

from __future__ import annotations

import itertools
import os
import signal
import traceback
import warnings
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import Any, NoReturn

import pytest

_BLOCK = 65536
_LOOK = 1.0  # seconds without news until it is asked whether the children still live
PATIENCE = 5.0  # seconds without news from a child that is told to end, until it is told again
TOLD = 4  # times, until it is killed


def processes(session: pytest.Session) -> int:
    """Return in how many processes the tests run: one, where a person is to look into them."""
    option = session.config.option
    looks_in = option.usepdb or option.trace or option.setupshow or option.capture == "no"
    if looks_in or not hasattr(os, "fork"):
        return 1
    return min(option.processes or _processors(), len(_files(session)))


def run(session: pytest.Session, count: int, begin: Callable[[], None]) -> None:
    """Run all tests in `count` children, each of which first calls `begin`.

    Raises what pytest raises when it stops early.
    """
    # One directory for all, or each would remove what it finds there of another.
    session.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
    parent = _Parent(session)
    try:
        for _ in range(count):
            parent.fork(begin)
        while parent.children:
            parent.hear()
    except KeyboardInterrupt:
        # It may come where the interpreter has no line for it, which pytest can't print.
        raise KeyboardInterrupt from None
    finally:
        parent.end()
    if missing := parent.missing:
        parent.fail(f"nothing was heard of {len(missing)} tests: {min(missing)} ...")


def _files(session: pytest.Session) -> list[list[pytest.Item]]:
    """Return the tests of each file, in the order in which pytest would run them."""
    groups = itertools.groupby(session.items, lambda item: item.path)
    return [list(items) for _, items in groups]


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass
class _Child:
    """A process that runs files; `running` is its test, `is_over` whether it said goodbye."""

    pid: int
    running: str = "no test"
    is_over: bool = False


class _Parent:
    """Who gives files out and hears what becomes of them; `missing` are tests not heard of."""

    def __init__(self, session: pytest.Session) -> None:
        self.children: dict[Connection, _Child] = {}
        self.missing = {item.nodeid for item in session.items}
        self._session = session
        self._files = deque(range(len(_files(session))))

    def fork(self, begin: Callable[[], None]) -> None:
        """Start a child."""
        ours, theirs = Pipe()
        pid = os.fork()
        if not pid:
            for other in (ours, *self.children):
                other.close()
            _become_child(self._session, theirs, begin)
        theirs.close()
        self.children[ours] = _Child(pid)

    def hear(self) -> None:
        """Wait for children, and take one message, or the end, of each that has something."""
        ready = wait(list(self.children), _LOOK)
        for connection in ready:
            assert isinstance(connection, Connection)
            try:
                message = connection.recv()
            except (EOFError, ConnectionResetError):
                self._bury(connection, 0)
            else:
                self._take(connection, *message)
        if not ready:
            for connection in list(self.children):
                self._bury(connection, os.WNOHANG)

    def _bury(self, connection: Connection, options: int) -> None:
        """Take leave of a child that has ended; fail if that was too early."""
        child = self.children[connection]
        pid, status = os.waitpid(child.pid, options)
        if not pid:
            return
        del self.children[connection]
        connection.close()
        if not child.is_over:
            code = os.waitstatus_to_exitcode(status)
            self.fail(f"a process of the tests died ({code}) in {child.running}")

    def _take(self, connection: Connection, kind: str, *content: Any) -> None:
        child = self.children[connection]
        if kind == "next":
            connection.send(self._files.popleft() if self._files else None)
        elif kind == "begins":
            (child.running,) = content
        elif kind == "warning":
            self._warn(*content)
        elif kind == "tested":
            self.missing.discard(child.running)
            self._tell(child.running, *content)
        elif kind == "broken":
            self.fail(*content)
        else:
            child.is_over = True

    def _tell(self, nodeid: str, location: Any, reports: list[dict[str, Any]]) -> None:
        """Have pytest hear of a test as if it had run here."""
        config, hook = self._session.config, self._session.config.hook
        hook.pytest_runtest_logstart(nodeid=nodeid, location=location)
        for data in reports:
            report = hook.pytest_report_from_serializable(config=config, data=data)
            hook.pytest_runtest_logreport(report=report)
        hook.pytest_runtest_logfinish(nodeid=nodeid, location=location)
        if self._session.shouldfail:
            raise self._session.Failed(self._session.shouldfail)
        if self._session.shouldstop:
            raise self._session.Interrupted(self._session.shouldstop)

    def _warn(self, text: str, filename: str, line: int, when: Any, nodeid: str) -> None:
        """Have pytest hear of a warning; its category is in the text."""
        warning = warnings.WarningMessage(text, Warning, filename, line)
        self._session.config.hook.pytest_warning_recorded.call_historic(
            kwargs={"warning_message": warning, "when": when, "nodeid": nodeid, "location": None}
        )

    def fail(self, why: str) -> NoReturn:
        """End the run as one that failed."""
        self._session.shouldfail = why
        raise self._session.Failed(why)

    def end(self) -> None:
        """Interrupt what still runs, as Ctrl-C does, and wait; kill what does not end.

        An interrupt that comes in the moment before a call that waits is heeded only after it, or
        at the next interrupt.
        """
        for child in self.children.values():
            os.kill(child.pid, signal.SIGINT)
        while self.children:
            connection, child = self.children.popitem()
            for again in (*[signal.SIGINT] * (TOLD - 1), signal.SIGKILL):
                if ends(connection):
                    break
                os.kill(child.pid, again)
            connection.close()
            os.waitpid(child.pid, 0)


def ends(connection: Connection) -> bool:
    """Wait for the end of what a child says, while it says anything; return whether it came.

    It is not taken apart: an interrupt of ours may have left half of a message there.
    """
    while connection.poll(PATIENCE):
        try:
            if not os.read(connection.fileno(), _BLOCK):
                return True
        except ConnectionResetError:
            return True
    return False


# In a child.


class _Reporter:
    """Sends what pytest reports to the parent."""

    def __init__(self, config: pytest.Config, connection: Connection) -> None:
        self._config = config
        self._send = connection.send
        self._reports: list[dict[str, Any]] = []

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Say which test begins, in case that nothing else comes."""
        self._send(("begins", nodeid))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what becomes of one phase of a test."""
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        self._reports.append(data)

    def pytest_runtest_logfinish(self, location: tuple[str, int | None, str]) -> None:
        """Send all that became of a test."""
        self._send(("tested", location, self._reports))
        self._reports = []

    def pytest_warning_recorded(
        self, warning_message: warnings.WarningMessage, when: str, nodeid: str
    ) -> None:
        """Send a warning."""
        text = f"{warning_message.category.__name__}: {warning_message.message}"
        self._send(
            ("warning", text, warning_message.filename, warning_message.lineno, when, nodeid)
        )


def _become_child(
    session: pytest.Session, connection: Connection, begin: Callable[[], None]
) -> NoReturn:
    """Run files until there are no more, and leave."""
    status = 1
    try:
        os.setsid()
        _work(session, connection, begin)
        status = 0
    except KeyboardInterrupt:
        pass  # the parent wants it so
    except BrokenPipeError:
        pass  # the parent has gone
    except BaseException:
        connection.send(("broken", traceback.format_exc()))
    finally:
        os._exit(status)


def _work(session: pytest.Session, connection: Connection, begin: Callable[[], None]) -> None:
    config = session.config
    config.pluginmanager.unregister(name="terminalreporter")
    config.pluginmanager.register(_Reporter(config, connection))
    capturing: Any = config.pluginmanager.getplugin("capturemanager")
    capturing.stop_global_capturing()
    capturing.start_global_capturing()
    capturing.suspend_global_capture()
    begin()
    files = _files(session)
    try:
        while (number := _ask(connection)) is not None:
            # What comes next is not known yet: the session, as if it were a test, has pytest tear
            # down all that the file shared, and keep what the session does.
            following: list[Any] = [*files[number][1:], session]
            for item, next_item in zip(files[number], following):
                config.hook.pytest_runtest_protocol(item=item, nextitem=next_item)
    finally:
        # Not 0: what a run without failures removes at its end is the parent's.
        config.hook.pytest_sessionfinish(session=session, exitstatus=1)
    config._ensure_unconfigure()
    connection.send(("over",))


def _ask(connection: Connection) -> int | None:
    """Return the number of the next file, None when all are given out."""
    connection.send(("next",))
    number: int | None = connection.recv()
    return number
