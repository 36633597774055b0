"""What the commands do on signals, and the signals that they were told to ignore.

Strategy: a handler is set for a stretch of the program and taken away after it, never where the
signal was ignored when this process began. `nohup` and `&` in a script start programs so, and
mean it: a closed terminal, or a Ctrl-C for the script, is not for them.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager


@contextmanager
def on_signals(handlers: Mapping[signal.Signals, Callable[[], object]]) -> Iterator[None]:
    """Call `handlers[signal]()` in the running loop whenever that signal comes.

    For the main thread. What is set again meanwhile, as by prompt_toolkit, is taken away as well.
    """
    loop = asyncio.get_running_loop()
    handled = [number for number in handlers if signal.getsignal(number) is not signal.SIG_IGN]
    try:
        for number in handled:
            loop.add_signal_handler(number, handlers[number])
        yield
    finally:
        for number in handled:
            loop.remove_signal_handler(number)
