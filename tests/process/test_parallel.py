"""What runs the tests in several processes hides nothing: every way for a run to fail fails it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from multiprocessing import Pipe
from pathlib import Path
from textwrap import indent

import pytest

from tests.support import parallel
from tests.support.commands import DEADLINE, begin, until

CONFTEST = """
import pytest
from tests.support import parallel

def pytest_addoption(parser):
    parser.addoption("--processes", type=int)

@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session):
    count = parallel.processes(session)
    if count > 1:
        parallel.run(session, count, lambda: None)
        return True
"""
GOOD = {
    "deep/first": "def test_1(): print('said')\ndef test_2(): pass",
    "deep/directory/second": "def test_3(tmp_path): pass\ndef test_4(): pass",
    "elsewhere/third": "def test_5(): pass",
}
# It waits until the whole of the run is stopped, and notes that its fixture was left.
LONG = """
import pathlib, time, pytest
here = pathlib.Path(__file__).parent
@pytest.fixture(scope="module")
def kept():
    yield
    (here / "left").touch()
def test_long(kept):
    (here / "began").touch()
    time.sleep(1000)
"""


def write(directory: Path, files: Mapping[str, str]) -> None:
    (directory / "pytest.ini").touch()
    (directory / "conftest.py").write_text(CONFTEST)
    for name, text in files.items():
        path = directory / f"{name}_test.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def command(directory: Path, *options: str) -> list[str]:
    # Of its own: two runs that clean up the usual one meet there.
    base = f"--basetemp={directory / 'base'}"
    plugins = ["-p", "no:asyncio", "-p", "no:hypothesispytest", "-p", "no:cacheprovider"]
    return [sys.executable, "-m", "pytest", *plugins, "--processes=2", base, *options]


def run_tests(directory: Path, files: Mapping[str, str], *options: str) -> tuple[int, str]:
    """Return the exit status of a run and what it said."""
    write(directory, files)
    told = directory / "told"
    with (
        told.open("wb") as stdout,
        begin(command(directory, *options), cwd=directory, stdout=stdout) as popen,
    ):
        status = popen.wait(DEADLINE)
    return status, told.read_text()


def test_a_run_that_passes_says_what_one_process_says(tmp_path: Path) -> None:
    said = []
    for option in ("--processes=2", "--processes=1"):
        status, text = run_tests(tmp_path, GOOD, "-v", option)
        assert status == 0, text
        lines = re.sub(r"\[ *\d+%\]|in \S+s", "", text).splitlines()
        said.append(sorted(line.rstrip(" =").lstrip("=") for line in lines))
    assert said[0] == said[1]


def test_what_fails_is_shown_whole_and_fails_the_run(tmp_path: Path) -> None:
    bad = """
import pytest, sys, warnings
@pytest.fixture
def broken(): raise OSError("in setup")
def test_assertion():
    print("on stdout"); print("on stderr", file=sys.stderr)
    warnings.warn("heed this")
    assert 1 == 2
def test_error(broken): pass
@pytest.mark.skip(reason="no use")
def test_skipped(): pass
"""
    status, text = run_tests(tmp_path, GOOD | {"bad": bad}, "-ra")
    assert status == 1
    for part in (
        *("on stdout", "on stderr", "assert 1 == 2", "in setup", "heed this", "no use"),
        *("FAILED bad_test.py::test_assertion", "ERROR bad_test.py::test_error"),
        "1 failed, 5 passed, 1 skipped, 1 warning, 1 error",
    ):
        assert part in text, (part, text)


def test_a_process_that_dies_or_a_part_that_breaks_fails_the_run(tmp_path: Path) -> None:
    dies = """
import os, pathlib, time
def test_dies():
    if os.fork():
        os._exit(0)
    while not (pathlib.Path(__file__).parent / "over").exists():  # and holds the connection
        time.sleep(0.01)
    os._exit(0)
"""
    status, text = run_tests(tmp_path, GOOD | {"dies": dies})
    (tmp_path / "over").touch()
    assert status == 1 and "died (0) in dies_test.py::test_dies" in text, text
    # One that is raised where no test is any more.
    late = "class Late:\n    def __del__(self): raise OSError('too late')\nlate = Late()\n"
    late += "def test_late(): late.me = late; globals().pop('late')"
    (tmp_path / "dies_test.py").unlink()
    status, text = run_tests(tmp_path, GOOD | {"late": late}, "-W", "error")
    assert status == 1 and "too late" in text, text


def test_the_first_failure_may_be_the_last_test_and_ends_the_others(tmp_path: Path) -> None:
    fails = "import time, pathlib\n"
    fails += "def test_fails():\n"
    fails += "    while not (pathlib.Path(__file__).parent / 'began').exists(): time.sleep(0.01)\n"
    fails += "    assert False"
    status, text = run_tests(tmp_path, {"long": LONG, "fails": fails}, "-x")
    assert status == 1 and "stopping after 1 failures" in text, text
    assert (tmp_path / "left").exists()


def interrupt(directory: Path) -> bytes:
    """Interrupt a run once its long test has begun; return what it said."""
    with begin(command(directory), cwd=directory, stdout=subprocess.PIPE) as popen:
        until((directory / "began").exists, "the test")
        popen.send_signal(signal.SIGINT)
        told, _ = popen.communicate(timeout=DEADLINE)
    assert popen.returncode == 2, told
    return told


def test_an_interrupt_ends_all_of_it(tmp_path: Path) -> None:
    write(tmp_path, {"long": LONG} | GOOD)
    told = interrupt(tmp_path)
    assert b"KeyboardInterrupt" in told and (tmp_path / "left").exists()


def test_an_interrupt_that_came_too_early_comes_again(tmp_path: Path) -> None:
    # As one does between the last look at signals and the call that sleeps.
    early = """
import signal
def heeded(*_):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt
signal.signal(signal.SIGINT, lambda *_: signal.signal(signal.SIGINT, heeded))
"""
    begins = LONG.replace('    (here / "began")', f'{indent(early, "    ")}    (here / "began")')
    write(tmp_path, {"long": begins} | GOOD)
    (tmp_path / "conftest.py").write_text(CONFTEST + "parallel.PATIENCE, parallel.TOLD = 0.1, 200")
    told = interrupt(tmp_path)
    assert b"KeyboardInterrupt" in told and (tmp_path / "left").exists()


def test_half_of_a_message_that_an_interrupt_left_is_no_reason_to_break(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parallel, "PATIENCE", 0.0)
    ours, theirs = Pipe()
    with ours:
        with theirs:
            assert not parallel.ends(ours)
            os.write(theirs.fileno(), b"\0\0\1\0and no more")
            assert not parallel.ends(ours)  # it may go on
            os.write(theirs.fileno(), b"\0\0\1\0and no more")
        assert parallel.ends(ours)
