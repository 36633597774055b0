"""What is fuzzed: each target takes bytes of any kind, and raises for a fault and nothing else.

Those of `link.py` read their bytes as decisions (`Decisions`), and so build frames, sessions and
two ends that talk; the others take the bytes as what a peer or a person has written.
"""

from __future__ import annotations

import json
import random
import unicodedata
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

from rshell.channels.files.messages import FileAttributes
from rshell.channels.files.records import (
    ATTRIBUTES,
    ENTRY,
    WANT,
    RecordDecoder,
    decode_entry,
    decode_json,
    encode_entry,
)
from rshell.channels.files.rules import Blocks
from rshell.errors import (
    AddressError,
    ConfigurationError,
    RemoteProtocolError,
)
from rshell.protocol.codec import (
    DEPTH_LIMIT,
    VALUE_LIMIT,
    check_shape,
    parse_object,
    read_message,
)
from rshell.protocol.frames import FrameDecoder, describe_frame
from rshell.protocol.scram import ScramClient, ScramError, ScramServer
from rshell.protocol.session import Role
from rshell.security.tokens import TokenLine
from rshell.terminal.output import ModeTracker, printable
from rshell.values import Address
from tests.fuzz.link import BINDING, KINDS, LIMITS, VERIFIER, Victim
from tests.support.messages import all_messages, over_the_wire
from tests.support.wire import IDENTITY, at_stage, stages

Target = Callable[[bytes], None]

_UNSAFE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_MESSAGES = all_messages()
_STAGES = [(role, stage) for role in Role for stage in stages(role)[:-1]]


class Decisions(random.Random):
    """Chance that is read from bytes: whoever changes a byte changes one decision."""

    def __init__(self, data: bytes) -> None:
        super().__init__(0)
        self._data = data
        self._at = 0

    def _next(self, size: int) -> int:
        piece = self._data[self._at : self._at + size]
        self._at += size
        return int.from_bytes(piece.ljust(size, b"\0"), "big")

    def random(self) -> float:
        """Return a number below 1, of one byte; what is rare does not happen without one."""
        return (255 - self._next(1)) / 256

    def getrandbits(self, k: int) -> int:
        """Return a whole number of `k` bits; of all zeros once the bytes are used up."""
        return self._next((k + 7) // 8) >> (-k % 8)


def decide(kind: Callable[[random.Random, Counter[str]], None], data: bytes) -> None:
    """Run a kind of `link.py` with the decisions that are in `data`."""
    kind(Decisions(data), Counter())


def wire(data: bytes) -> None:
    """Take two bytes as role, stage and the size of pieces, and the rest as what a peer sends."""
    if len(data) < 2:
        return
    role, stage = _STAGES[data[0] % len(_STAGES)]
    link, session = at_stage(role, stage, LIMITS)
    victim = Victim(random.Random(data[1]), link, session, Counter())
    victim.feed(data[2:])
    victim.finish()


def frames(data: bytes) -> None:
    """Cut frames out of bytes as they come, and out of all at once."""
    if not data:
        return
    size = 1 + data[0] % 40
    data = data[1:]
    assert _decode([data]) == _decode([data[at : at + size] for at in range(0, len(data), size)])


def _decode(pieces: list[bytes]) -> list[object]:
    decoder = FrameDecoder(1000)
    found: list[object] = []
    try:
        for piece in pieces:
            for frame in decoder.feed(piece):
                line = describe_frame(frame)
                assert line.isascii() and line.isprintable() and len(line) < 500, line
                found.append((frame.type, frame.channel, bytes(frame.body)))
            assert len(decoder._partial) < 9 + 1000
    except RemoteProtocolError as error:
        found.append(str(error))
    return found


def messages(data: bytes) -> None:
    """Read a body as each kind of message; what is one stays what it is."""
    if not data:
        return
    cls = _MESSAGES[data[0] % len(_MESSAGES)]
    try:
        message = cls.from_bytes(data[1:])
        assert cls.decode(over_the_wire(message.encode())) == message
        read_message(parse_object("MESSAGE", data[1:]), *(one for one in _MESSAGES if one.TYPE))
    except RemoteProtocolError:
        pass


def records(data: bytes) -> None:
    """Take a stream of records apart, whole and in pieces: they are the same, or wrong alike."""
    if not data:
        return
    size, stream = data[0] % 37 + 1, data[1:]
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    assert _take_apart([stream]) == _take_apart(pieces)


def _take_apart(pieces: list[bytes]) -> list[object]:
    decoder = RecordDecoder(*range(128))
    found: list[object] = []
    try:
        for piece in pieces:
            for record in decoder.feed(piece):
                found.append((record.type, record.number, bytes(record.payload)))
                if record.type == ENTRY:
                    entry = decode_entry(record.number, record.payload)
                    (again,) = RecordDecoder(ENTRY).feed(encode_entry(entry))
                    assert decode_entry(again.number, again.payload) == entry
                elif record.type == WANT:
                    Blocks.decode(record.payload, 2**40)
                elif record.type == ATTRIBUTES:
                    FileAttributes.decode(decode_json(record)).values()
    except RemoteProtocolError as error:
        found.append(str(error))
    return found


def shapes(data: bytes) -> None:
    """Judge the shape of JSON before it is parsed, and compare with what it is."""
    wrong = check_shape(data)
    try:
        values = json.loads(data.decode("ascii"))
    except (ValueError, RecursionError):
        return
    depth, count = _measure(values)
    if wrong:
        assert depth > DEPTH_LIMIT or count > VALUE_LIMIT, wrong
    else:
        assert depth <= DEPTH_LIMIT


def _measure(values: Any) -> tuple[int, int]:
    """Return how deep JSON nests, and about how many values it holds."""
    depth, count, level = 0, 1, [values]
    while level := [item for item in level if isinstance(item, (dict, list))]:
        depth += 1
        inner = [item for outer in level for item in _items(outer)]
        count += len(inner) + 1
        level = inner
    return depth, count


def _items(outer: Any) -> list[Any]:
    return list(outer.values()) if isinstance(outer, dict) else outer


def output(data: bytes) -> None:
    """Follow a program's output, cut anywhere, and show what it says as text that can't act."""
    if not data:
        return
    size = 1 + data[0] % 60
    data = data[1:]
    whole, cut = ModeTracker(), ModeTracker()
    whole.feed(data)
    for at in range(0, len(data), size):
        cut.feed(data[at : at + size])
    assert whole.restore() == cut.restore()
    assert whole.mid_line == cut.mid_line
    assert whole.reset() == cut.reset()
    assert whole.restore() == b""
    for text in (data.decode("utf-8", "surrogateescape"), data.decode("utf-16", "replace")):
        shown = printable(text)
        assert not any(unicodedata.category(character) in _UNSAFE for character in shown)


def lines(data: bytes) -> None:
    """Read addresses, token lines and the messages of a login, as they are typed or sent."""
    text = data.decode("utf-8", "surrogateescape")
    try:
        address = Address.parse(text)
        assert Address.parse(str(address)) == address
    except AddressError:
        pass
    try:
        line = TokenLine.parse(text)
        assert TokenLine.parse(str(line)) == line
    except (ConfigurationError, AddressError):
        pass
    server = ScramServer(lambda _: VERIFIER, bytes(32), BINDING, nonce="yours")
    try:
        server.challenge(text)
        server.finish(text)
    except ScramError:
        pass
    client = ScramClient(IDENTITY, "secret", BINDING, nonce="mine")
    client.first()
    try:
        if "i=1" not in text:  # a million rounds of hashing are what the protocol allows
            client.final(text)
            client.verify(text)
    except ScramError:
        pass


TARGETS: dict[str, Target] = {
    "wire": wire,
    "frames": frames,
    "messages": messages,
    "records": records,
    "shapes": shapes,
    "output": output,
    "lines": lines,
    **{kind.__name__.removeprefix("fuzz_"): partial(decide, kind) for kind in KINDS},
}
