"""Our own descriptors: what is told is dropped where it can't be written, and decides nothing."""

from __future__ import annotations

import os

from rshell.cli.standard import tell


def test_a_message_that_can_not_be_written_is_dropped_at_once_and_raises_nothing() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    unread, stalled = os.pipe()
    read, gone = os.pipe()
    os.close(read)
    try:
        assert tell("first", stalled) and os.read(unread, 100) == b"first\n"
        while tell("x" * 4000, stalled):
            pass  # would wait for ever here if it waited
        assert not tell("y", stalled)
        for fd in (full, gone, 10**6):
            assert not tell("nobody hears this", fd)
        os.read(unread, 1 << 20)
        assert tell("\udcff and later", stalled)
        assert os.read(unread, 100) == b"\\udcff and later\n"
    finally:
        for fd in (full, unread, stalled, gone):
            os.close(fd)
