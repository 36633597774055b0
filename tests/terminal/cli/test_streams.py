"""Descriptors that are terminals."""

from __future__ import annotations

import os

from rshell.aio import timeout
from rshell.cli.streams import InputDescriptor
from rshell.terminal.pty import open_pty

DEADLINE = 30.0


async def test_a_terminal_that_has_gone_is_at_its_end_and_not_broken() -> None:
    master, slave = open_pty()
    try:
        source = InputDescriptor(slave)
        os.write(master, b"line\n")
        async with timeout(DEADLINE):
            assert await source.read() == b"line\n"
            os.close(master)
            assert [await source.read() for _ in range(2)] == [b"", b""]
            assert await InputDescriptor(slave).read() == b""  # it had gone before we came
    finally:
        os.close(slave)
