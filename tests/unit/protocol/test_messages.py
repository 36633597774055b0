from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rshell.errors import RemoteProtocolError
from rshell.protocol.codec import COUNT_LIMIT, Body, encode_json
from rshell.protocol.messages import (
    Attach,
    Attached,
    Auth,
    Failure,
    Goodbye,
    Hello,
    Open,
    Opened,
    decode_number,
    encode_number,
)

texts = st.text(st.characters(exclude_categories=()), max_size=60)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
versions = st.tuples(st.integers(1, 2**16 - 1), st.integers(1, 2**16 - 1)).map(sorted)


def failure_of(name: str, raw: bytes) -> RemoteProtocolError:
    decoders: dict[str, Any] = {
        "HELLO": Hello.decode,
        "AUTH": Auth.decode,
        "ATTACH": Attach.decode,
        "ATTACHED": Attached.decode,
        "GOODBYE": Goodbye.decode,
        "OPEN": Open.decode,
        "OPENED": Opened.decode,
        "RESET": lambda raw: Failure.decode("RESET", raw),
        "PING": lambda raw: decode_number("PING", "id", raw, 0),
        "ACK": lambda raw: decode_number("ACK", "received", raw, 0),
        "WINDOW": lambda raw: decode_number("WINDOW", "bytes", raw, 1),
    }
    with pytest.raises(RemoteProtocolError) as caught:
        decoders[name](raw)
    assert caught.value.code == "protocol"
    return caught.value


@given(versions, st.integers(16384, 2**31), texts, st.lists(texts, max_size=3))
def test_hello_comes_back_as_it_was(
    pair: list[int], frame: int, name: str, some: list[str]
) -> None:
    hello = Hello(pair[0], pair[1], frame, name, tuple(some), tuple(some))
    assert Hello.decode(hello.encode()) == hello


@given(texts, texts, st.booleans(), texts)
def test_auth_comes_back_as_it_was(data: str, mechanism: str, done: bool, identity: str) -> None:
    auth = Auth(data, mechanism, done, identity if done else "")
    assert Auth.decode(auth.encode()) == auth


@given(texts, texts, st.integers(0, COUNT_LIMIT))
def test_attach_and_attached_come_back_as_they_were(
    session: str, secret: str, received: int
) -> None:
    assert Attach.decode(Attach().encode()) == Attach()
    for made in (Attach(session, secret, received), Attached(session, secret, received)):
        assert type(made).decode(made.encode()) == made


@given(texts, texts, st.dictionaries(texts, json_values, max_size=3), st.integers(1, 2**31))
def test_channel_bodies_come_back_as_they_were(
    code: str, reason: str, values: dict[str, Any], window: int
) -> None:
    assert Failure.decode("RESET", Failure(code, reason).encode()) == Failure(code, reason)
    assert Goodbye.decode(Goodbye(code, reason, (1, 2)).encode()) == Goodbye(code, reason, (1, 2))
    assert Open.decode(Open(code, window, values).encode()) == Open(code, window, values)
    assert Opened.decode(Opened(window, values).encode()) == Opened(window, values)


@given(st.integers(0, COUNT_LIMIT))
def test_numbers_come_back_as_they_were(value: int) -> None:
    assert decode_number("ACK", "received", encode_number("received", value), 0) == value


@given(st.binary(max_size=80))
def test_bytes_that_are_no_utf8_survive_as_lone_surrogates(name: bytes) -> None:
    text = name.decode("utf-8", "surrogateescape")
    raw = encode_json({"cwd": text})
    assert raw.isascii()
    values = Body.parse("OPEN", raw).values
    assert values["cwd"].encode("utf-8", "surrogateescape") == name


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"1",
        b'"text"',
        b"{}{}",
        b"\xef\xbb\xbf{}",
        b"{}\0",
        '{"reason":"ä"}'.encode(),
        b'{"n":NaN}',
        b'{"n":Infinity}',
        b'{"n":-Infinity}',
        b'{"a":' * 100_000,
        b"[" * 100_000,
        b'{"a":' + b"[" * 60_000 + b"]" * 60_000 + b"}",
        b'{"n":' + b"9" * 100_000 + b"}",
    ],
    ids=lambda raw: repr(raw[:12]),
)
def test_a_body_that_is_no_json_object_is_the_peers_error(raw: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="not an ASCII JSON object"):
        Body.parse("MESSAGE", raw)


@given(st.binary(max_size=60))
def test_random_bytes_raise_nothing_else(raw: bytes) -> None:
    try:
        Body.parse("MESSAGE", raw)
    except RemoteProtocolError:
        pass


@given(st.dictionaries(st.sampled_from(["versions", "frame", "data", "code"]) | texts, json_values))
def test_random_objects_raise_nothing_else(values: dict[str, Any]) -> None:
    raw = encode_json(values)
    for kind in (Hello, Auth, Attach, Attached, Goodbye, Open, Opened):
        try:
            kind.decode(raw)
        except RemoteProtocolError:
            pass


@pytest.mark.parametrize(
    ("name", "values", "says"),
    [
        ("HELLO", {"frame": 2**18}, "versions"),
        ("HELLO", {"versions": [1], "frame": 2**18}, "versions"),
        ("HELLO", {"versions": [0, 1], "frame": 2**18}, "versions"),
        ("HELLO", {"versions": [2, 1], "frame": 2**18}, "versions"),
        ("HELLO", {"versions": [1, 2**16], "frame": 2**18}, "versions"),
        ("HELLO", {"versions": [True, 1], "frame": 2**18}, "versions"),
        ("HELLO", {"versions": [1, 1.0], "frame": 2**18}, "versions"),
        ("HELLO", {"versions": [1, 1]}, "frame"),
        ("HELLO", {"versions": [1, 1], "frame": 16383}, "frame"),
        ("HELLO", {"versions": [1, 1], "frame": 2**31 + 1}, "frame"),
        ("HELLO", {"versions": [1, 1], "frame": "16384"}, "frame"),
        ("HELLO", {"versions": [1, 1], "frame": 16384, "mechanisms": "A"}, "mechanisms"),
        ("HELLO", {"versions": [1, 1], "frame": 16384, "mechanisms": [1]}, "mechanisms"),
        ("HELLO", {"versions": [1, 1], "frame": 16384, "features": [None]}, "features"),
        ("HELLO", {"versions": [1, 1], "frame": 16384, "implementation": "x" * 201}, "impl"),
        ("AUTH", {"data": 1}, "data"),
        ("AUTH", {"data": "x" * 8193}, "data"),
        ("AUTH", {"mechanism": None}, "mechanism"),
        ("AUTH", {"done": 1}, "done"),
        ("AUTH", {"identity": []}, "identity"),
        ("ATTACH", {"session": "a"}, "secret"),
        ("ATTACH", {"session": "a", "secret": "b"}, "received"),
        ("ATTACH", {"session": "a", "secret": "b", "received": -1}, "received"),
        ("ATTACH", {"session": "a", "secret": "b", "received": True}, "received"),
        ("ATTACH", {"session": "a", "secret": "b", "received": 2**63 + 1}, "received"),
        ("ATTACH", {"session": 7, "secret": "b", "received": 0}, "session"),
        ("ATTACHED", {"secret": "b", "received": 0}, "session"),
        ("ATTACHED", {"session": None, "secret": "b", "received": 0}, "session"),
        ("GOODBYE", {}, "code"),
        ("GOODBYE", {"code": "done", "reason": 5}, "reason"),
        ("GOODBYE", {"code": "version", "versions": [1]}, "versions"),
        ("GOODBYE", {"code": "x" * 101}, "code"),
        ("OPEN", {"window": 1}, "kind"),
        ("OPEN", {"kind": "process"}, "window"),
        ("OPEN", {"kind": "process", "window": 0}, "window"),
        ("OPEN", {"kind": "process", "window": 2**31 + 1}, "window"),
        ("OPEN", {"kind": "process", "window": 1, "request": []}, "request"),
        ("OPENED", {}, "window"),
        ("OPENED", {"window": 1, "reply": 1}, "reply"),
        ("RESET", {}, "code"),
        ("PING", {}, "id"),
        ("PING", {"id": -1}, "id"),
        ("PING", {"id": 1.0}, "id"),
        ("ACK", {"received": 2**63 + 1}, "received"),
        ("WINDOW", {"bytes": 0}, "bytes"),  # a zero WINDOW moves nothing: never allowed
    ],
)
def test_a_field_that_is_missing_or_out_of_range_is_named(
    name: str, values: dict[str, Any], says: str
) -> None:
    error = failure_of(name, encode_json(values))
    assert says in str(error)
    assert name in str(error)


def test_unknown_keys_are_ignored_in_every_body() -> None:
    later = {"later": [1, {"x": None}]}
    assert Attach.decode(encode_json(later)) == Attach()
    assert Auth.decode(encode_json({"data": "x"} | later)) == Auth("x")
    assert Goodbye.decode(encode_json({"code": "done"} | later)) == Goodbye("done", "")
    assert decode_number("PING", "id", encode_json({"id": 3} | later), 0) == 3


def test_a_long_reason_is_cut_by_both_ends_so_that_it_fits_before_login() -> None:
    reason = "\U0001f600" * 100_000  # 12 bytes each on the wire
    for raw in (Failure("failed", reason).encode(), Goodbye("done", reason).encode()):
        assert len(raw) < 16 * 1024
    long = encode_json({"code": "failed", "reason": reason[:10_000]})
    assert Failure.decode("RESET", long).reason == reason[:1000]


def test_encode_json_refuses_what_is_not_json() -> None:
    with pytest.raises(ValueError, match="JSON"):
        encode_json({"x": float("nan")})


def test_the_readers_of_fields() -> None:
    body = Body(
        "X", json.loads('{"a":1,"s":"t","f":1.5,"n":null,"b":true,"o":{"k":"v"},"l":["x"]}')
    )
    assert body.integer("a", 0, 1) == 1
    assert body.integer("absent", 0, 9, default=4) == 4
    assert body.seconds("f") == 1.5
    assert body.seconds("a") == 1.0
    assert body.seconds("n") is None
    assert body.text("s") == "t"
    assert body.optional_text("n") is None
    assert body.optional_text("s") == "t"
    assert body.boolean("b") is True
    assert body.boolean("absent") is False
    assert body.object("o") == {"k": "v"}
    assert body.object("absent") == {}
    assert body.texts("l") == ("x",)
    assert body.text_map("o") == {"k": "v"}


@pytest.mark.parametrize("value", [0, -1, 1e9, "5", True, [], 10**400])
def test_durations_are_positive_and_finite(value: object) -> None:
    with pytest.raises(RemoteProtocolError, match="seconds"):
        Body("X", {"timeout": value}).seconds("timeout")


def test_infinity_by_overflow_is_no_duration() -> None:
    body = Body.parse("X", b'{"timeout":1e999}')
    with pytest.raises(RemoteProtocolError):
        body.seconds("timeout")


def test_a_map_with_anything_but_strings_is_refused() -> None:
    with pytest.raises(RemoteProtocolError):
        Body("X", {"env": {"A": 1}}).text_map("env")
