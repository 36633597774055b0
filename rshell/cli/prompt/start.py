"""The way to a prompt: the server is asked for a shell while prompt_toolkit is loaded.

Strategy: loading it is a few hundred milliseconds of work, a login and the start of a shell
about as much waiting, more the farther the server is. So a thread loads while the loop waits.

Hazard: nobody waits for the thread, so that what goes wrong meanwhile is said at once. It is a
daemon, for the same reason, and holds nothing that would have to be released.
"""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING

from rshell.cli.signals import on_signals
from rshell.client.client import Client
from rshell.errors import LinkLost, ResumeFailed, SessionClosed
from rshell.terminal.pty import get_size
from rshell.terminal.raw import raw_mode

if TYPE_CHECKING:
    from rshell.cli.prompt.app import Prompt

_TERMINAL = 0
_PASSED_ON = ("COLORTERM", "LANG", "LC_ALL", "LC_CTYPE")


def load_prompt() -> Future[type[Prompt]]:
    """Begin to load the prompt, in a thread."""
    loaded: Future[type[Prompt]] = Future()
    loaded.set_running_or_notify_cancel()  # whoever waits for it may give up; the thread does not

    def load() -> None:
        try:
            from rshell.cli.prompt.app import Prompt
        except BaseException as error:  # it belongs to whoever asks for the result
            loaded.set_exception(error)
        else:
            loaded.set_result(Prompt)

    threading.Thread(target=load, name="loading the prompt", daemon=True).start()
    return loaded


async def run_prompt(client: Client, where: str, name: str, loading: Future[type[Prompt]]) -> int:
    """Run the prompt until the user leaves; return the status to exit with.

    With a `name`, not "", it is in the named shell of that name, which is made or attached to.
    Raises what cuts the session short; the terminal is as it was found then, too.
    """
    env = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    term = os.environ.get("TERM", "dumb")
    size = get_size(_TERMINAL)
    try:
        async with client.open_line(size, term=term, env=env, name=name or None) as line:
            prompt_type = await asyncio.wrap_future(loading)
            with raw_mode(_TERMINAL):
                prompt = prompt_type(client, line, where, size)
                with on_signals(prompt.handlers):
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
