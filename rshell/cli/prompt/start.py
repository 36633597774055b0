"""The start of the prompt: the editor is loaded, the shell opened, the terminal taken.

Loading prompt_toolkit is a few hundred milliseconds of work, a login and the start of a shell about
as much waiting, more the farther the server is. So a thread loads while the loop waits. Nobody
waits for the thread, and what goes wrong meanwhile is said at once. It is a daemon, for the same
reason, and holds nothing that would have to be released.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING

from rshell.aio import in_thread
from rshell.cli.config import Config, load_config
from rshell.cli.options import Options
from rshell.cli.prompt.app import Prompt
from rshell.cli.terminal import Terminal
from rshell.client.client import Client
from rshell.errors import ConfigurationError, LinkLost, ResumeFailed, SessionClosed
from rshell.execution.inheritance import given_environment

if TYPE_CHECKING:
    from rshell.cli.prompt.editor import Editor

_PASSED_ON = ("COLORTERM", "LANG", "TERM_PROGRAM", "TERM_PROGRAM_VERSION")


def load_editor() -> Future[type[Editor]]:
    """Begin to load the editor, in a thread."""

    def load() -> type[Editor]:
        from rshell.cli.prompt.editor import Editor

        return Editor

    return in_thread(load, "loading the editor")


async def run_prompt(client: Client, options: Options, loading: Future[type[Editor]]) -> int:
    """Run the prompt until the user leaves; return the status to exit with.

    Where `options` name a shell, it is in that one, which is made or attached to. Raises what cuts
    the session short; the terminal is as it was found then, too.
    """
    name = options.attaches_to
    terminal = Terminal(detaches=bool(name))
    config, trouble = Config(), ""
    try:
        config = load_config()
    except ConfigurationError as error:
        trouble = f"the config file does not count: {error}"
    try:
        async with client.open_line(
            terminal.size,
            term=os.environ.get("TERM", "dumb"),
            env=passed_on(given_environment(os.environ)),
            name=name or None,
            login=not options.no_login,
            errands=True,
        ) as line:
            editor_type = await asyncio.wrap_future(loading)
            async with terminal:
                prompt = Prompt(client, line, terminal, editor_type, options, config)
                try:
                    return await prompt.run(trouble)
                finally:
                    await prompt.close()
    except (ResumeFailed, LinkLost) as error:
        if not name:
            raise
        raise SessionClosed(
            error.code, _lost(error, options.way_back, name), by=error.by
        ) from error


def passed_on(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what of our environment the shell gets: languages, and what our terminal can do."""
    return {
        name: value
        for name, value in environment.items()
        if name in _PASSED_ON or name.startswith("LC_")
    }


def _lost(error: SessionClosed, where: str, name: str) -> str:
    """Return what the loss of our session means for a named shell."""
    way_back = f"rshell {where} -S {name} comes back"
    if isinstance(error, ResumeFailed):
        return (
            "the server does not know this client any more. "
            f"If it was started anew, {name} ended with it; else {way_back}"
        )
    return f"{error.reason}. If the server still runs, so does {name}, and {way_back}"
