"""Calls at the server that no client of ours would make."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from rshell.channels.files.call_channel import CallChannel
from rshell.channels.files.calls import CALLS_HEARS, expand, serve_calls
from rshell.channels.files.records import ANSWER, CALL, WRITE, WRITE_HEAD
from rshell.errors import RemoteProtocolError
from rshell.protocol.codec import encode_json
from tests.support.transfers import lie


def call(number: int, **keys: object) -> tuple[int, int, bytes]:
    return CALL, number, encode_json(dict(keys))


def test_wrong_calls_are_answered_and_nonsense_ends_the_channel(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("hello")
    os.mkfifo(tmp_path / "fifo")
    asked = [
        call(1, op="open", path="f"),
        call(2, op="read", file=7, offset=0, size=5),
        call(3, op="close", file=0),
        (WRITE, 4, WRITE_HEAD.pack(9, 0) + b"x"),
        (WRITE, 5, WRITE_HEAD.pack(1, 2**63) + b"x"),
        call(6, op="open", path="fifo"),
        call(7, op="read", file=1, offset=1, size=10**9),
        call(8, op="truncate", path="f", size=1),
        call(9, op="truncate", path="f", size=2**63),
    ]
    said = lie(CALLS_HEARS, asked, lambda peer: serve_calls(peer, str(tmp_path)))
    troubles = {
        record.number: json.loads(bytes(record.payload)).get("trouble", {}).get("error", "")
        for record in said
        if record.type == ANSWER
    }
    assert troubles == {
        1: "",
        2: "EBADF",
        3: "EBADF",
        4: "EBADF",
        5: "EBADF",
        6: "EINVAL",
        8: "",
        9: "EINVAL",
    }
    assert [bytes(record.payload) for record in said if record.type != ANSWER] == [b"ello"]
    for wrong in (call(1, op="format"), call(1), (CALL, 1, b"[]")):
        with pytest.raises(RemoteProtocolError):
            lie(CALLS_HEARS, [wrong], lambda peer: serve_calls(peer, str(tmp_path)))
    assert CallChannel.__doc__


def test_a_client_may_have_so_many_files_open_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    asked = [call(number, op="open", path="f") for number in range(1, 259)]
    said = lie(CALLS_HEARS, asked, lambda peer: serve_calls(peer, str(tmp_path)))
    assert [b"EMFILE" in bytes(record.payload) for record in said] == [False] * 256 + [True] * 2


def test_paths_mean_what_they_mean_to_the_servers_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    for path, whole in (
        ("a", "/cwd/a"), ("/a", "/a"), ("~", "/home/me"), ("~/a", "/home/me/a"), ("~b", "/cwd/~b"),
    ):  # fmt: skip
        assert expand(path, "/cwd") == whole
