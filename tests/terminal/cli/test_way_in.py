"""A person at a terminal, on a machine where nothing is installed."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

import rshell
from rshell.client.reach import look_after
from rshell.reach.ways import Way
from rshell.values import Bounds
from tests.support.commands import Terminal, argv
from tests.support.containers import Machine

SIZE = rshell.TerminalSize(80, 20)
PAINTS = "printf '\\033[?1049h\\033[HPAINTED'; read key; printf '\\033[?1049l'; echo key $key"


def test_a_client_that_is_killed_in_a_full_screen_program_comes_back_by_another_way_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = None
    try:
        machine = Machine(tmp_path / "far")
        machine.start("web")
    except OSError as error:
        if machine is not None:
            machine.close()
        pytest.skip(str(error))
    try:
        monkeypatch.setenv("PATH", f"{machine.bin}:{os.environ['PATH']}")
        way = Way.parse("docker://web")
        assert way is not None
        command = argv("rshell", "docker://web", "-S", "work")
        with Terminal(command, SIZE) as person:
            person.expect(b" $")
            person.type(PAINTS.encode() + b"\r")
            person.expect(b"\x1b[HPAINTED")
            person.popen.kill()
        with Terminal(command, SIZE) as person:
            person.expect(b"PAINTED")
            person.type(b"pressed\r")
            person.expect(b"key pressed")
            person.type(b"exit\r")
            person.wait()
        found = asyncio.run(look_after(way, "stop", Bounds()))
        assert len(found["stopped"]) == 1
        assert machine.processes("web") == machine.files("web") == []
    finally:
        machine.close()
