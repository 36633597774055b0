"""Every example runs as a person would run it, exits 0 and prints what it promises."""

from __future__ import annotations

import asyncio
import hashlib
import sys
from pathlib import Path

import pytest

from rshell.aio import timeout
from tests.support.commands import ROOT

EXAMPLES = ROOT / "examples"
LONGEST = 120.0  # seconds; each takes less than one

_LINE = b"a hundred megabytes of this\n"
_HUNDRED_MEGABYTES = (_LINE * (100_000_000 // len(_LINE) + 1))[:100_000_000]

EXPECTED = {
    "shout": ["HELLO, WORLD"],
    "loop_of_messages": [
        "sent 1, the total is 1",
        "sent 2, the total is 3",
        "sent 3, the total is 6",
        "sent 4, the total is 10",
        "sent 5, the total is 15",
    ],
    "many_clients": [f"client {number}" for number in range(20)],
    "leaves_abruptly": [
        "the first client runs sleep",
        "the first client was killed",
        "the next client is served",
        "the first client's sleep was ended",
    ],
    "empty_message": [
        "an empty command: status 0, output b''",
        "and in a shell: status 0, output b''",
        "an empty stream: {'bytes': 0}",
    ],
    "long_reply": [
        "3893 bytes in 1000 lines, the last is b'1000'",
        "the next reply is its own: b'next\\n'",
    ],
    "hundred_megabytes": [
        "100000000 bytes arrived, and the command exited with status 0",
        f"SHA-256 here:  {hashlib.sha256(_HUNDRED_MEGABYTES).hexdigest()}",
        f"SHA-256 there: {hashlib.sha256(_HUNDRED_MEGABYTES).hexdigest()}",
    ],
    "send_file": ["sent 67108864 bytes", "both sums are equal: True"],
    "copy_tree": [
        "101 files sent",
        "1 file sent, 245760 of its 4000000 bytes",
        "No such file or directory: /no/such/file",
    ],
    "embed_server": [
        "commands run as usual",
        "the program has counted: True",
        "and knows who asks: local",
        "the server and the work have ended",
    ],
    "way_in": ["HELLO FROM THERE"],
    "ten_hosts": [f"host-{number}" for number in range(10)],
}
# Their last lines hold what differs from run to run.
HAS_MORE = {"many_clients"}


async def run_example(name: str) -> list[str]:
    """Run an example with every warning an error; return the lines it printed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", str(EXAMPLES / f"{name}.py")),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with timeout(LONGEST):
        stdout, stderr = await process.communicate()
    assert (process.returncode, stderr.decode()) == (0, ""), name
    return stdout.decode().splitlines()


@pytest.mark.parametrize("name", EXPECTED)
async def test_an_example_prints_what_it_shows(name: str) -> None:
    lines = await run_example(name)
    if name in HAS_MORE:
        lines = lines[: len(EXPECTED[name])]
    assert lines == EXPECTED[name]


async def test_every_kind_of_address_answers() -> None:
    lines = await run_example("addresses")
    assert all(line.endswith(" says hello") for line in lines)
    addresses = [line.removesuffix(" says hello") for line in lines]
    assert addresses[0].startswith("127.0.0.1:")
    assert addresses[-1].startswith("unix:/")
    # The one between is IPv6, on machines that have it.
    assert all(address.startswith("[::1]:") for address in addresses[1:-1])


async def test_nothing_of_the_users_is_touched(tmp_path: Path) -> None:
    """conftest points the XDG directories and HOME into tmp_path; no example may write there."""
    before = sorted(tmp_path.rglob("*"))
    await run_example("shout")
    assert sorted(tmp_path.rglob("*")) == before


def test_every_example_has_a_test() -> None:
    names = {path.stem for path in EXAMPLES.glob("*.py")}
    assert names == {*EXPECTED, "addresses"}


def test_shout_stays_short() -> None:
    assert len((EXAMPLES / "shout.py").read_text().splitlines()) < 40


def test_every_example_says_how_to_run_it() -> None:
    for path in EXAMPLES.glob("*.py"):
        assert f"Run: python examples/{path.name}\n" in path.read_text(), path.name
