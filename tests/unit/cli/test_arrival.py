"""What a client may want of the bundle over there."""

from __future__ import annotations

from typing import Any

import pytest

from rshell.cli import arrival, server
from rshell.server import upkeep
from rshell.server.enter import NoBackground


def test_what_is_wanted_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
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

    monkeypatch.setattr(arrival, "enter", enter)
    monkeypatch.setattr(server, "main", serve)
    monkeypatch.setattr(upkeep, "look", lambda name: {"looked": name})
    monkeypatch.setattr(upkeep, "stop", lambda: {"stopped": []})
    monkeypatch.setattr("sys.argv", ["-c"])
    for name, wanted, status, results in (
        ("n", {"do": "serve"}, 0, [{"background": True}, ("code", "n", 900.0)]),
        ("n", {"do": "serve", "idle_exit": 5}, 0, [{"background": True}, ("code", "n", 5.0)]),
        ("none", {"do": "serve"}, 3, [{"background": False, "why": "no room"}, ["--stdio"]]),
        ("n", {"do": "look"}, 0, [{"looked": "n"}]),
        ("n", {"do": "stop"}, 0, [{"stopped": []}]),
    ):
        done.clear()
        assert arrival.main("code", name, wanted, lambda **facts: done.append(facts)) == status
        assert done == results, wanted
    done.clear()
    wanted = {"do": "serve", "background": False}
    assert arrival.main("code", "n", wanted, lambda **facts: done.append(facts)) == 3
    assert done[0]["background"] is False and done[1] == ["--stdio"]
