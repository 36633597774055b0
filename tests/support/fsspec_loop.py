"""fsspec's event loop and its thread, which otherwise stay until the program ends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def fsspec_loop() -> Iterator[None]:
    """Let fsspec have a loop that ends with the block."""
    import fsspec.asyn

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="fsspec's loop")
    thread.start()
    assert fsspec.asyn.loop[0] is None
    fsspec.asyn.loop[0] = loop
    try:
        yield
    finally:
        fsspec.asyn.loop[0] = None
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
