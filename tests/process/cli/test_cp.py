"""`rshell-cp` as a process: there, back, between two, through pipes, and what it says."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

from tests.support.commands import argv, begin, run, serving, until
from tests.support.transfers import listing, make_tree


def copy(*arguments: str, **options: object) -> subprocess.CompletedProcess[bytes]:
    return run(*arguments, command="cp", **options)  # type: ignore[arg-type]


def test_trees_go_there_and_back_and_between_two_servers(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree")
    sockets = [f"unix:{tmp_path}/{name}" for name in ("s1", "s2")]
    with (
        serving("--unix", f"{tmp_path}/s1"),
        serving("--unix", f"{tmp_path}/s2", "--state", f"{tmp_path}/state2"),
    ):
        there, other, back = (tmp_path / name for name in ("there", "other", "back"))
        done = copy("-r", f"{tree}/", f"{sockets[0]}:{there}")
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        assert listing(there) == listing(tree)
        done = copy("-r", f"{sockets[0]}:{there}/", f"{sockets[1]}:{other}", "--json")
        assert done.returncode == 0, done.stderr
        last = json.loads(done.stdout.splitlines()[-1])
        assert (last["event"], last["files"], last["failed"]) == ("done", 15, 0)
        assert listing(other) == listing(tree)
        done = copy("-rv", f"{sockets[1]}:{other}/s*", f"{sockets[0]}:{there}/zero", str(back))
        assert done.returncode == 0 and b"sub/file0\n" in done.stdout
        assert listing(back / "sub") == listing(tree / "sub") and (back / "zero").exists()
        done = copy("-r", f"{sockets[0]}:{there}", f"{sockets[0]}:/no/where/at/all")
        assert done.returncode == 1
        assert done.stderr == b"rshell-cp: /no/where/at/all: No such file or directory\n"


def test_what_fails_is_told_and_the_rest_goes_on(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    (tmp_path / "b").mkdir()
    done = copy("--local", "nothing", "a", "b", f":{tmp_path}/c", cwd=tmp_path)
    assert (done.returncode, (tmp_path / "c" / "a").read_text()) == (1, "x")
    assert done.stderr.decode().splitlines() == [
        "rshell-cp: nothing: No such file or directory",
        "rshell-cp: b: it is a directory; those need -r",
    ]
    done = copy("--local", "-r", "--dry-run", "a", "b", f":{tmp_path}/d", cwd=tmp_path)
    assert done.stdout.decode().splitlines()[:1] == [f"b becomes {tmp_path}/d/b"]
    for arguments in (["a", "b"], ["a", "unix:/no/socket:b"], ["--nonsense"]):
        done = copy(*arguments, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (255, b"")
        assert done.stderr.startswith(b"rshell: ") and done.stderr.count(b"\n") == 1
    assert copy("--help").stdout.startswith(b"usage: rshell-cp")
    assert copy("--version").stdout.startswith(b"rshell-cp ")


def test_stdin_and_stdout_are_files(tmp_path: Path) -> None:
    data = bytes(range(256)) * 5000
    done = copy("--local", "-", f":{tmp_path}/f", input=data)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "f").read_bytes() == data
    assert copy("--local", f":{tmp_path}/f", "-").stdout == data
    done = copy("--local", f":{tmp_path}/nothing", "-")
    assert (done.returncode, done.stdout) == (1, b"")


def test_a_signal_asks_how_far_it_is_and_another_one_stops_it(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    pipe = argv("cp", "--local", "-", f":{tmp_path}/target/f")
    with begin(pipe, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as copying:
        assert copying.stdin is not None and copying.stderr is not None
        copying.stdin.write(b"x" * 100_000)
        copying.stdin.flush()
        until(lambda: list((tmp_path / "target").iterdir()), "a partial file")
        copying.send_signal(signal.SIGUSR1)
        assert b"rshell-cp: 0 files, " in copying.stderr.readline()
        copying.send_signal(signal.SIGINT)
        assert copying.wait(60) == 130
        assert copying.stderr.read() == b"rshell-cp: stopped\n"
    until(lambda: not list((tmp_path / "target").iterdir()), "the removal of the partial file")
