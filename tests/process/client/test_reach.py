"""Ways in to machines where nothing is installed: containers of the tests' own, and stand-ins.

See tests/support/containers.py for what a container is here.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import shutil
import signal
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest

import rshell
from rshell.client import reach
from rshell.client.client import Client
from rshell.client.reach import look_after
from rshell.errors import ChannelRefused, ConnectError
from rshell.reach.bundle import build_bundle, identify
from rshell.reach.ways import Way
from rshell.values import Bounds
from tests.support import containers
from tests.support.commands import only_line, run
from tests.support.containers import Machine

SIZE = rshell.TerminalSize(70, 20)
FAR = ("docker://web", "docker://me@web", "podman://web", "kubectl://ns/web/box")


@pytest.fixture(scope="module")
def module_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    try:
        machine = Machine(tmp_path_factory.mktemp("far"))
        try:
            machine.start("web")
            yield machine
        finally:
            machine.close()
    except OSError as error:
        pytest.skip(str(error))


@pytest.fixture
def machine(module_machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine with the container `web`; its `docker` and the others come first on the PATH."""
    monkeypatch.setenv("PATH", f"{module_machine.bin}:{os.environ['PATH']}")
    return module_machine


def the_way(text: str) -> Way:
    way = Way.parse(text)
    assert way is not None
    return way


async def background_pid(client: Client) -> str:
    done = await client.run("echo $PPID", text=True)
    return done.stdout.strip()


async def try_everything(client: Client) -> None:
    """Use what needs files, terminals and a server that stays."""
    async with client.open_process("tty; stty size", terminal=SIZE) as process:
        shown = await process.stdout.read()
    assert b"/dev/pts" in shown and b"20 70" in shown
    async with client.open_shell(terminal=SIZE) as shell:
        reply = await shell.run("cd /bin; echo $PWD")
        assert b"/bin" in reply.stdout
    name = await client.start_job("echo from the job")
    assert await client.wait_job(name) == rshell.ExitStatus(0)
    async with client.job_logs(name) as logs:
        assert [block async for _, block in logs] == [b"from the job\n"]


async def test_a_container_with_nothing_but_a_python_gives_everything(machine: Machine) -> None:
    argvs = [
        ["docker", "exec", "-i", "web", "sh"],
        ["docker", "exec", "-i", "-u", "me", "web", "sh"],
        ["podman", "exec", "-i", "web", "sh"],
        ["kubectl", "-n", "ns", "exec", "-i", "web", "-c", "box", "--", "sh"],
    ]
    noise = random.Random(7).randbytes(200_000)
    before = len(machine.calls())
    found = set()
    for address in FAR:
        async with rshell.connect(address) as client:
            done = await client.run("cat; echo err >&2; exit 7", input=noise)
            assert (done.stdout, done.stderr, done.exit_status) == (noise, b"err\n", 7)
            found.add(await background_pid(client))
    assert [call["argv"] for call in machine.calls()[before:]] == argvs
    assert len(found) == 1  # one server for all of them
    async with rshell.connect("docker://me@web") as client:
        # What comes from whom: the environment is that of each way in.
        shown = await client.run("echo $USER_GIVEN, $WHERE; pwd", text=True)
        assert shown.stdout == "me, over there\n/home/me\n"
        await try_everything(client)
    facts = await look_after(the_way("docker://web"), "look", Bounds())
    assert facts["home"] == "/home/me" and facts["there"] and len(facts["servers"]) == 1
    assert facts["python"].startswith(".".join(map(str, machine.python)))


async def test_a_way_in_that_is_killed_loses_nothing_and_repeats_nothing(machine: Machine) -> None:
    """Three times, while bytes are under way in both directions."""
    sent = random.Random(8).randbytes(3_000_000)
    kills = [200_000, 1_000_000, 2_000_000]
    echoed = bytearray()
    async with rshell.connect("docker://web") as client:
        command = "cat | tee /proc/self/fd/2 | sha256sum; echo once"
        async with client.open_process(command, stdin=rshell.PIPE) as process:
            assert process.stdin is not None
            stdin = process.stdin

            async def feed() -> None:
                await stdin.write(sent)
                await stdin.close()

            feeding = asyncio.ensure_future(feed())
            while block := await process.stderr.read(65536):
                echoed += block
                if kills and len(echoed) >= kills[0]:
                    del kills[0]
                    os.kill(machine.calls()[-1]["pid"], signal.SIGKILL)
            await feeding
            said = (await process.stdout.read()).decode()
    assert not kills and bytes(echoed) == sent
    assert said.split() == [hashlib.sha256(sent).hexdigest(), "-", "once"]


async def test_twenty_ways_in_at_the_same_moment_meet_at_one_server(machine: Machine) -> None:
    machine.start("crowd")

    async def come() -> str:
        async with rshell.connect("docker://crowd") as client:
            return await background_pid(client)

    assert len(set(await asyncio.gather(*(come() for _ in range(20))))) == 1
    servers = [line for line in machine.processes("crowd") if "--background-at" in line]
    assert len(servers) == 1


async def test_clients_of_two_versions_have_a_server_each(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The jobs of one were refused, for the other had them locked."""
    machine.start("two")
    async with rshell.connect("docker://two") as older:
        other = build_bundle() + b"\0"  # behind a zip may be anything
        monkeypatch.setattr(reach, "bundle", lambda: (identify(other), other))
        async with rshell.connect("docker://two") as newer:
            assert await background_pid(older) != await background_pid(newer)
            await asyncio.gather(try_everything(older), try_everything(newer))
            facts = await look_after(the_way("docker://two"), "look", Bounds())
            assert len(facts["servers"]) == 2
    facts = await look_after(the_way("docker://two"), "stop", Bounds())
    assert len(facts["stopped"]) == 2 and not facts["left"]
    assert machine.processes("two") == machine.files("two") == []


@pytest.mark.parametrize("how", ["FULL_HOME", "READ_ONLY_ROOT", "NO_PROC"])
async def test_odd_machines_give_everything(machine: Machine, how: str) -> None:
    machine.start(how, getattr(containers, how))
    before = machine.files(how)
    async with rshell.connect(f"docker://{how}") as client:
        await try_everything(client)
    async with rshell.connect(f"docker://{how}") as client:
        assert [job.state for job in await client.jobs()] == ["exited"]
    facts = await look_after(the_way(f"docker://{how}"), "stop", Bounds())
    assert len(facts["stopped"]) == 1 and not facts["left"]
    assert machine.processes(how) == [] and machine.files(how) == before


WITHOUT = (
    ("NO_PYTHON", "has no Python 3.9 or later (there is none at all). Install one"),
    ("OLD_PYTHON", "has no Python 3.9 or later (there is /bin/python3). Install one"),
    ("NO_ASYNCIO", "is not whole: No module named asyncio"),
    ("NOTHING_TO_WRITE", "Give it a home, a /tmp or a /dev/shm that it can write"),
)


def test_machines_that_can_not_serve_say_in_one_sentence_what_to_do(machine: Machine) -> None:
    for how, wanted in WITHOUT:
        machine.start(how, getattr(containers, how))
        done = run(f"docker://{how}", "-c", "echo hi")
        line = only_line(done.stderr)
        assert done.returncode == 255 and wanted in line and f"docker://{how}" in line, line


BANNER = "sh -c 'echo Welcome to box; printf more; exec \"$@\"' sh"
LOGIN_SHELLS = (BANNER, "fish -c", "csh -c", "tcsh -c", "zsh -c", "dash -c")


async def test_banners_and_login_shells_are_no_trouble(
    monkeypatch: pytest.MonkeyPatch, short_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(short_path))  # or a socket's name is too long
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    for words in LOGIN_SHELLS:
        if shutil.which(words.split()[0]):
            facts = await look_after(Way.of_words(words), "look", Bounds())
            assert facts["home"] == os.environ["HOME"], words
    async with rshell.connect(via=BANNER, bootstrap=True, background=False) as client:
        done = await client.run("echo hi; exit 3", text=True)
        assert (done.stdout, done.exit_status) == ("hi\n", 3)
        with pytest.raises(ChannelRefused, match="single session"):
            await client.start_job("true")


HOSTILE = r"""
import re, sys, time
text = ""
while not (found := re.search("rshell-[0-9a-f]{16}", text)):
    text += sys.stdin.readline()
sys.stderr.write("\x1b]0;title\x07to stderr\n")
sys.stdout.write(eval(sys.argv[1]).replace("WORD", found[0]))
sys.stdout.flush()
"""
ANSWERS = (
    ("'Welcome\\x1b[2J'", "having printed 'Welcome"),
    ("'x' * 300_000", "having printed 'xxx"),
    ("'\\nWORD none 3\\n'", "there is none at all"),
    ("'\\nWORD none [{}, \"\\x9b31m\"]\\n'", "there is {}"),
    ("'\\nWORD failed []\\n'", "can't start at"),
    ('\'\\nWORD failed {"why": "\\\\u001b[2J"}\\n\'', "can't start at"),
    ("'\\nWORD failed {\"why\": ' + '[' * 60_000 + '}\\n'", "can't start at"),
    ("'\\nWORD \\x1b[2J {}\\n'", "answered"),
    ("'\\nWORD ready {}\\n\\nWORD ready {}\\n'", "answered 'ready' where 'serving'"),
    ('\'\\nWORD ready {}\\n\\nWORD serving {"why": "\\\\u001b[2J"}\\n\\x1b[2J\'', "printed"),
)


async def test_nothing_that_a_hostile_machine_answers_acts_on_a_terminal(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    script = tmp_path / "hostile.py"
    script.write_text(HOSTILE)
    for answer, wanted in ANSWERS:
        way = [sys.executable, "-I", "-S", str(script), answer]
        with pytest.raises(ConnectError) as caught:
            await rshell.connect(via=way, bootstrap=True)
        told = f"{caught.value}{caplog.text}"
        assert wanted in told, answer
        assert not [c for c in told if unicodedata.category(c) == "Cc" and c != "\n"], answer
        assert len(str(caught.value)) < 2000
