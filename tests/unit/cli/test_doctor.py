"""What is told of a machine that was looked at, whatever it says of itself."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rshell.cli import doctor
from rshell.cli.options import Options, parse
from rshell.values import Bounds, Limits

FOUND = {
    "python": "3.9.18",
    "program": "/usr/bin/python3.9",
    "there": True,
    "user": 1000,
    "home": "/home/me",
    "shell": "/bin/bash",
    "shells": ["bash", "sh"],
    "terminals": True,
    "proc": True,
    "servers": [{"path": "/home/me/s", "pid": 7}],
    "socket": "/home/me/s",
}


def told(facts: Any, monkeypatch: pytest.MonkeyPatch, capfd: Any, *options: str) -> tuple[int, str]:
    async def look_after(way: object, what: str, limits: Bounds) -> Any:
        return facts

    monkeypatch.setattr(doctor, "look_after", look_after)
    given: Options = parse(["docker://web", *(options or ("--doctor",))])
    status = doctor.run_doctor(given, Limits())
    return status, capfd.readouterr().out


def test_what_is_there_and_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    status, text = told(FOUND, monkeypatch, capfd)
    assert status == 0 and "3.9.18 at /usr/bin/python3.9" in text and "process 7 at" in text
    assert "bash, sh" in text and "terminals" not in text and "processes" not in text
    poor = {**FOUND, "terminals": False, "proc": False, "servers": [], "no_socket": "no room"}
    status, text = told(poor, monkeypatch, capfd)
    assert status == 1 and "none can run: no room" in text and "no -t" in text
    assert "no /proc" in text and "no background server" in text
    for facts, expected in ((FOUND, 0), (poor, 1)):
        status, text = told(facts, monkeypatch, capfd, "--doctor", "--json")
        assert (status, json.loads(text)) == (expected, facts)


def test_what_was_ended_and_removed(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    facts = {"stopped": [7], "removed": ["/home/me/.cache/rshell"], "left": ["/home/me/x"]}
    status, text = told(facts, monkeypatch, capfd, "--stop")
    assert status == 0 and len(text.splitlines()) == 3
    assert "process 7" in text and "runs elsewhere" in text
    empty: dict[str, Any] = {"stopped": [], "removed": [], "left": []}
    assert "nothing of rshell's" in told(empty, monkeypatch, capfd, "--stop")[1]


def test_a_machine_that_answers_nonsense_is_shown_as_text(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for value in (None, 7, "\x1b[2J\n", [["\x9b"]], {"a": "\r"}):
        facts: dict[str, Any] = dict.fromkeys((*FOUND, "stopped", "removed", "left"), value)
        for option in ("--doctor", "--stop"):
            _, text = told(facts, monkeypatch, capfd, option)
            assert text.replace("\n", "").isprintable()
            assert all(line.split()[0].isalpha() for line in text.splitlines())
