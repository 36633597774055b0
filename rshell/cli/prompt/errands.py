"""rshell-get and rshell-put at the prompt: a person is asked each time, and then files travel.

A question has the terminal to itself: the command's output waits, the modes that programs have set
are undone meanwhile, and what the server wants to say is dropped, so that nothing can hide the
question or stand beneath it. Keys go to `AnswerKeys`; those that are no answer are the command's,
and it gets them afterwards.

While files travel the last line shows how far they are. Ctrl-C goes to the command as ever, and
stops them here at once.

The way out of a command that asks again and again: Ctrl-C is a no, and is the command's as well;
after two noes the rest of what the same command asks for is refused, and after "never" all is.

Hazard: a server may ask and take it back, as fast as it can. Each time is work here.
"""

from __future__ import annotations

import asyncio
from typing import TypeVar

from rshell.aio import first_of
from rshell.channels.files.progress import FileEvent, TransferTotals
from rshell.channels.shell.client import ShellLine
from rshell.channels.shell.errands.client import (
    DECLINED,
    ErrandPlan,
    ErrandRunner,
    look_at,
    outcome,
)
from rshell.channels.shell.messages import Errand
from rshell.cli.cp_options import CopyOptions
from rshell.cli.cp_progress import CopyProgress
from rshell.cli.prompt.passthrough import OutputPump, Passthrough
from rshell.cli.prompt.question import (
    INTERRUPTED,
    NEVER,
    YES,
    AnswerKeys,
    NameKeys,
    question,
    shown,
)
from rshell.cli.terminal import Terminal
from rshell.client.client import Client
from rshell.errors import FileError, RshellError
from rshell.terminal.output import printable

Keys = TypeVar("Keys", bound=AnswerKeys)

_NOES = 2  # after which nobody is asked for the same command any more
_TAKEN_BACK = 20  # questions in a row that had no answer, after which it is so, too
_NAMES = {"get": "rshell-get", "put": "rshell-put"}
_REFUSED = "the answer was no before, and nobody is asked again"
_STOPPED = "stopped; the same command goes on from here"


class Errands:
    """The errands of one session at the prompt, with the machine that people call `where`."""

    def __init__(
        self,
        client: Client,
        line: ShellLine,
        terminal: Terminal,
        pump: OutputPump,
        passthrough: Passthrough,
        where: str,
    ) -> None:
        self._client = client
        self._terminal = terminal
        self._pump = pump
        self._passthrough = passthrough
        self._where = where
        self._pause = client.links.limits.answer_pause
        self._asking: Asking | None = None
        self._noes = 0
        self._unanswered = 0  # of the last ones
        self._is_never = False
        self._runner = ErrandRunner(line, self._serve)
        passthrough.on_end = self.stop

    @property
    def is_asking(self) -> bool:
        """Whether a question is on the terminal."""
        return self._asking is not None

    def begin_anew(self) -> None:
        """Another command begins, whose questions have not been answered yet."""
        self._noes = self._unanswered = 0

    def stop(self) -> None:
        """Give up what is at work: its command has ended."""
        self._runner.stop()
        self._end_asking()

    async def close(self) -> None:
        """Give up what is at work, and wait for that."""
        self.stop()
        await self._runner.close()

    async def _serve(self, errand: Errand) -> tuple[int, str]:
        if not self._passthrough.is_running:
            return 255, "no command runs at the prompt"
        if self._is_never or self._noes >= _NOES or self._unanswered >= _TAKEN_BACK:
            return 1, _REFUSED
        self._unanswered += 1
        plan: ErrandPlan | None = None
        answer = YES
        if errand.verb == "put" and not errand.files:
            where = printable(self._where, limit=80)
            text = f"{where} asks for files of this machine. Which? "
            answer, keys = await self._ask(text, NameKeys)
            errand = errand.replace(files=keys.names, recursive=True)
        if answer == YES:
            plan, text = await self._question(errand)
            answer, _ = await self._ask(text, AnswerKeys)
        self._unanswered = 0
        if answer == YES and plan is not None:
            self._noes = 0
            return await self._transfer(plan)
        self._noes += 1
        self._is_never = answer == NEVER
        if self._is_never:
            self._say("nobody is asked for files any more in this session")
        elif self._noes == _NOES:
            self._say("what else this command asks for is refused")
        return (130, "") if answer == INTERRUPTED else (1, DECLINED)

    async def _question(self, errand: Errand) -> tuple[ErrandPlan | None, str]:
        """Return what is to be done, None if nothing can be, and what the person is to be told."""
        try:
            plan = await look_at(errand)
        except FileError as error:  # not told to the server: it could try names out
            what = f"{shown(str(error.filename))}: {printable(error.strerror or '')}"
            about = f"asks for {what}" if errand.verb == "put" else f"sends files, but {what}"
            where = printable(self._where, limit=80)
            return None, f"{where} {about}. Nothing can be done. [Enter] "
        text = question(plan, self._where, self._terminal.size, again=self._noes > 0)
        if text is None:
            where, many = printable(self._where, limit=80), len(plan.items)
            about = f"asks for {many} files, too many to be shown: use -r and a directory"
            return None, f"{where} {about}, or rshell-cp. Nothing is sent. [Enter] "
        return plan, text

    async def _ask(self, text: str, kind: type[Keys]) -> tuple[str, Keys]:
        await self._pump.hold()
        keys = kind(self._pause, asyncio.get_running_loop().time())
        self._asking = asking = Asking(text, self._terminal, self._passthrough, self._pump, keys)
        try:
            return await asking.answer, keys
        finally:
            self._end_asking()

    def _end_asking(self) -> None:
        asking, self._asking = self._asking, None
        if asking is not None:
            asking.end()

    def _say(self, text: str) -> None:
        self._terminal.say(text)

    async def _transfer(self, plan: ErrandPlan) -> tuple[int, str]:
        terminal, name = self._terminal, _NAMES[plan.verb]
        screen = _Screen(terminal)
        columns = 0 if terminal.is_dumb else max(terminal.size.columns, 20)
        progress = CopyProgress(CopyOptions(), screen, screen, columns=columns, name=name)
        interrupted, is_told = asyncio.Event(), False

        def tell(event: FileEvent) -> None:
            nonlocal is_told
            is_told = is_told or event.error is not None
            progress.tell(event)

        self._passthrough.on_interrupt = interrupted.set
        doing = self._client.run_errand(
            plan, progress=progress.look, on_event=tell, told_from=progress.told_from
        )
        try:
            _, totals = await first_of(interrupted.wait(), doing)
        except asyncio.CancelledError:
            progress.complain(_STOPPED)
            raise
        except RshellError as error:
            progress.complain(printable(str(error)))
            return 255, ""
        finally:
            self._passthrough.on_interrupt = lambda: None
            if terminal.modes.is_alternate:
                terminal.draw_again()  # over the lines above
        if not isinstance(totals, TransferTotals):
            progress.complain(_STOPPED)
            return 130, ""
        progress.finish(totals)
        status, reason = outcome(totals)
        return status, "" if is_told else reason


class Asking:
    """One question, on a terminal of which the command's output is held back, until `end`."""

    def __init__(
        self,
        text: str,
        terminal: Terminal,
        passthrough: Passthrough,
        pump: OutputPump,
        keys: AnswerKeys,
    ) -> None:
        self._keys = keys
        self._terminal = terminal
        self._passthrough = passthrough
        self._pump = pump
        self._loop = asyncio.get_running_loop()
        self.answer: asyncio.Future[str] = self._loop.create_future()
        self._is_alternate = terminal.modes.is_alternate
        self._modes = terminal.modes.restore()
        # The first ends what a program may have left open, such as a title that has no end.
        wiped = b"" if terminal.is_dumb else b"\x1b\\"
        wiped += terminal.undo() + terminal.begin_line()
        wiped += b"" if terminal.is_dumb else b"\x1b[J"
        terminal.output.say(wiped + text.encode(errors="backslashreplace"))
        terminal.expect_escape()
        passthrough.divert(self._hear)

    def _hear(self, keys: bytes) -> None:
        if self.answer.done():
            self._keys.kept += keys
            return
        answer, echo = self._keys.feed(keys, self._loop.time())
        if echo:
            self._terminal.output.say(echo.encode())
        if answer:
            self.answer.set_result(answer)

    def end(self) -> None:
        """Give the terminal back to the command."""
        terminal = self._terminal
        self.answer.cancel()
        terminal.output.say(b"\r\n" + self._modes)
        terminal.modes.feed(self._modes)
        terminal.modes.mid_line = False
        self._pump.release()
        if self._is_alternate:
            terminal.draw_again()
        self._passthrough.give_back_keys(bytes(self._keys.kept))


class _Screen:
    """The terminal in raw mode, as what writes lines takes it."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal

    def say(self, line: bytes) -> None:
        """Write a line, or a piece of one."""
        self._terminal.output.say(line.replace(b"\n", b"\r\n"))
