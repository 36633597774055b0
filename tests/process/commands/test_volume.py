"""Hundreds of megabytes through the real commands: exact, and in little memory."""

from __future__ import annotations

import hashlib
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.commands import DEADLINE, begin, measured, serving

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")

MOST_MEMORY = 80 * 1024  # KiB
BLOCK = 1_000_003
SAYS = (
    "import random, sys\n"
    "numbers = random.Random(7)\n"
    "for _ in range(int(sys.argv[1])):\n"
    f"    sys.stdout.buffer.write(numbers.randbytes({BLOCK}))\n"
)
HEARS = (
    "import hashlib, sys\n"
    "digest = hashlib.sha256()\n"
    "while block := sys.stdin.buffer.read(1 << 20): digest.update(block)\n"
    "print(digest.hexdigest())\n"
)


def test_300_mb_of_output_arrive_as_they_were(tmp_path: Path) -> None:
    program, report = tmp_path / "says.py", tmp_path / "report"
    program.write_text(SAYS)
    command = f"{sys.executable} {program} 300"
    received, expected = hashlib.sha256(), hashlib.sha256()
    numbers = random.Random(7)
    with (
        serving("--port", "0") as server,
        begin(measured(report, "-c", command, server.address), stdout=subprocess.PIPE) as client,
    ):
        assert client.stdout is not None
        for _ in range(300):
            expected.update(numbers.randbytes(BLOCK))
            received.update(client.stdout.read(BLOCK))
        assert client.stdout.read() == b""
        assert client.wait(DEADLINE) == 0
    assert received.digest() == expected.digest()
    assert int(report.read_text()) < MOST_MEMORY


def test_200_mb_of_input_arrive_as_they_were(tmp_path: Path) -> None:
    program, report = tmp_path / "hears.py", tmp_path / "report"
    program.write_text(HEARS)
    command = f"{sys.executable} {program}"
    sent = hashlib.sha256()
    numbers = random.Random(8)
    with (
        serving("--port", "0") as server,
        begin(
            measured(report, "-c", command, server.address),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as client,
    ):
        assert client.stdin is not None and client.stdout is not None
        for _ in range(200):
            block = numbers.randbytes(BLOCK)
            sent.update(block)
            client.stdin.write(block)
        client.stdin.close()
        assert client.stdout.read().decode().strip() == sent.hexdigest()
        assert client.wait(DEADLINE) == 0
    assert int(report.read_text()) < MOST_MEMORY


def test_a_command_that_reads_nothing_is_not_waited_for(tmp_path: Path) -> None:
    with (
        serving("--port", "0") as server,
        begin(
            measured(tmp_path / "report", "-c", "exec <&-; echo done; exit 3", server.address),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as client,
    ):
        assert client.stdout is not None
        assert client.stdout.read() == b"done\n"  # our end of stdin is still open
        assert client.wait(DEADLINE) == 3


def test_output_and_errors_are_kept_apart_under_load(tmp_path: Path) -> None:
    size = 20_000_000
    command = f"head -c {size} /dev/zero & head -c {size} /dev/zero >&2 & wait"
    with serving("--port", "0") as server, (tmp_path / "err").open("wb") as errors:
        with begin(
            measured(tmp_path / "report", "-c", command, server.address),
            stdout=subprocess.PIPE,
            stderr=errors,
        ) as client:
            assert client.stdout is not None
            assert client.stdout.read() == bytes(size)
            assert client.wait(DEADLINE) == 0
        assert (tmp_path / "err").read_bytes() == bytes(size)
