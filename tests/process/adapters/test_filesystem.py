"""`rshell://` as fsspec uses it, against a real server."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import DEADLINE, ROOT, ServerProcess
from tests.support.fsspec_loop import fsspec_loop

fsspec = pytest.importorskip("fsspec")

from rshell import FileError  # noqa: E402 - what is missing skips this file
from rshell.adapters.fsspec.filesystem import RshellFileSystem  # noqa: E402


@pytest.fixture
def fs(server: ServerProcess) -> Iterator[Any]:
    with fsspec_loop():
        made = RshellFileSystem(server.address, skip_instance_cache=True)
        yield made
        made.close()


def test_fsspecs_own_tests_pass(server: ServerProcess, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "--noconftest", "-W", "ignore"),
            *("-c", os.devnull, "-p", "no:asyncio", "-p", "no:hypothesispytest"),
            *("--rootdir", tmp_path, "--basetemp", tmp_path / "far", "--import-mode=importlib"),
            ROOT / "tests" / "support" / "fsspec_suite.py",
        ],
        env={**os.environ, "FSSPEC_SUITE_HOST": server.address, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=8 * DEADLINE,
        check=False,
    )
    text = done.stdout.decode()
    assert done.returncode == 0, text
    assert int(text.splitlines()[-1].split()[0]) > 100, text


def test_what_a_url_says() -> None:
    strip, kwargs = RshellFileSystem._strip_protocol, RshellFileSystem._get_kwargs_from_urls
    for url, path, host in (
        ("rshell://box/a/b/", "/a/b", "box"),
        ("rshell://box", "/", "box"),
        ("rshell://[::1]:7000/~/x", "/~/x", "[::1]:7000"),
        ("rshell+ssh://me@box:22/a", "/a", "ssh://me@box:22"),
        ("rshell+docker://web/a", "/a", "docker://web"),
        ("rshell:///a//b", "/a//b", None),
        ("/a/b", "/a/b", None),
        ("a", "/a", None),
        ("~/a", "/~/a", None),
    ):
        assert strip(url) == path, url
        assert kwargs(url).get("host") == host, url
    for host, shown in (
        ("box:7000", "rshell://box:7000/a"),
        ("ssh://me@box", "rshell+ssh://me@box/a"),
        ("unix:/run/s", "rshell:///a"),
        ("kubectl://ns/pod", "rshell:///a"),
        (None, "rshell:///a"),
    ):
        fs = RshellFileSystem(host, asynchronous=True, skip_instance_cache=True)
        assert fs.unstrip_protocol("/a") == shown


def test_links_lead_where_they_lead_and_nobody_walks_in_circles(fs: Any, tmp_path: Path) -> None:
    top = tmp_path / "top"
    (top / "d" / "e").mkdir(parents=True)
    (top / "d" / "e" / "f").write_text("four")
    (top / "d" / "up").symlink_to("..")
    (top / "file").symlink_to("d/e/f")
    (top / "dead").symlink_to("nowhere")
    kinds = {info["name"]: (info["type"], info["size"]) for info in fs.ls(top, detail=True)}
    assert kinds[f"{top}/file"] == ("file", 4) and kinds[f"{top}/dead"][0] == "link"
    assert fs.isdir(top / "d" / "up") and fs.info(top / "d" / "up")["destination"] == ".."
    names = ["d/e/f", "d/up", "dead", "file"]
    assert fs.find(top) == [f"{top}/{name}" for name in names]
    assert fs.find(top, maxdepth=1) == [f"{top}/dead", f"{top}/file"]
    assert f"{top}/d/e" in fs.find(top, withdirs=True)
    assert [path for path, _, _ in fs.walk(top)] == [f"{top}{it}" for it in ("", "/d", "/d/e")]
    assert fs.glob(f"{top}/**/f") == [f"{top}/d/e/f"]
    assert fs.ls(top / "file", detail=False) == [f"{top}/file"]
    fs.rm(top / "d", recursive=True)
    assert sorted(it.name for it in top.iterdir()) == ["dead", "file"]


def test_errors_are_those_of_python_and_name_the_file(fs: Any, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "f").write_text("x")
    d, f, none = (str(tmp_path / name) for name in ("d", "d/f", "none"))
    calls: tuple[tuple[Callable[[], Any], type[OSError]], ...] = (
        (lambda: fs.open(none), FileNotFoundError),
        (lambda: fs.cat_file(none), FileNotFoundError),
        (lambda: fs.get_file(none, f"{none}2"), FileNotFoundError),
        (lambda: fs.info(f"{f}/x"), NotADirectoryError),
        (lambda: fs.mkdir(d), FileExistsError),
        (lambda: fs.makedirs(d), FileExistsError),
        (lambda: fs.rm(d), IsADirectoryError),
        (lambda: fs.put_file(f, d), IsADirectoryError),
        (lambda: fs.cp_file(f, d), IsADirectoryError),
        (lambda: fs.get_file(f, d), IsADirectoryError),
        (lambda: fs.put_file(f, f, mode="create"), FileExistsError),
        (lambda: fs.rmdir(d), OSError),
    )
    for call, kind in calls:
        with pytest.raises(kind) as caught:
            call()
        assert isinstance(caught.value, FileError) and caught.value.filename
    assert not fs.exists(f"{f}/x") and not Path(f"{none}2").exists()
    with pytest.raises(ValueError, match="root"):
        fs.rm("rshell://host", recursive=True)
    assert [it.name for it in Path(d).iterdir()] == ["f"]


def test_bytes_by_their_place(fs: Any, tmp_path: Path) -> None:
    path = f"{tmp_path}/a[1]/b"
    fs.pipe_file(path, b"0123456789")  # and the directory with it
    for start, end, data in (
        (None, None, b"0123456789"),
        (2, 5, b"234"),
        (-3, None, b"789"),
        (1, -2, b"1234567"),
        (-30, 400, b"0123456789"),
        (7, 3, b""),
    ):
        assert fs.cat_file(path, start, end) == data
    first, second, third = fs.cat_ranges([path, "/no such file", path], 2, [4, 5, 6])
    assert (first, third) == (b"23", b"2345") and isinstance(second, FileNotFoundError)
    with pytest.raises(FileNotFoundError):
        fs.cat_ranges([path, "/no such file"], 0, 1, on_error="raise")
    assert fs.cat_file("/proc/self/status").startswith(b"Name:")
    fs.get_file(path, tmp_path / "here" / "b")
    with (tmp_path / "c").open("wb") as file:
        fs.get_file(path, file)
    assert (tmp_path / "here" / "b").read_bytes() == (tmp_path / "c").read_bytes() == b"0123456789"


def test_copies_moves_and_times(fs: Any, tmp_path: Path) -> None:
    fs.pipe(f"{tmp_path}/a", b"x" * 300_000)
    seen = fsspec.callbacks.Callback()
    fs.put_file(tmp_path / "a", f"{tmp_path}/new/b", callback=seen)
    assert (seen.size, seen.value) == (300_000, 300_000)
    seen = fsspec.callbacks.Callback()
    fs.get_file(f"{tmp_path}/new/b", tmp_path / "c", callback=seen)
    assert (seen.size, seen.value) == (300_000, 300_000)
    fs.mv(f"{tmp_path}/new", f"{tmp_path}/old/newer")
    fs.mv(f"{tmp_path}/c", f"{tmp_path}/old/")
    assert fs.find(f"{tmp_path}/old") == [f"{tmp_path}/old/c", f"{tmp_path}/old/newer/b"]
    os.utime(tmp_path / "a", ns=(0, 0))
    assert fs.modified(f"{tmp_path}/a").timestamp() == 0
    fs.touch(f"{tmp_path}/a", truncate=False)
    assert fs.modified(f"{tmp_path}/a").timestamp() > 0 and fs.size(f"{tmp_path}/a") == 300_000
    fs.touch(f"{tmp_path}/a")
    assert fs.size(f"{tmp_path}/a") == 0 and fs.du(f"{tmp_path}/old") == 600_000


def test_a_home_directory_is_a_path_as_well(fs: Any) -> None:
    fs.pipe("rshell://host/~/made/file", b"x")
    assert fs.ls("~/made", detail=False) == ["/~/made/file"]
    assert (Path(os.environ["HOME"]) / "made" / "file").read_bytes() == b"x"


def test_a_session_that_ended_is_followed_by_another_and_garbage_is_closed(fs: Any) -> None:
    assert fs.isdir("/")
    first = fs._session._opening.result()
    fs.close()
    assert first.is_closed and fs.isdir("/")
    other: Any = RshellFileSystem(fs.host, skip_instance_cache=True)
    assert other.isdir("/")
    client = other._session._opening.result()
    del other
    gc.collect()
    deadline = time.monotonic() + DEADLINE
    while not client.is_closed and time.monotonic() < deadline:
        time.sleep(0.01)
    assert client.is_closed


async def test_coroutines_use_the_loop_that_runs(server: ServerProcess, tmp_path: Path) -> None:
    fs = RshellFileSystem(server.address, asynchronous=True, skip_instance_cache=True)
    path = f"{tmp_path}/file"
    file = await fs.open_async(path, "wb", block_size=1000)
    await file.write(b"a" * 5000)
    await file.close()
    file = await fs.open_async(path, "ab")
    await file.write(b"b")
    await file.close()
    file = await fs.open_async(path)
    assert [await file.read(2000) for _ in range(4)] == [
        b"a" * 2000,
        b"a" * 2000,
        b"a" * 1000 + b"b",
        b"",
    ]
    await file.close()
    one_each = await asyncio.gather(*(fs._cat_file(path, at, at + 1) for at in range(600)))
    assert set(one_each) == {b"a"}  # more than a server has open for a client
    with pytest.raises(OSError) as caught:
        await fs._rmdir(str(tmp_path))
    assert caught.value.errno == errno.ENOTEMPTY
    await fs._close()
