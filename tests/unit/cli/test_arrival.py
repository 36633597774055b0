"""What a client may want of the bundle over there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from rshell.cli import arrival, server
from rshell.server import upkeep
from rshell.server.enter import NoBackground


def test_what_is_wanted_is_done(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code = tmp_path / "rshell" / "code.pyz"
    code.parent.mkdir()
    code.write_text("")
    done: list[Any] = []

    def enter(argv: list[str], name: str, idle_exit: float, greet: Any) -> int:
        if name == "none":
            raise NoBackground("no room")
        greet(background=True)
        done.append((argv[-1], name, idle_exit))
        return 0

    def serve(arguments: list[str]) -> int:
        done.append(arguments)
        return 3

    def no_place(name: str) -> str:
        raise NoBackground("no room")

    monkeypatch.setattr(arrival, "enter", enter)
    monkeypatch.setattr(arrival, "socket_path", no_place)
    monkeypatch.setattr(server, "main", serve)
    monkeypatch.setattr(upkeep, "look", lambda name, sent: {"looked": name, "sent": sent})
    monkeypatch.setattr(upkeep, "stop", lambda sent: {"sent": sent})
    monkeypatch.setattr("sys.argv", ["-c"])
    path, alone = str(code), {"background": False, "why": "it was asked for"}
    for name, wanted, status, results in (
        ("n", {"do": "serve"}, 0, [{"background": True}, (path, "n", 900.0)]),
        ("n", {"do": "serve", "idle_exit": 5}, 0, [{"background": True}, (path, "n", 5.0)]),
        ("none", {"do": "serve"}, 3, [{"background": False, "why": "no room"}, ["--stdio"]]),
        ("n", {"do": "serve", "background": False}, 3, [alone, ["--stdio"]]),
        ("n", {"do": "look"}, 0, [{"looked": "n", "sent": None}]),
        ("n", {"do": "look", "size": 7}, 0, [{"looked": "n", "sent": path}]),
        ("n", {"do": "stop", "size": 7}, 0, [{"sent": path}]),
    ):
        done.clear()
        said = {"size": 0, **wanted}
        assert arrival.main(path, name, said, lambda **facts: done.append(facts)) == status
        assert done == results, wanted
    monkeypatch.setattr(arrival, "socket_path", lambda name: "/place/socket")
    assert arrival.main(path, "none", {"do": "serve", "size": 0}, lambda **_: None) == 3
    assert done[-1] == ["--stdio", "--state", "/place/socket.state"]


def test_bundles_that_nobody_brings_along_go_when_another_comes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(arrival, "enter", lambda *_: 0)
    monkeypatch.setattr("sys.argv", ["-c"])
    cache = tmp_path / "rshell"
    cache.mkdir()
    for name in ("used.pyz", "new.pyz", "old.pyz", "mine"):
        (cache / name).write_text("")
        os.utime(cache / name, (1.0, 1.0))
    for name, size in (("used.pyz", 0), ("new.pyz", 7)):
        arrival.main(str(cache / name), "n", {"do": "serve", "size": size}, lambda **_: None)
    assert {path.name for path in cache.iterdir()} == {"used.pyz", "new.pyz", "mine"}
