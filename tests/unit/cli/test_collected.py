"""Output in a JSON object: the same as json itself writes, in pieces, and no more than fits."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rshell.cli import collected
from rshell.cli.collected import collect, json_pieces, output_value
from rshell.errors import ChannelReset


def test_pieces_are_what_json_writes() -> None:
    many = 'ä€😀\x00\x1b"\\' * 30_000
    values = {"outcome": "exited", "exit_status": 0, "list": [{"a": None}], "error": None}
    for text in ("", "x", many):
        written = b"".join(json_pieces(values | output_value("stdout", text.encode())))
        assert written == json.dumps(values | {"stdout": text}).encode() + b"\n"
    assert max(map(len, json_pieces(output_value("stdout", many.encode())))) < 400_000


def test_what_is_no_text_is_base64() -> None:
    for data in (b"\xff", b"x" * 100_000 + b"\xc3", bytes(range(256)) * 1000):
        ((key, value),) = output_value("stderr", data).items()
        assert key == "stderr_base64"
        written = json.loads(b"".join(json_pieces({key: value})))
        assert base64.b64decode(written[key]) == data


@given(st.binary())
def test_output_is_text_where_it_can_be_and_base64_where_not(data: bytes) -> None:
    shown = json.loads(b"".join(json_pieces(output_value("stdout", data))))
    if "stdout" in shown:
        assert shown == {"stdout": data.decode()}
    else:
        assert base64.b64decode(shown["stdout_base64"]) == data
        with pytest.raises(UnicodeDecodeError):
            data.decode()


def test_no_more_is_kept_than_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collected, "_LARGEST", 2 * 2**20)
    data = bytearray()
    collect(data, bytes(2 * 2**20))
    with pytest.raises(ChannelReset, match="no more than 2 MiB of each stream"):
        collect(data, b"x")
    assert len(data) == 2 * 2**20
