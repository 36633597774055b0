"""The client's side of errands: what exactly is asked for, so that it can be shown, and doing it.

What is done is what was shown and nothing else: of one's own files the very ones that were looked
at (`Pin`), and of the server's those whose names were shown, which is for the receiver to see to.

Hazard: a server may ask for anything. That a file is not here is no answer either: whoever owns the
errand asks the person in any case, and says no.

Hazard: a server may ask again while the last errand is being given up, or for many at once. One is
at work; what comes meanwhile is refused, unless the one before it was called off.

Hazard: a server's own words about its files (sizes, how many) may be lies.
"""

from __future__ import annotations

import asyncio
import errno
import fnmatch
import glob
import os
import stat
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from rshell.aio import Tasks, in_thread
from rshell.channels.files.client import NOBODY, Told, get_files, put_files
from rshell.channels.files.messages import TransferOptions
from rshell.channels.files.progress import TransferTotals
from rshell.channels.files.reading import Pin
from rshell.channels.shell.errands.wish import count_trees, named_place
from rshell.channels.shell.messages import Errand
from rshell.errors import (
    FileError,
    RemoteProtocolError,
    RshellError,
    TransferFailed,
    file_error,
)
from rshell.transport.live_session import LiveSession
from rshell.values import frozen

if TYPE_CHECKING:
    from rshell.channels.shell.client import ShellLine

DECLINED = "the answer was no"
_MOST = 1000  # files of ours in one errand; nobody looks at so many


@frozen
class ErrandItem:
    """A file or directory of an errand: its `path` where it comes from, `name` where it goes to.

    `replaces` says that something of ours has that name.
    """

    path: str
    name: str
    is_directory: bool
    replaces: bool = False


@frozen
class ErrandPlan:
    """What an errand comes to, as a person is to be shown it.

    `verb` is "get" for files that come here and "put" for ours that go there; `items` are all that
    is named, and `target` the directory they go into. There are `count` files of `bytes` in all,
    and `more` where not all were counted.
    """

    verb: str
    items: tuple[ErrandItem, ...]
    target: str
    count: int
    bytes: int
    more: bool
    pins: Mapping[str, Pin]


Agree = Callable[[ErrandPlan], Awaitable[bool]]


def plan_errand(errand: Errand, cwd: str) -> ErrandPlan:
    """Find out what an errand means, by a look at the disk, which takes a while.

    Raises FileError where there is no such file here, or none is named, and RemoteProtocolError for
    an errand that makes no sense.
    """
    return _plan_get(errand, cwd) if errand.verb == "get" else _plan_put(errand, cwd)


def _plan_get(errand: Errand, cwd: str) -> ErrandPlan:
    items = []
    for paths, is_directory in ((errand.files, False), (errand.directories, True)):
        for path in paths:
            name = os.path.basename(path)
            if name in ("", ".", ".."):
                raise RemoteProtocolError("an errand is about something that has no name")
            items.append(ErrandItem(path, name, is_directory, os.path.lexists(f"{cwd}/{name}")))
    if len({item.name for item in items}) < len(items):
        raise RemoteProtocolError("two files of an errand have one name")
    return ErrandPlan("get", tuple(items), cwd, errand.count, errand.bytes, errand.more, pins={})


def _plan_put(errand: Errand, cwd: str) -> ErrandPlan:
    items: list[ErrandItem] = []
    pins: dict[str, Pin] = {}
    trees: list[str] = []
    count = size = 0
    for typed in errand.files:
        for place in _expand(typed, cwd):
            real = os.path.realpath(place)
            try:
                found = os.stat(real)
            except OSError as error:
                raise file_error(error.errno or 0, error.strerror or "", place) from error
            is_directory = stat.S_ISDIR(found.st_mode)
            if is_directory and not errand.recursive:
                raise file_error(errno.EISDIR, "it is a directory; those need -r", place)
            if not is_directory and not stat.S_ISREG(found.st_mode):
                raise file_error(errno.EINVAL, "it is no file or directory", place)
            item = ErrandItem(real, os.path.basename(place), is_directory)
            if not item.name or item.name in {other.name for other in items}:
                raise file_error(errno.EEXIST, "it has no name, or that of another one", place)
            items.append(item)
            pins[place] = Pin(real, found.st_dev, found.st_ino)
            if is_directory:
                trees.append(real)
            else:
                count, size = count + 1, size + found.st_size
            if len(items) > _MOST:
                raise file_error(errno.E2BIG, f"more than {_MOST} files are too many", typed)
    if not items:
        raise file_error(errno.ENOENT, "no file is named", cwd)
    inside, held, more = count_trees(trees)
    return ErrandPlan("put", tuple(items), errand.cwd, count + inside, size + held, more, pins)


def _expand(typed: str, cwd: str) -> list[str]:
    """Return the paths that a path as it was typed stands for. Raises FileError.

    Only the last part can be a pattern: all of a disk is not looked through for anybody.
    """
    if typed == "~" or typed.startswith("~/"):
        typed = os.path.expanduser(typed)
    place = named_place(os.path.join(cwd, typed))
    before, name = os.path.split(place)
    if not glob.has_magic(name) or os.path.lexists(place):
        return [place]
    try:
        names = sorted(os.listdir(before))
    except OSError as error:
        raise file_error(error.errno or 0, error.strerror or "", before) from error
    hidden = name.startswith(".")
    fitting = [each for each in fnmatch.filter(names, name) if hidden or not each.startswith(".")]
    if not fitting:
        raise file_error(errno.ENOENT, "no name fits", place)
    return [os.path.join(before, each) for each in fitting]


class ErrandRunner:
    """Does what commands at the other end of `line` ask for, one errand at a time, as `serve` says.

    That returns the outcome, a status and a sentence, which may be "". It is cancelled when nobody
    waits for the errand any more, and by `stop`.
    """

    def __init__(
        self, line: ShellLine, serve: Callable[[Errand], Awaitable[tuple[int, str]]]
    ) -> None:
        self._line = line
        self._serve = serve
        self._tasks = Tasks()
        self._turn = asyncio.Lock()
        self._number = 0  # of the errand at work, 0 for none
        line.on_errand = self._take
        line.on_errand_over = self._give_up

    def stop(self) -> None:
        """Give up what is at work."""
        self._give_up(self._number)

    async def close(self) -> None:
        """Give up what is at work, and wait for that."""
        self.stop()
        await self._tasks.join()

    def _give_up(self, number: int) -> None:
        if number == self._number != 0:
            self._number = 0
            self._tasks.cancel()

    def _take(self, errand: Errand) -> None:
        if self._number:
            self._line.end_errand(errand.number, 255, "this client does another errand")
            return
        self._number = errand.number
        self._tasks.own(self._run(errand))

    async def _run(self, errand: Errand) -> None:
        try:
            async with self._turn:  # after one that is being given up
                status, reason = await self._serve(errand)
        except RshellError as error:
            status, reason = 255, str(error)
        except Exception as error:
            status, reason = 255, f"the client failed: {type(error).__name__}"
            raise
        finally:
            if self._number == errand.number:
                self._number = 0
                self._line.end_errand(errand.number, status, reason)


def take_errands(live: LiveSession, line: ShellLine, agree: Agree) -> ErrandRunner:
    """Do the errands of a line to which `agree(plan)` returns True, for a program."""

    async def serve(errand: Errand) -> tuple[int, str]:
        try:
            plan = await look_at(errand)
        except FileError:
            return 1, DECLINED
        if not await agree(plan):
            return 1, DECLINED
        return outcome(await run_errand(live, plan))

    return ErrandRunner(line, serve)


async def look_at(errand: Errand) -> ErrandPlan:
    """Return what an errand means in the present directory. Raises as `plan_errand` does."""

    def look() -> ErrandPlan:
        try:
            cwd = os.getcwd()
        except OSError as error:
            raise file_error(error.errno or 0, error.strerror or "", ".") from error
        return plan_errand(errand, cwd)

    return await asyncio.wrap_future(in_thread(look, "looking at files"))


def outcome(totals: TransferTotals) -> tuple[int, str]:
    """Return the status and the sentence for what was done."""
    if not totals.failed:
        return 0, ""
    first = totals.failures[0]
    more = f", and {totals.failed - 1} more" if totals.failed > 1 else ""
    return 1, f"{first.filename}: {first.strerror}{more}"


async def run_errand(
    live: LiveSession,
    plan: ErrandPlan,
    told: Told = NOBODY,
) -> TransferTotals:
    """Do what a person has said yes to, and return what was done, failures included.

    Raises what ends the session, ChannelRefused, and RemoteProtocolError for a server that does
    something else. Cancelling leaves what the same errand takes up again.
    """
    totals = TransferTotals()
    if plan.verb == "put":
        recursive = any(item.is_directory for item in plan.items)
        options = TransferOptions(recursive=recursive)
        target, sources = f"{plan.target.rstrip('/')}/", tuple(plan.pins)
        await _add(totals, put_files(live, sources, target, options, told, plan.pins))
        return totals
    # Files and directories apart: a link that was named stands for its file.
    for is_directory in (False, True):
        chosen = [item for item in plan.items if item.is_directory is is_directory]
        if chosen:
            kind = b"d" if is_directory else b"f"
            agreed = {os.fsencode(item.name): kind for item in chosen}
            options = TransferOptions(recursive=is_directory)
            paths = [item.path for item in chosen]
            await _add(
                totals,
                get_files(live, paths, f"{plan.target}/", options, told, agreed),
            )
    return totals


async def _add(totals: TransferTotals, transfer: Awaitable[TransferTotals]) -> None:
    """Add what a transfer has done, or what has failed."""
    try:
        totals.add(await transfer)
    except TransferFailed as failed:
        totals.add(failed.totals)
    except FileError as error:
        totals.fail(error)
