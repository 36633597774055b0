"""Commands whose server means harm: it is shown as text, bounded, and can be left."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from rshell.protocol.codec import Json
from rshell.protocol.frames import FrameType
from tests.support.commands import Done, argv, begin, measured, only_line, until
from tests.support.hostile import (
    ATTACKS,
    EVIL,
    Attack,
    every_wrong_message,
    exited,
    hostile,
    opened,
    said,
    welcome,
)
from tests.support.wire import data_frame, frame

MIB = 1024 * 1024
ENOUGH = 100 * 1024  # KiB of memory


async def attacked(directory: Path, attack: Attack, *arguments: str) -> Done:
    """Run `rshell` at such a server to its end."""
    socket, report = directory / "s", directory / "memory"
    async with hostile(socket, attack):
        with begin(
            measured(report, f"unix:{socket}", *arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as popen:
            stdout, stderr = await asyncio.to_thread(popen.communicate, None, 60)
    assert int(report.read_text()) < ENOUGH
    return Done(popen.args, popen.returncode, stdout, stderr)


def acts(text: bytes) -> bool:
    """Whether anything in there would act on a terminal."""
    return any(not (character.isprintable() or character == "\n") for character in text.decode())


async def test_every_message_there_is_is_shown_as_text(tmp_path: Path) -> None:
    done = await attacked(tmp_path, ATTACKS["every"], "-c", "true")
    assert (done.stdout, done.returncode) == (b"output\n", 0)
    assert b"\\x1b]0;owned" in done.stderr and not acts(done.stderr)


async def test_wrong_messages_end_a_command_with_one_line(tmp_path: Path) -> None:
    async def attack(number: int, request: Json, inbox: Any) -> AsyncIterator[bytes]:
        yield opened(number, welcome())
        for message in every_wrong_message():
            yield said(number, message)

    for arguments in (("-c", "true"), ("--jobs",), ("--shells",), ("--wait", "x")):
        done = await attacked(tmp_path, attack, *arguments)
        assert done.returncode == 255 and not acts(done.stderr)
        only_line(done.stderr.splitlines(keepends=True)[-1])


async def test_reasons_of_refusals_resets_and_goodbyes_are_text(tmp_path: Path) -> None:
    for kind in (FrameType.REFUSED, FrameType.RESET, FrameType.GOODBYE):

        async def attack(
            number: int, request: Json, inbox: Any, kind: FrameType = kind
        ) -> AsyncIterator[bytes]:
            if kind is FrameType.RESET:
                yield opened(number, welcome())
            channel = 0 if kind is FrameType.GOODBYE else number
            yield frame(kind, channel, {"code": EVIL, "reason": EVIL * 100})

        for arguments in (("-c", "true"), ("--jobs",), ("--json", "-c", "true")):
            done = await attacked(tmp_path, attack, *arguments)
            assert done.returncode == 255 and not acts(done.stdout + done.stderr), arguments


async def test_lists_without_an_end_are_given_up(tmp_path: Path) -> None:
    for attack, option in (("jobs", "--jobs"), ("shells", "--shells"), ("jobs", "--logs=x")):
        done = await attacked(tmp_path, ATTACKS[attack], *option.split("="))
        assert done.returncode == 255 and not done.stdout
        only_line(done.stderr)


async def test_frames_out_of_order_end_the_session(tmp_path: Path) -> None:
    for early in (
        data_frame(7, 1, b"x"),
        frame(FrameType.OPENED, 99, {"window": 1}),
        frame(FrameType.ATTACHED, 0, {"session": "s", "secret": "s", "received": 0}),
        frame(FrameType.AUTH, 0, {"done": True}),
        b"\xff" * 100,
    ):

        async def attack(
            number: int, request: Json, inbox: Any, early: bytes = early
        ) -> AsyncIterator[bytes]:
            yield early + opened(number, welcome())
            yield said(number, exited(stdout=5))

        done = await attacked(tmp_path, attack, "--resume-window", "0", "-c", "true")
        assert done.returncode == 255 and not acts(done.stderr)


async def test_json_holds_no_more_than_it_says(tmp_path: Path) -> None:
    done = await attacked(tmp_path, ATTACKS["output"], "--json", "-c", "true")
    result = json.loads(done.stdout)
    assert done.returncode == 255 and result["outcome"] == "lost"
    assert "more than" in result["error"] and len(result["stdout"]) <= 16 * MIB


async def test_control_c_leaves_a_flood(tmp_path: Path) -> None:
    socket = tmp_path / "s"
    for attack, status in (("flood", 130), ("output", 130)):
        async with hostile(socket, ATTACKS[attack]) as server:
            with begin(
                argv("rshell", f"unix:{socket}", "-c", "true"),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            ) as popen:
                await asyncio.to_thread(until, lambda: server.requests, "the request")
                while popen.poll() is None:
                    popen.send_signal(signal.SIGINT)
                    await asyncio.sleep(0.05)
                assert popen.wait() == status
        socket.unlink(missing_ok=True)  # gone already from Python 3.13 on
