"""Messages: built, frozen, there and back; what a peer may not say, field by field."""

from __future__ import annotations

import copy
import pickle
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from rshell.channels.process.messages import ProcessRequest, Resize, Signal
from rshell.errors import LocalProtocolError, RemoteProtocolError
from rshell.protocol import fields
from rshell.protocol.codec import (
    DEPTH_LIMIT,
    Json,
    Message,
    encode_json,
    memory_cost,
    parse_object,
    read_message,
)
from rshell.protocol.messages import Hello, Open
from rshell.values import TerminalSize
from tests.support.messages import JSON, TEXTS, all_messages, messages_of, over_the_wire

MANY = settings(  # slow to make, and nothing to shrink
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow],
    deadline=None,
)


class Dish(Message, type="dish"):
    name: str = fields.text(9)
    price: int = fields.integer(1, 50, default=7)
    spices: tuple[str, ...] = fields.texts(default=())
    extras: dict[str, str] = fields.text_map(default={}, key="with")

    def check(self) -> None:
        if self.price < 0:
            raise LocalProtocolError("a dish costs something")


class Menu(Message, label="the menu"):
    size: TerminalSize = fields.size()
    first: Dish | None = fields.nested(Dish, default=None)


# Construction.


def test_a_message_is_built_by_place_or_by_name() -> None:
    dish = Dish("soup", 8)
    assert dish == Dish(name="soup", price=8, spices=(), extras={}) == Dish("soup", price=8)
    assert (dish.name, dish.price, dish.spices, dish.extras) == ("soup", 8, (), {})
    assert dish != Dish("soup") and dish != ("soup", 8)
    assert repr(dish) == "Dish(name='soup', price=8, spices=(), extras={})"
    assert dish.replace(price=9) == Dish("soup", 9)
    assert hash(Resize(TerminalSize(8, 2))) == hash(Resize(TerminalSize(8, 2)))
    assert copy.deepcopy(dish) == dish
    assert pickle.loads(pickle.dumps(Signal("SIGINT"))) == Signal("SIGINT")


def test_a_message_with_a_field_too_many_or_too_few_is_not_built() -> None:
    make: Any = Dish
    for args, given_ in (((), {}), (("a", 1, (), {}, 5), {}), (("a",), {"name": "b"})):
        with pytest.raises(TypeError):
            make(*args, **given_)
    for wrong in ({"colour": 1}, {"key": 1}):
        with pytest.raises(TypeError):
            make("a", **wrong)
        with pytest.raises(TypeError):
            Dish("a").replace(**wrong)
    with pytest.raises(LocalProtocolError, match="costs"):
        Dish("a", -1)


def test_a_message_can_not_be_changed() -> None:
    dish: Any = Dish("soup")
    with pytest.raises(AttributeError, match="frozen"):
        dish.name = "stew"
    with pytest.raises(AttributeError, match="frozen"):
        del dish.name
    Dish("soup").extras["x"] = "y"
    assert Dish("soup").extras == Dish.decode({"name": "soup"}).extras == {}


# There and back.


def test_what_has_its_default_is_left_out() -> None:
    assert Dish("soup").encode() == {"type": "dish", "name": "soup"}
    full = Dish("soup", 8, ("salt",), {"bread": "white"})
    written = {"name": "soup", "price": 8, "spices": ["salt"], "with": {"bread": "white"}}
    assert full.encode() == {"type": "dish"} | written
    menu = Menu(TerminalSize(8, 2), Dish("soup"))
    assert menu.encode() == {"columns": 8, "rows": 2, "first": {"type": "dish", "name": "soup"}}
    assert Menu.decode(menu.encode()) == menu
    assert Menu.decode({"columns": 8, "rows": 2}).first is None


def for_every_message(check: Callable[[Message], None], examples: int) -> None:
    """Check messages of each class. One by one: all are more than one example has room for."""
    for cls in all_messages():
        settings(MANY, max_examples=examples)(given(messages_of(cls))(check))()


def test_every_message_arrives_as_it_was() -> None:
    for_every_message(_arrives, 30)


def _arrives(message: Message) -> None:
    cls = type(message)
    values = over_the_wire(message.encode())
    assert cls.decode(values) == message
    assert cls.decode(values | {"of a later version": [1, {"x": None}]}) == message
    assert cls.from_bytes(message.to_bytes()) == message
    assert values.get("type", "") == cls.TYPE
    if cls.TYPE:
        assert read_message(values, Hello, cls) == message


# What a peer may not say.

# JSON that is not what `says` names. A range and a length are looked at below.
_WRONG: dict[str, tuple[object, ...]] = {
    "integer": (None, True, 1.0, "1", [], {}),
    "number": (None, True, "1", [], {}, float("inf"), float("nan"), 10**400),
    "boolean": (None, 0, 1, "true", [], {}),
    "string": (None, True, 1, [], {}),
    "object": (None, True, 1, "{}", []),
    "list of strings": (None, "a", {}, [1], ["a", None]),
    "object of strings": (None, "a", [], {"a": 1}, {"a": None}),
    "two integers": (None, 1, "1", {}, [1], [0, 1], [2, 1], [1, 2**16], [True, 1], [1, 1.0]),
}


def wrong_values(field: fields.Field) -> list[object]:
    """Return values that a field does not take."""
    wrong = list(_WRONG[field.says])
    if field.says in ("integer", "number"):
        wrong.append(field.low - 1)
        wrong.append(field.high + 1)
    if field.says == "string" and field.write != field.read:
        wrong.append("x" * int(field.high + 1))
    return wrong


def test_every_field_of_every_message_refuses_what_is_not_its_type() -> None:
    for_every_message(_refuses, 3)


def _refuses(message: Message) -> None:
    cls = type(message)
    values = over_the_wire(message.encode())
    for field in _plain_fields(cls):
        for wrong in wrong_values(field):
            with pytest.raises(RemoteProtocolError) as caught:
                cls.decode(values | {field.key: wrong})
                pytest.fail(f"{cls.__name__} took {wrong!r} as {field.key}")
            assert field.key in str(caught.value)
            assert caught.value.code == "protocol"
        if field.is_required and field in cls.FIELDS:
            with pytest.raises(RemoteProtocolError, match=field.key):
                cls.decode({key: item for key, item in values.items() if key != field.key})


def _plain_fields(cls: type[Message]) -> list[fields.Field]:
    found = []
    for field in cls.FIELDS:
        if not isinstance(field, fields.Group):
            found.append(field)
        elif field.is_required and field.build is not None:
            found += [part for part in field.parts if not isinstance(part, fields.Group)]
    return found


@settings(max_examples=30)
@given(st.dictionaries(st.sampled_from(["versions", "status", "name"]) | TEXTS, JSON))
def test_random_objects_raise_nothing_else(values: Json) -> None:
    for cls in all_messages():
        try:
            cls.decode(values)
        except RemoteProtocolError:
            pass


def test_a_size_and_a_status_are_whole() -> None:
    for wrong in ({"rows": 2}, {"columns": 0, "rows": 2}, {"columns": True, "rows": 2}, {}):
        with pytest.raises(RemoteProtocolError, match="the menu needs 'columns'"):
            Menu.decode(wrong)
    with pytest.raises(RemoteProtocolError, match="the menu needs 'rows'"):
        Menu.decode({"columns": 2, "rows": 65536})
    with pytest.raises(RemoteProtocolError, match="dish needs 'name'"):
        Menu.decode({"columns": 2, "rows": 2, "first": {}})


def test_null_is_nothing_only_for_what_takes_several_keys() -> None:
    class Guest(Message, label="the guest"):
        table: int | None = fields.integer(default=None)
        size: TerminalSize | None = fields.size(default=None)

    assert Guest.decode({"columns": None}) == Guest()
    with pytest.raises(RemoteProtocolError, match="table"):
        Guest.decode({"table": None})


def test_what_we_must_not_say_a_peer_must_not() -> None:
    with pytest.raises(RemoteProtocolError, match="both 'command' and 'argv'"):
        ProcessRequest.decode({"command": "a", "argv": ["a"]})


def test_a_message_is_read_as_the_one_that_has_its_type() -> None:
    known = Dish, Resize
    assert read_message({"type": "resize", "columns": 1, "rows": 2}, *known) == Resize(
        TerminalSize(1, 2)
    )
    assert read_message({"type": "later", "name": 5}, *known) is None
    for wrong in ({}, {"type": 5}, {"type": None}, {"type": "dish"}, {"type": "resize"}):
        with pytest.raises(RemoteProtocolError):
            read_message(wrong, *known)


# Bytes.

_NO_OBJECTS = (
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
    b'{"n":' + b"9" * 100_000 + b"}",
)


def test_a_body_that_is_no_json_object_is_the_peers_error() -> None:
    for raw in _NO_OBJECTS:
        with pytest.raises(RemoteProtocolError, match="not an ASCII JSON object"):
            parse_object("MESSAGE", raw)
            pytest.fail(f"took {raw[:12]!r}")
        with pytest.raises(RemoteProtocolError, match="the body of OPEN is not an ASCII JSON"):
            Open.from_bytes(raw)


def test_shapes_that_take_many_times_their_bytes_are_refused_before_they_are_parsed() -> None:
    for raw, wrong in (
        (b'{"a":' * 100_000, "holds more than"),
        (b"[" * 100_000, "holds more than"),
        (b'{"a":[' + b"[]," * 80_000 + b"[]]}", "holds more than"),
        (b'{"a":[' + b"1," * 80_000 + b"1]}", "holds more than"),
        (b'{"a":' + b"[" * DEPTH_LIMIT + b"]" * DEPTH_LIMIT + b"}", "nests deeper than"),
        (b'{"a":' * (DEPTH_LIMIT + 1), "nests deeper than"),
    ):
        with pytest.raises(RemoteProtocolError, match=f"the body of OPEN {wrong}"):
            parse_object("OPEN", raw)
            pytest.fail(f"took {raw[:12]!r}")


def test_brackets_and_commas_in_texts_are_no_values() -> None:
    for text in ("[" * 100_000, ",{" * 50_000, '\\"[' * 30_000, '"' * 40_000 + "[" * 40_000):
        raw = encode_json({"command": text, "argv": ["[", "\\"]})
        assert parse_object("OPEN", raw) == {"command": text, "argv": ["[", "\\"]}


def test_what_json_takes_in_memory_is_not_underestimated() -> None:
    for item in ("[]", "{}", '{"a":1}', '{"a":{"b":[0.5]}}', '"ab"', "1234", "1e5", "null", "[[]]"):
        raw = b'{"a":[' + b",".join([item.encode()] * 1000) + b"]}"
        tracemalloc.start()
        values = parse_object("OPEN", raw)
        taken, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert values and taken <= memory_cost(raw), item


@given(st.binary(max_size=60))
def test_random_bytes_raise_nothing_else(raw: bytes) -> None:
    try:
        parse_object("MESSAGE", raw)
    except RemoteProtocolError:
        pass


@given(st.binary(max_size=80))
def test_bytes_that_are_no_utf8_survive_as_lone_surrogates(name: bytes) -> None:
    text = name.decode("utf-8", "surrogateescape")
    raw = encode_json({"cwd": text})
    assert raw.isascii()
    assert parse_object("OPEN", raw)["cwd"].encode("utf-8", "surrogateescape") == name


def test_a_number_too_large_for_a_float_is_no_time() -> None:
    for raw in (b'{"timeout":1e999}', b'{"timeout":1' + b"0" * 400 + b"}"):
        with pytest.raises(RemoteProtocolError, match="timeout"):
            ProcessRequest.from_bytes(raw)


def test_encode_json_refuses_what_is_not_json() -> None:
    with pytest.raises(ValueError, match="JSON"):
        encode_json({"x": float("nan")})
