"""The interactive prompt: lines edited here, run there.

At first the terminal is the shell's: its startup files may ask, print and take their time, and a
shell that never says it has started keeps it. After that either prompt_toolkit has the terminal, or
the remote program; a command's output is written as it comes, and what the program left behind
(modes, a line without an end) is put right before the next prompt. A named shell was there before
us and goes on after us: what it printed meanwhile comes first, and a command that runs there gets
the terminal at once.

Hazard: keys that reached a program's terminal and were never read come back from the server.

Hazard: a server may have a lot to say. What waits to be said above the prompt is bounded, and what
comes on top of it is dropped.

Hazard: a task that fails here would leave a prompt behind that shows nothing any more. The failure
of what everything depends on (the copying of output) ends the prompt; any other is said, and the
prompt goes on.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from typing import TYPE_CHECKING, Any

from rshell.aio import Tasks
from rshell.channels.shell.client import ShellLine
from rshell.channels.shell.messages import ShellEnding
from rshell.cli.config import Config
from rshell.cli.options import Options
from rshell.cli.prompt.errands import Errands
from rshell.cli.prompt.look import Look, Status
from rshell.cli.prompt.passthrough import OutputPump, Passthrough
from rshell.cli.report import FAILED_STATUS, AnswerWatch, explain
from rshell.cli.streams import Left
from rshell.cli.terminal import Detached, Terminal, notice
from rshell.client.client import Client
from rshell.errors import ChannelReset, RshellError
from rshell.terminal.marks import MarkFilter, Marks, wants_marks

if TYPE_CHECKING:
    from rshell.cli.prompt.editor import Editor

_EXIT = r" \exit"  # whatever alias the user has of that name; a blank keeps it out of histories
_EXIT_OF_FISH = " exit"  # to which the backslash is an escape
_SAYINGS = 20  # that wait to be shown
_WAY_OUT = " (~. leaves)"


class Broken(Left):
    """The prompt can't go on, because of `error`."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(FAILED_STATUS)
        self.error = error


class Prompt:
    """One session at the prompt."""

    def __init__(
        self,
        client: Client,
        line: ShellLine,
        terminal: Terminal,
        editor_type: type[Editor],
        options: Options,
        config: Config,
    ) -> None:
        reply = line.reply
        self._client = client
        self._way_back = options.way_back
        self._line = line
        self._status = Status(
            user=reply.user,
            host=reply.host,
            home=reply.home,
            cwd=line.cwd,
            where=options.where,
            named=line.name,
            round_trip=client.round_trip,
        )
        self._terminal = terminal
        self._marks = Marks(
            on=config.marks and wants_marks(os.environ, is_dumb=terminal.is_dumb),
            vscode=os.environ.get("TERM_PROGRAM") == "vscode",
            host=reply.host,
        )
        self._look = Look(
            self._status,
            self._marks,
            lambda: terminal.size,
            is_own=(options.prompt or config.prompt) == "own",
            mode=config.editing_mode,
            is_dumb=terminal.is_dumb,
        )
        self._editor = editor_type(
            line,
            options.where,
            self._look.prompt,
            self._status.toolbar,
            right_prompt=self._look.right,
            mode=self._look.mode,
            is_dumb=terminal.is_dumb,
            up_searches=config.up_searches,
        )
        kept = 0 if line.found is None else line.found.kept
        self._theirs = MarkFilter() if self._marks.on else None
        self._pump = OutputPump(
            line.channel.stream(1), terminal, self._show_above, again=kept, marks=self._theirs
        )
        editor = self._editor
        self._passthrough = Passthrough(
            line, terminal, self._pump, editor.type_ahead, editor.insert
        )
        self._errands = Errands(
            client, line, terminal, self._pump, self._passthrough, options.where
        )
        self._loop = asyncio.get_running_loop()
        self._watching = Tasks(self._give_up)
        self._watching.own(self._watch_line())
        self._pump.on_failure = self._give_up
        self._ticks: asyncio.TimerHandle | None = None
        self._notices = Tasks(self._give_up)
        self._sayings: deque[str] = deque()  # that are not on the screen yet
        self._is_saying = False
        self._farewell = ""  # what to say when the terminal is put right
        self._is_told_cut = False  # while a command waits, which hides the toolbar
        self._outer_handler = self._loop.get_exception_handler()
        self._loop.set_exception_handler(self._unforeseen)
        client.links.on_change = self._on_link
        self._answers = AnswerWatch(client, self._say_to_command, way_out=_WAY_OUT)
        terminal.on_resize = line.resize
        terminal.on_return = self._draw_again
        terminal.on_leave = self._editor.interrupt
        line.on_restart = lambda done: self._say_above(_restarted(done))  # no command ran
        line.on_notice = self._hear_notice
        line.on_prompt = self._show_prompt

    async def run(self, trouble: str = "") -> int:
        """Read and run commands until the user leaves; return the status to exit with.

        `trouble` is said before the first prompt.
        """
        self._terminal.put(self._marks.begin())
        try:
            done = await self._begin()
            if self._editor.trouble:
                self._notify(f"no history is kept: {self._editor.trouble}")
            if trouble:
                self._notify(trouble)
            while done is None or not done.left:
                done = await self._turn()
            return done.status.shell_status
        except Detached as left:
            name = self._line.name
            self._farewell = f"detached from {name}; rshell {self._way_back} -S {name} comes back"
            return left.status
        except Broken as broken:
            raise broken.error from None
        except Left as left:
            return left.status
        except ChannelReset as error:
            if error.code != "moved":
                raise
            self._farewell = error.reason
            return 0

    async def close(self) -> None:
        """Give back what the prompt took."""
        self._client.links.on_change = lambda: None
        self._loop.set_exception_handler(self._outer_handler)
        self._answers.stop()
        await self._errands.close()
        if self._ticks is not None:
            self._ticks.cancel()
        for tasks in (self._notices, self._watching):
            tasks.cancel()
            await tasks.join()
        await self._editor.close()
        await self._pump.close(finish=self._line.channel.is_over)
        self._line.close(self._pump.shown)
        farewell = notice(self._farewell) if self._farewell else b""
        self._terminal.farewell = self._terminal.tidy() + self._marks.end() + farewell

    async def _begin(self) -> ShellEnding | None:
        """Show what comes before the first prompt; return the ending of what ran there, if any."""
        if self._line.notice:
            self._hear_notice(self._line.notice)
        found = self._line.found
        if found is None or not found.attached:
            if self._line.is_starting:
                return await self._follow_start()
            return await self._passthrough.run(":")  # which the rc file's output comes before
        terminal = self._terminal
        first = notice(f"attached to {self._line.name}", is_faint=True)
        if found.dropped:
            first += notice(f"{found.dropped} bytes before this were dropped")
        terminal.modes.feed(found.modes.encode())
        terminal.put(first + found.modes.encode())
        terminal.check_size()  # since we asked for the size
        if self._line.is_starting:
            return await self._follow_start()
        if found.running is not None:
            terminal.put(self._marks.command())
            return self._note(await self._passthrough.follow())
        await self._passthrough.show(found.kept)
        if found.last is not None:
            self._note(found.last)
        return None

    async def _follow_start(self) -> ShellEnding:
        """Leave the terminal to the shell until its startup files have run."""
        done = await self._passthrough.follow()
        self._status.cwd = done.cwd
        if done.left and done.status.shell_status and not done.stdout:
            self._farewell = f"the shell {done.status} as soon as it was started"
        return done

    async def _turn(self) -> ShellEnding | None:
        """Read a command and run it; return its ending, None where there was no command."""
        self._tidy()
        last = self._status.last
        self._terminal.put(self._marks.done(None if last is None else last.status.shell_status))
        try:
            command = await self._next_command()
        except KeyboardInterrupt:
            return None
        except EOFError:
            is_fish = self._line.program.endswith("fish")
            command = _EXIT_OF_FISH if is_fish else _EXIT
        if not command.strip():
            return None
        self._terminal.check_size()
        self._answers.begin_anew()
        self._errands.begin_anew()
        self._tell_cut()
        self._terminal.put(self._marks.command())
        try:
            return self._note(await self._passthrough.run(command))
        except ValueError as error:  # it is too long, or holds a NUL
            self._notify(str(error))
            return None

    async def _next_command(self) -> str:
        self._terminal.check_size()
        self._raise_if_over()
        self._look.show(self._line.prompt)
        self._terminal.put(self._marks.at_prompt(self._status.cwd, self._title()))
        try:
            return await self._editor.read()
        finally:
            self._terminal.take_back()

    def _title(self) -> str | None:
        """Return the window's title; one that the shell's hooks or a program have set stays."""
        if self._theirs is not None and self._theirs.saw_title:
            self._theirs.saw_title = False
            return None
        return self._look.title()

    def _show_prompt(self) -> None:
        """Show the shell's prompt where it has changed while no command runs."""
        if not self._pump.has_terminal:
            self._look.show(self._line.prompt)
            self._editor.refresh()

    def _note(self, done: ShellEnding) -> ShellEnding:
        self._status.last = done
        self._status.cwd = done.cwd
        self._status.round_trip = self._client.round_trip
        if done.restarted:
            self._notify(_restarted(done))
        return done

    def _tidy(self) -> None:
        self._terminal.check_size()
        self._terminal.put(self._terminal.tidy())

    def _notify(self, text: str) -> None:
        self._tidy()
        self._terminal.put(notice(text))

    async def _show_above(self, block: bytes) -> None:
        """A background job printed while the prompt is on the screen."""
        terminal = self._terminal
        await self._editor.show_above(
            lambda: terminal.put(block + terminal.undo() + terminal.begin_line())
        )

    def _hear_notice(self, text: str) -> None:
        """Say what the server says, but not on the screen of a program that starts there."""
        if not (self._line.is_starting or self._pump.has_terminal):
            self._say_above(text)
        elif not (self._terminal.modes.is_alternate or self._errands.is_asking):
            self._terminal.say(text, is_faint=True)
            self._terminal.draw_again()

    def _say_above(self, text: str) -> None:
        """Say something above the prompt, or on a line of its own where a command runs."""
        if self._pump.has_terminal:
            self._terminal.say(text)
        elif len(self._sayings) < _SAYINGS:
            self._sayings.append(text)
            # Not `if not self._notices`: a task that has shown all is in there for a moment longer.
            if not self._is_saying:
                self._is_saying = True
                self._notices.own(self._say_all())

    async def _say_all(self) -> None:
        try:
            while self._sayings:
                await self._editor.show_above(self._say_what_waits)
        finally:
            self._is_saying = False

    def _say_what_waits(self) -> None:
        said = b"".join(map(notice, self._sayings))
        self._sayings.clear()
        self._terminal.put(said)

    # What nobody foresaw.

    def _give_up(self, error: BaseException) -> None:
        """End the prompt with the failure of what it can't do without."""
        self._terminal.leave(Broken(error))

    def _unforeseen(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Say what failed in the loop, in the line editor as a rule; the prompt goes on."""
        error = context.get("exception")
        self._say_above(explain(error) if error is not None else str(context["message"]))

    def _draw_again(self) -> None:
        """Draw the prompt, or have the program draw itself, on what others did to the screen."""
        self._editor.draw_again()
        if self._pump.has_terminal:
            self._terminal.draw_again()

    def _say_to_command(self, text: str) -> None:
        """Say something of the link to somebody who waits for a command, and has no toolbar."""
        if self._pump.has_terminal:
            self._terminal.say(text)
            self._terminal.draw_again()  # over it, once the link is well again

    def _tell_cut(self) -> None:
        """Say, once, that the link is down; nothing where it is not."""
        if not self._client.links.is_up and not self._is_told_cut:
            self._is_told_cut = True
            say = self._terminal.say if self._pump.has_terminal else self._notify
            say(f"the link was cut; trying to come back{_WAY_OUT}")

    async def _watch_line(self) -> None:
        """End the prompt when the session ends under it."""
        await self._line.channel.wait_closed()
        try:
            self._raise_if_over()
        except RshellError as error:
            self._editor.interrupt(error)

    def _raise_if_over(self) -> None:
        self._terminal.raise_if_left()
        if self._line.channel.is_over:
            raise self._line.cause

    def _on_link(self) -> None:
        """The link was cut, or is back: the toolbar counts meanwhile, or a line says so."""
        links = self._client.links
        if self._ticks is not None:
            self._ticks.cancel()
            self._ticks = None
        if links.is_up:
            self._status.cut_for = None
            if self._is_told_cut:
                self._is_told_cut = False
                self._say_to_command("the link is back")
        elif not self._client.is_closed:
            if self._pump.has_terminal:
                self._tell_cut()
            self._status.cut_for = self._loop.time() - links.lost_at
            self._ticks = self._loop.call_later(1.0, self._on_link)
        self._editor.refresh()


def _restarted(done: ShellEnding) -> str:
    return f"the shell {done.status}; a new one runs here"
