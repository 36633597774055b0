"""`rshell-cp`: files and trees to another machine, from there, or between two.

Each machine that is named gets one session. What the server expands and what is compared is the
channel's business; here it is who sends to whom, what is said meanwhile, and the status.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from rshell.aio import Opening
from rshell.channels.files.progress import FileEvent, TransferTotals
from rshell.channels.files.rules import is_whole_directory
from rshell.cli.command import print_about, run_command, take_signals, tell_failure
from rshell.cli.cp_options import HELP, CopyOptions, Place, parse
from rshell.cli.cp_progress import CopyProgress, terminal_columns
from rshell.cli.report import tell_link
from rshell.cli.streams import InputDescriptor, Leaving, Left, OutputDescriptor, on_signals
from rshell.client.client import Client
from rshell.client.connect import connect
from rshell.errors import FileError, TransferFailed
from rshell.values import Limits

FAILED_STATUS = 1


def run(limits: Limits | None = None) -> None:
    """Run the command and exit with its status; without `limits` they are the usual ones."""
    run_command(main, limits)


def main(arguments: list[str], limits: Limits | None = None) -> int:
    """Run the command line and return the status, whatever goes wrong."""
    try:
        options = parse(arguments)
        if print_about(options.action, "rshell-cp", HELP):
            return 0
        return asyncio.run(_run(options, limits or Limits()))
    except (Exception, KeyboardInterrupt) as error:
        return tell_failure(error)


async def _run(options: CopyOptions, limits: Limits) -> int:
    stdout, stderr = OutputDescriptor(1), OutputDescriptor(2, is_optional=True)
    progress = CopyProgress(options, stdout, stderr, columns=terminal_columns())

    def show() -> None:
        progress.complain(progress.line())

    async with Leaving() as leaving:
        take_signals()
        with on_signals({signal.SIGUSR1: show}):
            try:
                copying = _Copying(options, limits, progress, stdout)
                status = await leaving.unless_left(copying.run())
                await stdout.drain()
                return status
            except Left as left:
                is_stdin = any(place.is_stdio for place in options.sources)
                goes_on = "" if is_stdin else "; the same command goes on from here"
                progress.complain(f"stopped{goes_on}")
                return left.status
            finally:
                await stderr.finish()


class _Copying:
    """One run of the command."""

    def __init__(
        self, options: CopyOptions, limits: Limits, progress: CopyProgress, stdout: OutputDescriptor
    ) -> None:
        self._options = options
        self._limits = limits
        self._progress = progress
        self._stdout = stdout
        self._clients: dict[str, Client] = {}
        self._totals = TransferTotals()
        self._told = False  # whether an error was

    async def run(self) -> int:
        """Copy everything; return the status. Raises RshellError for a machine out of reach."""
        options = self._options
        async with AsyncExitStack() as stack:
            hosts = {place.host for place in (*options.sources, options.target)} - {None}
            for host in sorted(map(str, hosts)):
                self._clients[host] = await stack.enter_async_context(self._connect(host))
            await self._copy()
        self._progress.finish(self._totals)
        return FAILED_STATUS if self._totals.failed else 0

    def _connect(self, host: str) -> Opening[Client]:
        options, limits = self._options, self._limits
        if options.resume_window is not None:
            limits = replace(limits, resume_window=options.resume_window)
        return connect(
            options.find(host),
            local=options.local,
            via=options.via,
            background=options.background,
            fingerprint=options.fingerprint,
            ca=options.ca,
            limits=limits,
        )

    async def _copy(self) -> None:
        options = self._options
        sources, target = options.sources, options.target
        if not options.quiet:
            for client in self._clients.values():
                tell_link(client, self._progress.complain, way_out=" (Ctrl-C stops)")
        for host in dict.fromkeys(place.host for place in sources):
            paths = [place.path for place in sources if place.host == host]
            self._announce(host, paths, target)
            self._told = False
            try:
                totals = await self._send(host, paths)
            except TransferFailed as failed:
                totals = failed.totals
            except FileError as error:
                totals = TransferTotals()
                totals.failed = 1
                if not self._told:
                    self._tell(FileEvent("failed", str(error.filename or target.path), error=error))
            self._totals.add(totals)

    async def _send(self, host: str | None, paths: list[str]) -> TransferTotals:
        options, target = self._options, self._options.target
        progress = self._progress
        how: dict[str, Any] = {
            "progress": progress.look,
            "on_event": self._tell,
            "told_from": progress.told_from,
        }
        chosen = vars(options.transfer)
        if host is None:
            there = self._clients[str(target.host)]
            if options.sources[0].is_stdio:
                return await there.put(_stdin(), target.path, **how)
            return await there.put(paths, target.path, **how, **chosen)
        here = self._clients[host]
        if target.is_stdio:
            return await self._to_stdout(here, paths[0])
        if target.host is None:
            return await here.get(paths, target.path, **how, **chosen)
        return await here.relay(paths, self._clients[target.host], target.path, **how, **chosen)

    async def _to_stdout(self, client: Client, path: str) -> TransferTotals:
        from rshell.channels.files.single import get_blocks

        totals = TransferTotals()
        async for block in get_blocks(client.files, path, totals):
            await self._stdout.write(block)
            self._progress.look(totals)
        await self._stdout.drain()
        return totals

    def _tell(self, event: FileEvent) -> None:
        self._told = self._told or event.error is not None
        self._progress.tell(event)

    def _announce(self, host: str | None, paths: list[str], target: Place) -> None:
        """Say which rule holds for directories, for --dry-run."""
        for path in paths if self._options.transfer.recursive else ():
            if is_whole_directory(path):
                self._progress.announce(f"what is in {path} goes into {target.path}")
            elif host is not None or Path(path).is_dir():
                name, guess = path.rpartition("/")[2], ", if it is a directory" if host else ""
                self._progress.announce(f"{path} becomes {target.path.rstrip('/')}/{name}{guess}")


async def _stdin() -> AsyncIterator[bytes]:
    source = InputDescriptor(0)
    while block := await source.read():
        yield block


if __name__ == "__main__":
    run()
