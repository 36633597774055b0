"""What an errand comes to at the client, and who does it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

import pytest

from rshell.channels.files.progress import TransferTotals
from rshell.channels.shell.client import ShellLine
from rshell.channels.shell.errands.client import ErrandRunner, outcome, plan_errand
from rshell.channels.shell.messages import Errand
from rshell.errors import FileError, LinkLost, RemoteProtocolError, file_error
from tests.support.rows import row
from tests.support.session import until


def put(*files: str, recursive: bool = False) -> Errand:
    return Errand(1, "put", "/there", files, recursive=recursive)


def get(*files: str, directories: tuple[str, ...] = ()) -> Errand:
    return Errand(1, "get", "/there", files, directories, count=9, bytes=99)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a directory with files, which is the home directory as well."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("a.txt", "b.txt", ".c.txt", "odd*"):
        (tmp_path / name).write_text(name)
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "x").write_text("123")
    (tmp_path / "link").symlink_to("d/x")
    return tmp_path


def test_paths_of_ours_are_shown_as_what_they_are(home: Path) -> None:
    for errand, wanted, count in (
        (put("a.txt"), [("a.txt", "a.txt")], 1),
        (put("~/a.txt", f"{home}/d/../b.txt"), [("a.txt", "a.txt"), ("b.txt", "b.txt")], 2),
        (put("*.txt"), [("a.txt", "a.txt"), ("b.txt", "b.txt")], 2),
        (put(".*.txt", "odd*"), [(".c.txt", ".c.txt"), ("odd*", "odd*")], 2),
        (put("link"), [("d/x", "link")], 1),
        (put("d/", recursive=True), [("d", "d")], 1),
    ):
        with row(errand.files):
            plan = plan_errand(errand, str(home))
            shown = [(item.path, item.name) for item in plan.items]
            assert shown == [(f"{home}/{path}", name) for path, name in wanted]
            assert (plan.target, plan.count) == ("/there", count)
            assert [pin.path for pin in plan.pins.values()] == [item.path for item in plan.items]
    for errand in (
        put(), put("none"), put("*.none"), put("d"), put("/dev/null"), put("a.txt", "d/../a.txt"),
        put("none/*"), put("/", recursive=True),
    ):  # fmt: skip
        with row(errand.files), pytest.raises(FileError):
            plan_errand(errand, str(home))


def test_no_more_files_are_looked_at_than_anybody_would(tmp_path: Path) -> None:
    for number in range(1001):
        (tmp_path / f"{number}").touch()
    with pytest.raises(FileError, match="more than 1000"):
        plan_errand(put("*"), str(tmp_path))


def test_names_that_come_say_what_they_replace(home: Path) -> None:
    plan = plan_errand(get("/x/a.txt", "/x/new", directories=("/y/d",)), str(home))
    assert [(item.name, item.is_directory, item.replaces) for item in plan.items] == [
        ("a.txt", False, True), ("new", False, False), ("d", True, True),
    ]  # fmt: skip
    assert (plan.target, plan.count, plan.bytes) == (str(home), 9, 99)
    for errand in (get("/x/.."), get("/x/"), get("/x/a", "/y/a"), get("/")):
        with row(errand.files), pytest.raises(RemoteProtocolError):
            plan_errand(errand, str(home))


class Line:
    """Keeps how errands ended."""

    def __init__(self) -> None:
        self.ended: list[tuple[int, int, str]] = []

    def end_errand(self, number: int, status: int, reason: str = "") -> None:
        self.ended.append((number, status, reason))


async def test_one_errand_is_at_work_and_one_that_is_over_has_no_answer() -> None:
    line, cleaned = Line(), asyncio.Event()
    begun: list[int] = []

    async def serve(errand: Errand) -> tuple[int, str]:
        begun.append(errand.number)
        if errand.number == 1:
            try:
                await asyncio.Event().wait()
            finally:
                await cleaned.wait()
        if errand.number == 3:
            raise LinkLost("gone")
        return 0, ""

    runner = ErrandRunner(cast(ShellLine, line), serve)

    def ask(number: int) -> None:
        line.on_errand(put("a").replace(number=number))  # type: ignore[attr-defined]

    ask(1)
    await asyncio.sleep(0)
    ask(2)  # which is refused at once
    assert line.ended == [(2, 255, "this client does another errand")]
    line.on_errand_over(1)  # type: ignore[attr-defined]
    ask(3)  # and begins once the first has been given up
    await asyncio.sleep(0)
    assert begun == [1]
    cleaned.set()
    await until(lambda: len(line.ended) == 2)
    ask(4)
    await runner._tasks.join()
    assert begun == [1, 3, 4]
    assert line.ended[1:] == [(3, 255, "gone"), (4, 0, "")]
    await runner.close()


def test_what_failed_is_said_with_the_first_of_it() -> None:
    totals = TransferTotals()
    assert outcome(totals) == (0, "")
    totals.fail(file_error(28, "No space left on device", "a"))
    totals.fail(file_error(28, "No space left on device", "b"))
    assert outcome(totals) == (1, "a: No space left on device, and 1 more")
