"""What runs over there before the bundle does: where it keeps it, and what it says if it can't."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from rshell.reach.bundle import identify
from rshell.reach.stage import STAGE, Answers, wanted

WORD = "rshell-0123456789abcdef"
ARRIVAL = """
def main(code, name, wanted, greet):
    greet(code=code, name=name, said=wanted["said"])
    return 3
"""


def a_bundle(arrival: str) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as file:
        for name, text in (("__init__", ""), ("cli/__init__", ""), ("cli/arrival", arrival)):
            file.writestr(f"rshell/{name}.py", text)
    return data.getvalue()


BUNDLE = a_bundle(ARRIVAL)


def arrive(
    cache: Path, bundle: bytes = BUNDLE, *, name: str = "", sends: bool = True
) -> tuple[list[tuple[str, Any]], int]:
    """Run the stage with that cache, send a bundle; return its lines and its status."""
    said = wanted({"said": "x"}, len(bundle) if sends else 0) + (bundle if sends else b"")
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", STAGE, WORD, name or identify(bundle)],
        input=said,
        env={"XDG_CACHE_HOME": str(cache), "HOME": "/nowhere"},
        stdout=subprocess.PIPE,
        check=False,
    )
    answers, found = Answers(WORD), []
    line = answers.feed(done.stdout)
    while line is not None:
        found.append(line)
        line = answers.feed(b"")
    return found, done.returncode


def test_a_bundle_is_kept_for_the_next_time_and_checked_each_time(tmp_path: Path) -> None:
    (ready, serving), status = arrive(tmp_path)
    path = tmp_path / "rshell" / f"{identify(BUNDLE)}.pyz"
    assert status == 3 and ready[1]["there"] is False
    assert serving[1] == {"code": str(path), "name": identify(BUNDLE), "said": "x"}
    assert path.read_bytes() == BUNDLE and path.stat().st_mode & 0o777 == 0o600
    (ready, serving), status = arrive(tmp_path, sends=False)
    assert status == 3 and ready[1]["there"] is True and serving[1]["code"] == str(path)
    path.write_bytes(BUNDLE + b"changed")
    (ready, _), status = arrive(tmp_path)
    assert ready[1]["there"] is False and path.read_bytes() == BUNDLE
    path.chmod(0o620)
    assert arrive(tmp_path)[0][0][1]["there"] is False


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has files in memory")
def test_what_is_not_ours_alone_is_neither_read_nor_written(tmp_path: Path) -> None:
    """A directory or a link that somebody else had made was written to before it was looked at."""
    target = tmp_path / "target"
    target.mkdir()
    for how in ("shared", "link", "file"):
        cache = tmp_path / how
        cache.mkdir()
        place = cache / "rshell"
        if how == "shared":
            place.mkdir()
            place.chmod(0o777)
        elif how == "link":
            place.symlink_to(target)
        else:
            place.write_text("")
        (ready, serving), status = arrive(cache)
        assert status == 3 and ready[1]["there"] is False
        assert serving[1]["code"].startswith("/proc/self/fd/")
        assert not list(target.iterdir()) and not list(cache.glob("rshell/*"))


def test_what_goes_wrong_is_said_in_one_line(tmp_path: Path) -> None:
    wrong = (
        (
            a_bundle("raise ImportError('No module named _bz2\\x1b\\n\"')"),
            "is not whole: No module",
        ),
        (a_bundle("def main(*_): raise ValueError('no \\\\ way')"), "no ?? way"),
        (b"no zip", "not whole: No module named 'rshell'"),
    )
    for bundle, why in wrong:
        found, status = arrive(tmp_path, bundle)
        assert status == 1 and [kind for kind, _ in found] == ["ready", "failed"]
        assert why in found[1][1]["why"] and found[1][1]["why"].isprintable()
    assert json.loads(json.dumps(found[1][1]))
    # What is not what it is called can't come to be run.
    found, status = arrive(tmp_path / "new", name="0" * 64)
    assert status == 1 and not (tmp_path / "new").exists()
    assert "what has come is not what was sent" in found[1][1]["why"]
