"""What somebody at the prompt is told when the link is cut, or goes nowhere."""

from __future__ import annotations

import shutil

import pytest

from tests.support.commands import Changes, serving
from tests.support.cutting import Cutter
from tests.support.terminal import CTRL, ENTER, at_prompt, at_terminal

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")

CUT = "the link was cut; trying to come back (~. leaves)"
SOON: Changes = {"answer_seconds": 1.0}
AT_ONCE: Changes = {"ack_seconds": 0.1}  # well within that
SILENT = "no answer from the server; what was sent to it waits (~. leaves)"


async def test_leaving_while_the_link_is_down_says_why_it_takes_so_long() -> None:
    with serving("--port", "0") as server:
        async with Cutter(server.port) as cutter, at_prompt(cutter.address) as person:
            cutter.refuse()
            await cutter.cut()
            await person.see("link cut")
            person.send(CTRL["D"])
            await person.see(CUT)
            cutter.let_through()
            assert await person.wait() == 0


async def test_a_cut_and_a_silent_server_are_told_while_a_command_runs() -> None:
    with serving("--port", "0", limits=AT_ONCE) as server:
        async with (
            Cutter(server.port) as cutter,
            at_prompt(cutter.address, limits=SOON) as person,
        ):
            person.send("echo u''p; cat" + ENTER)
            await person.wait_for("up")
            person.send("one" + ENTER)
            await person.wait_for(lambda: person.display.count("one") == 2)
            cutter.refuse()
            await cutter.cut()
            await person.see(CUT)
            cutter.let_through()
            await person.see("the link is back")
            cutter.freeze()
            person.send("two" + ENTER)
            await person.see(SILENT)
            cutter.thaw()
            await person.see("the server answers again")
            await person.wait_for(lambda: person.display.count("two") == 2)


async def test_one_command_on_a_terminal_tells_of_a_silent_server_too() -> None:
    with serving("--port", "0", limits=AT_ONCE) as server:
        async with (
            Cutter(server.port) as cutter,
            at_terminal("-t", "-c", "echo up; cat", cutter.address, limits=SOON) as person,
        ):
            await person.wait_for("up")
            person.send("one" + ENTER)
            await person.wait_for(lambda: person.display.count("one") == 2)
            cutter.freeze()
            person.send("two" + ENTER)
            await person.see("no answer from the server")
            cutter.thaw()
            await person.see("the server answers again")
            await person.wait_for(lambda: person.display.count("two") == 2)


async def test_a_program_on_the_screen_draws_over_what_is_said_of_the_link() -> None:
    draws = "sh -c \"trap 'echo dr''awn' WINCH; echo u''p; while :; do sleep .02; done\""
    with serving("--port", "0") as server:
        async with Cutter(server.port) as cutter:
            for arguments in ((), ("-t", "-c", draws)):
                async with at_terminal(*arguments, cutter.address) as person:
                    if not arguments:
                        await person.prompt()
                        person.send(draws + ENTER)
                    await person.wait_for("up")
                    assert "drawn" not in person.display
                    cutter.refuse()
                    await cutter.cut()
                    await person.see("the link was cut")
                    cutter.let_through()
                    await person.wait_for("drawn")


async def test_the_escape_that_is_named_leaves_whatever_was_typed_before() -> None:
    with serving("--port", "0") as server:
        async with Cutter(server.port) as cutter:
            for arguments in ((), ("-t", "-c", "echo up; cat")):
                async with at_terminal(*arguments, cutter.address) as person:
                    if not arguments:
                        await person.prompt()
                        person.send("echo u''p; cat" + ENTER)
                    await person.wait_for("up")
                    person.send("begun")
                    await person.wait_for("begun")
                    cutter.refuse()
                    await cutter.cut()
                    await person.see(CUT)
                    person.send("~.")
                    assert await person.wait() == 255
                    cutter.let_through()
