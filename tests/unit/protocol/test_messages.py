"""The bodies of control frames: what each leaves out, and what a peer may not say.

That every body arrives as it was, and that no field takes another type, is test_codec.py's.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rshell.errors import RemoteProtocolError
from rshell.protocol.codec import encode_json
from rshell.protocol.fields import COUNT_LIMIT
from rshell.protocol.messages import (
    Attach,
    Attached,
    Auth,
    Goodbye,
    Hello,
    Open,
    Opened,
    Refused,
    Reset,
    Resume,
    decode_number,
    encode_number,
)

DECODERS: dict[str, Any] = {
    "HELLO": Hello.from_bytes,
    "AUTH": Auth.from_bytes,
    "ATTACH": Attach.from_bytes,
    "ATTACHED": Attached.from_bytes,
    "GOODBYE": Goodbye.from_bytes,
    "OPEN": Open.from_bytes,
    "OPENED": Opened.from_bytes,
    "REFUSED": Refused.from_bytes,
    "RESET": Reset.from_bytes,
    "PING": lambda raw: decode_number("PING", "id", raw, 0),
    "ACK": lambda raw: decode_number("ACK", "received", raw, 0),
    "WINDOW": lambda raw: decode_number("WINDOW", "bytes", raw, 1),
}

_HELLO = {"versions": [1, 1], "frame": 16384}
_RESUME = {"session": "a", "secret": "b", "received": 0}

_REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("HELLO", {"frame": 2**18}, "versions"),
    ("HELLO", _HELLO | {"versions": [1]}, "versions"),
    ("HELLO", _HELLO | {"versions": [0, 1]}, "versions"),
    ("HELLO", _HELLO | {"versions": [2, 1]}, "versions"),
    ("HELLO", _HELLO | {"versions": [1, 2**16]}, "versions"),
    ("HELLO", _HELLO | {"versions": [True, 1]}, "versions"),
    ("HELLO", _HELLO | {"versions": [1, 1.0]}, "versions"),
    ("HELLO", {"versions": [1, 1]}, "frame"),
    ("HELLO", _HELLO | {"frame": 16383}, "frame"),
    ("HELLO", _HELLO | {"frame": 2**31 + 1}, "frame"),
    ("HELLO", _HELLO | {"frame": "16384"}, "frame"),
    ("HELLO", _HELLO | {"mechanisms": "A"}, "mechanisms"),
    ("HELLO", _HELLO | {"mechanisms": [1]}, "mechanisms"),
    ("HELLO", _HELLO | {"features": [None]}, "features"),
    ("HELLO", _HELLO | {"implementation": "x" * 201}, "impl"),
    ("AUTH", {"data": 1}, "data"),
    ("AUTH", {"data": "x" * 8193}, "data"),
    ("AUTH", {"mechanism": None}, "mechanism"),
    ("AUTH", {"done": 1}, "done"),
    ("AUTH", {"identity": []}, "identity"),
    ("ATTACH", {"session": "a"}, "secret"),
    ("ATTACH", {"session": "a", "secret": "b"}, "received"),
    ("ATTACH", _RESUME | {"received": -1}, "received"),
    ("ATTACH", _RESUME | {"received": True}, "received"),
    ("ATTACH", _RESUME | {"received": 2**63 + 1}, "received"),
    ("ATTACH", _RESUME | {"session": 7}, "session"),
    ("ATTACH", {"linger": 0}, "linger"),
    ("ATTACHED", {"secret": "b", "received": 0}, "session"),
    ("ATTACHED", _RESUME | {"session": None}, "session"),
    ("GOODBYE", {}, "code"),
    ("GOODBYE", {"code": "done", "reason": 5}, "reason"),
    ("GOODBYE", {"code": "version", "versions": [1]}, "versions"),
    ("GOODBYE", {"code": "version", "versions": None}, "versions"),
    ("GOODBYE", {"code": "x" * 101}, "code"),
    ("OPEN", {"window": 1}, "kind"),
    ("OPEN", {"kind": "process"}, "window"),
    ("OPEN", {"kind": "process", "window": 0}, "window"),
    ("OPEN", {"kind": "process", "window": 2**31 + 1}, "window"),
    ("OPEN", {"kind": "process", "window": 1, "request": []}, "request"),
    ("OPENED", {}, "window"),
    ("OPENED", {"window": 1, "reply": 1}, "reply"),
    ("REFUSED", {"reason": "x"}, "code"),
    ("RESET", {}, "code"),
    ("PING", {}, "id"),
    ("PING", {"id": -1}, "id"),
    ("PING", {"id": 1.0}, "id"),
    ("ACK", {"received": 2**63 + 1}, "received"),
    ("WINDOW", {"bytes": 0}, "bytes"),  # a zero WINDOW moves nothing: never allowed
]


def test_a_field_that_is_missing_or_out_of_range_is_named() -> None:
    for name, values, says in _REFUSED:
        with pytest.raises(RemoteProtocolError) as caught:
            DECODERS[name](encode_json(values))
            pytest.fail(f"{name} took {values}")
        assert caught.value.code == "protocol"
        assert says in str(caught.value)
        assert name in str(caught.value)


@given(st.integers(0, COUNT_LIMIT))
def test_numbers_come_back_as_they_were(value: int) -> None:
    assert decode_number("ACK", "received", encode_number("received", value), 0) == value


def test_attach_without_a_session_asks_for_a_new_one() -> None:
    assert Attach().encode() == {}
    assert Attach.decode({"session": None, "received": 0, "linger": 3}) == Attach(linger=3.0)
    resume = Attach(Resume("a", "b", 0))
    assert resume.encode() == _RESUME
    assert Attach.decode(_RESUME) == resume


def test_unknown_keys_are_ignored_in_every_body() -> None:
    later = {"later": [1, {"x": None}]}
    assert Attach.from_bytes(encode_json(later)) == Attach()
    assert Auth.from_bytes(encode_json({"data": "x"} | later)) == Auth("x")
    assert Goodbye.from_bytes(encode_json({"code": "done"} | later)) == Goodbye("done", "")
    assert decode_number("PING", "id", encode_json({"id": 3} | later), 0) == 3


def test_a_long_reason_is_cut_by_both_ends_so_that_it_fits_before_login() -> None:
    reason = "\U0001f600" * 100_000  # 12 bytes each on the wire
    for body in (Refused("failed", reason), Reset("failed", reason), Goodbye("done", reason)):
        assert len(body.to_bytes()) < 16 * 1024
    long = encode_json({"code": "failed", "reason": reason[:10_000]})
    assert Reset.from_bytes(long).reason == reason[:1000]
