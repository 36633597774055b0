"""The interactive prompt: lines edited here, run there.

Either prompt_toolkit has the terminal, or the remote program; a command's output is written as it
comes, and what the program left behind (modes, a line without an end) is put right before the next
prompt. A named shell was there before us and goes on after us: what it printed meanwhile comes
first, and a command that runs there gets the terminal at once.

Loading prompt_toolkit is a few hundred milliseconds of work, a login and the start of a shell about
as much waiting, more the farther the server is. So a thread loads while the loop waits. Nobody
waits for the thread, and what goes wrong meanwhile is said at once. It is a daemon, for the same
reason, and holds nothing that would have to be released.

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
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from rshell.aio import Tasks, in_thread
from rshell.channels.shell.client import ShellLine
from rshell.channels.shell.messages import ShellEnding
from rshell.cli.answers import AnswerWatch
from rshell.cli.config import Config, load_config
from rshell.cli.prompt.passthrough import OutputPump, Passthrough
from rshell.cli.prompt.status import Status
from rshell.cli.report import FAILED_STATUS, explain
from rshell.cli.streams import Left
from rshell.cli.terminal import Detached, Terminal, notice
from rshell.client.client import Client
from rshell.errors import (
    ChannelReset,
    ConfigurationError,
    LinkLost,
    ResumeFailed,
    RshellError,
    SessionClosed,
)
from rshell.execution.inheritance import given_environment

if TYPE_CHECKING:
    from rshell.cli.prompt.editor import Editor

_EXIT = r"\exit"  # whatever alias the user has of that name
_SAYINGS = 20  # that wait to be shown
_WAY_OUT = " (~. leaves)"
_PASSED_ON = ("COLORTERM", "LANG", "LC_ALL", "LC_CTYPE")


def load_editor() -> Future[type[Editor]]:
    """Begin to load the editor, in a thread."""

    def load() -> type[Editor]:
        from rshell.cli.prompt.editor import Editor

        return Editor

    return in_thread(load, "loading the editor")


async def run_prompt(client: Client, where: str, name: str, loading: Future[type[Editor]]) -> int:
    """Run the prompt until the user leaves; return the status to exit with.

    With a `name`, not "", it is in the named shell of that name, which is made or attached to.
    Raises what cuts the session short; the terminal is as it was found then, too.
    """
    ours = given_environment(os.environ)
    env = {name: ours[name] for name in _PASSED_ON if name in ours}
    term = os.environ.get("TERM", "dumb")
    terminal = Terminal(detaches=bool(name))
    try:
        async with client.open_line(terminal.size, term=term, env=env, name=name or None) as line:
            editor_type = await asyncio.wrap_future(loading)
            async with terminal:
                prompt = Prompt(client, line, terminal, editor_type, where)
                try:
                    return await prompt.run()
                finally:
                    await prompt.close()
    except (ResumeFailed, LinkLost) as error:
        if not name:
            raise
        raise SessionClosed(error.code, _lost(error, where, name), by=error.by) from error


def _lost(error: SessionClosed, where: str, name: str) -> str:
    """Return what the loss of our session means for a named shell."""
    way_back = f"rshell {where} -S {name} comes back"
    if isinstance(error, ResumeFailed):
        return (
            "the server does not know this client any more. "
            f"If it was started anew, {name} ended with it; else {way_back}"
        )
    return f"{error.reason}. If the server still runs, so does {name}, and {way_back}"


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
        where: str,
    ) -> None:
        reply = line.reply
        self._client = client
        self._line = line
        self._status = Status(
            user=reply.user,
            host=reply.host,
            home=reply.home,
            cwd=line.cwd,
            where=where,
            named=line.name,
            round_trip=client.round_trip,
        )
        self._terminal = terminal
        config, self._config_trouble = Config(), ""
        try:
            config = load_config()
        except ConfigurationError as error:
            self._config_trouble = str(error)
        self._editor = editor_type(
            line,
            where,
            self._status.prompt,
            self._status.toolbar,
            is_vi=config.editing_mode == "vi",
            is_dumb=terminal.is_dumb,
        )
        kept = 0 if line.found is None else line.found.kept
        self._pump = OutputPump(line.channel.stream(1), terminal, self._show_above, again=kept)
        editor = self._editor
        self._passthrough = Passthrough(
            line, terminal, self._pump, editor.type_ahead, editor.insert
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
        line.on_notice = self._say_above

    async def run(self) -> int:
        """Read and run commands until the user leaves; return the status to exit with."""
        try:
            done = await self._begin()
            if self._editor.trouble:
                self._notify(f"no history is kept: {self._editor.trouble}")
            if self._config_trouble:
                self._notify(f"the config file does not count: {self._config_trouble}")
            while done is None or not done.left:
                done = await self._turn()
            return done.status.shell_status
        except Detached as left:
            name = self._line.name
            self._farewell = (
                f"detached from {name}; rshell {self._status.where} -S {name} comes back"
            )
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
        if self._ticks is not None:
            self._ticks.cancel()
        for tasks in (self._notices, self._watching):
            tasks.cancel()
            await tasks.join()
        await self._editor.close()
        await self._pump.close(finish=self._line.channel.is_over)
        self._line.close(self._pump.shown)
        farewell = notice(self._farewell) if self._farewell else b""
        self._terminal.farewell = self._terminal.tidy() + farewell

    async def _begin(self) -> ShellEnding | None:
        """Show what comes before the first prompt; return the ending of what ran there, if any."""
        found = self._line.found
        if found is None or not found.attached:
            return await self._passthrough.run(":")  # which the rc file's output comes before
        terminal = self._terminal
        first = notice(f"attached to {self._line.name}", is_faint=True)
        if found.dropped:
            first += notice(f"{found.dropped} bytes before this were dropped")
        terminal.modes.feed(found.modes.encode())
        terminal.put(first + found.modes.encode())
        terminal.check_size()  # since we asked for the size
        if found.running is not None:
            return self._note(await self._passthrough.follow())
        await self._passthrough.show(found.kept)
        if found.last is not None:
            self._note(found.last)
        return None

    async def _turn(self) -> ShellEnding | None:
        """Read a command and run it; return its ending, None where there was no command."""
        self._tidy()
        try:
            command = await self._next_command()
        except KeyboardInterrupt:
            return None
        except EOFError:
            command = _EXIT
        if not command.strip():
            return None
        self._terminal.check_size()
        self._answers.begin_anew()
        self._tell_cut()
        try:
            return self._note(await self._passthrough.run(command))
        except ValueError as error:  # it is too long, or holds a NUL
            self._notify(str(error))
            return None

    async def _next_command(self) -> str:
        self._terminal.check_size()
        self._raise_if_over()
        try:
            return await self._editor.read()
        finally:
            self._terminal.take_back()

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
