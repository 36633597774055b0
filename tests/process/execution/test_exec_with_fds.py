"""Putting descriptors at fixed numbers, whatever numbers they have now."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from rshell.execution.exec_with_fds import argv_with_fds

DEADLINE = 30


@contextmanager
def labelled(count: int) -> Iterator[list[int]]:
    """Pipes to read, each holding its own letter and then its end."""
    readers = []
    for letter in "abcdefgh"[:count]:
        reading, writing = os.pipe()
        os.write(writing, letter.encode())
        os.close(writing)
        readers.append(reading)
    try:
        yield readers
    finally:
        for fd in readers:
            os.close(fd)


def run(argv: list[str], places: Mapping[int, int]) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        argv_with_fds(argv, places),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        pass_fds=tuple(places.values()),
        timeout=DEADLINE,
        check=False,
    )


def test_each_descriptor_is_found_under_its_number() -> None:
    with labelled(4) as fds:
        done = run(
            ["/bin/sh", "-c", "cat <&6 <&7; cat <&6; cat <&8; cat <&9"],
            dict(zip((6, 7, 8, 9), fds, strict=True)),
        )
        assert done.stdout == b"bacd"
        assert done.stderr == b""


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_numbers_that_are_each_others_targets_do_not_mix(order: tuple[int, ...]) -> None:
    """Each descriptor is to become the number that another one has."""
    with labelled(3) as fds:
        places = {fds[index]: fds[order[index]] for index in range(3)}
        script = "import os, sys\nprint(*(os.read(int(fd), 9).decode() for fd in sys.argv[1:]))"
        argv = [sys.executable, "-I", "-S", "-c", script, *map(str, fds)]
        assert run(argv, places).stdout.decode().split() == ["abc"[index] for index in order]


def test_the_old_numbers_are_closed() -> None:
    with labelled(4) as fds:
        argv = ["/bin/ls", "/proc/self/fd"]
        found = set(map(int, run(argv, dict(zip((6, 7, 8, 9), fds, strict=True))).stdout.split()))
        assert found == {0, 1, 2, 3, 6, 7, 8, 9}  # 3 is the listed directory


def test_arguments_pass_as_they_are() -> None:
    with labelled(1) as fds:
        odd = ["", "--", "6=1", "a b", os.fsdecode(b"\xff\n")]
        done = run(["/usr/bin/printf", "<%s>", *odd], {6: fds[0]})
        assert done.stdout == b"<><--><6=1><a b><\xff\n>"


def test_signals_have_their_defaults_again() -> None:
    with labelled(1) as fds:
        script = "yes | head -n 1; kill -PIPE $$; echo not reached"
        done = run(["/bin/sh", "-c", script], {6: fds[0]})
        assert done.stdout == b"y\n"
        assert done.returncode == -13


def test_the_status_is_that_of_the_program() -> None:
    with labelled(1) as fds:
        assert run(["/bin/sh", "-c", "exit 7"], {6: fds[0]}).returncode == 7
        assert run(["/no/such/program"], {6: fds[0]}).returncode not in (0, 7)


def test_nothing_of_the_users_python_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The script's directory and PYTHONPATH hold modules that must not take the place of ours."""
    (tmp_path / "signal.py").write_text("raise SystemExit('hijacked')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with labelled(1) as fds:
        done = run(["/bin/sh", "-c", "echo fine"], {6: fds[0]})
        assert (done.stdout, done.stderr) == (b"fine\n", b"")
