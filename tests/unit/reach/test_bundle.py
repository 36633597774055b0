"""The server in one file: the same bytes from the same source, and nothing needless."""

from __future__ import annotations

import io
import os
import re
import stat
import zipfile
from pathlib import Path

import pytest

from rshell.errors import ConfigurationError
from rshell.reach.bundle import build_bundle, identify, write_bundle

DOCS = Path(__file__).parents[3] / "docs"


def test_the_same_source_gives_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    first = build_bundle()
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    mask = os.umask(0o077)
    try:
        assert build_bundle() == first
    finally:
        os.umask(mask)
    assert identify(first) == identify(build_bundle()) and len(identify(first)) == 64


def test_it_holds_the_server_side_and_none_of_the_clients() -> None:
    bundle = build_bundle()
    assert bundle.startswith(b"#!/usr/bin/env python3\n")
    names = zipfile.ZipFile(io.BytesIO(bundle)).namelist()
    assert {"__main__.py", "rshell/__init__.py", "rshell/cli/server.py"} <= set(names)
    assert {"rshell/channels/shell/native/hooks.bash", "rshell/server/enter.py"} <= set(names)
    assert not [name for name in names if "client/" in name or "prompt" in name or ".pyc" in name]
    said = re.findall(r"one (?:zip of|file,) (\d+) KiB", (DOCS / "reach.md").read_text())
    assert len(said) == 2 and all(abs(int(size) - len(bundle) / 1024) < 20 for size in said)


def test_the_file_is_for_everybody_to_run(tmp_path: Path) -> None:
    path = tmp_path / "rshell-server.pyz"
    write_bundle(path)
    assert path.read_bytes() == build_bundle()
    assert stat.S_IMODE(path.stat().st_mode) == 0o755
    with pytest.raises(ConfigurationError, match="can't write"):
        write_bundle(tmp_path / "missing" / "x")
