"""The records of a `files` channel (docs/protocol.md, "Kind: files"): bytes and nothing else.

A record is a header (type, number, length) and a payload. There is one list of types, `KINDS`,
from which come the checks, the limits and the table of the page. `RecordDecoder` takes a stream
apart wherever it was cut; a payload that arrived in one block is a view of it, not a copy.

Hazard: a length is what a peer says. It is compared with the limit of its type before a byte of
the payload is kept.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, NamedTuple, Union

from rshell.errors import RemoteProtocolError
from rshell.protocol.codec import Json, encode_json, parse_object

PIECE = 240 * 1024  # bytes of a file in one record, which then fits into one frame
HASH_BYTES = 16  # of a block's SHA-256
MOST_BLOCKS = 64 * 1024  # of one file
ATTRIBUTES_LIMIT = 1024 * 1024  # bytes of JSON about one file
_JSON_LIMIT = 256 * 1024

HEADER = struct.Struct(">BII")
ENTRY_HEAD = struct.Struct(">IcHqQH")
FACTS = struct.Struct(">HqQ")
LENGTH = struct.Struct(">Q")
END_BODY = struct.Struct(">Q32s")
BLOCK_HEAD = struct.Struct(">I")
REASON = struct.Struct(">B")
WRITE_HEAD = struct.Struct(">IQ")

# Words of SKIP, by their number on the wire.
SKIP_REASONS = ("same", "exists", "newer", "would-send", "lost-parent")

Payload = Union[bytes, bytearray, memoryview]


class Kind(NamedTuple):
    """A type of record: who sends it, what its number is, and what the payload holds.

    `least` and `most` bound the length of the payload in bytes.
    """

    type: int
    name: str
    sender: str
    number: str
    payload: str
    least: int
    most: int


_ALL = (
    Kind(1, "ENTRY", "sender", "index", "parent u32, type u8, mode u16, mtime i64, size u64, "
         "name length u16, name, JSON or nothing", 25, 25 + 65535 + _JSON_LIMIT),
    Kind(2, "FRESH", "sender", "index", "mode u16, mtime i64, size u64", 18, 18),
    Kind(3, "PART", "sender", "index", "bytes", 1, PIECE),
    Kind(4, "SAME", "sender", "index", "length u64", 8, 8),
    Kind(5, "HOLE", "sender", "index", "length u64", 8, 8),
    Kind(6, "END", "sender", "index", "size u64, SHA-256 (32 bytes)", 40, 40),
    Kind(7, "GONE", "sender", "index", "JSON", 2, _JSON_LIMIT),
    Kind(8, "LEAVE", "sender", "index", "whole u8", 1, 1),
    Kind(9, "LAST", "sender", "entries", "nothing", 0, 0),
    Kind(10, "ATTRIBUTES", "sender", "index", "JSON", 2, ATTRIBUTES_LIMIT),
    Kind(17, "WANT", "receiver", "index", "nothing, or block u32 and a hash for each block",
         0, 4 + HASH_BYTES * MOST_BLOCKS),
    Kind(18, "SKIP", "receiver", "index", "reason u8", 1, 1),
    Kind(19, "RESULT", "receiver", "index", "nothing, or JSON", 0, _JSON_LIMIT),
    Kind(20, "DONE", "receiver", "entries", "nothing, or JSON", 0, _JSON_LIMIT),
    Kind(32, "NOTE", "both", "0", "JSON", 2, _JSON_LIMIT),
    Kind(48, "CALL", "client", "call", "JSON", 2, _JSON_LIMIT),
    Kind(49, "WRITE", "client", "call", "file u32, offset u64, bytes", 12, 12 + PIECE),
    Kind(50, "ANSWER", "server", "call", "JSON", 2, _JSON_LIMIT),
    Kind(51, "BYTES", "server", "call", "bytes", 0, PIECE),
)  # fmt: skip
KINDS = {kind.type: kind for kind in _ALL}
(
    ENTRY, FRESH, PART, SAME, HOLE, END, GONE, LEAVE, LAST, ATTRIBUTES,
    WANT, SKIP, RESULT, DONE, NOTE, CALL, WRITE, ANSWER, BYTES,
) = (kind.type for kind in _ALL)  # fmt: skip

_SKIPPABLE = 128  # types from here on are for later versions, and ignored
_LIMITS = {kind.type: (kind.least, kind.most) for kind in _ALL}


class Record(NamedTuple):
    """One record as it arrived."""

    type: int
    number: int
    payload: Payload


class Entry(NamedTuple):
    """A file, directory or symbolic link of a tree.

    `number` counts entries from 1; `parent` is that of its directory, 0 for the target. `type` is
    b"f", b"d" or b"l"; `mode` are permission bits; `mtime` is in nanoseconds. `more` holds what
    few have: the link's `target`, `alone`, and `inode`, which hard links of one file share.
    """

    number: int
    parent: int
    type: bytes
    mode: int
    mtime: int
    size: int
    name: bytes
    more: Json


def encode(record_type: int, number: int, payload: Payload = b"") -> bytes:
    """Return a record."""
    return HEADER.pack(record_type, number, len(payload)) + payload


def encode_entry(entry: Entry) -> bytes:
    """Return the record of an entry."""
    name = entry.name
    more = encode_json(entry.more) if entry.more else b""
    length = ENTRY_HEAD.size + len(name) + len(more)
    head = ENTRY_HEAD.pack(entry.parent, entry.type, entry.mode, entry.mtime, entry.size, len(name))
    return HEADER.pack(ENTRY, entry.number, length) + head + name + more


def decode_entry(number: int, payload: Payload) -> Entry:
    """Read the payload of an ENTRY. Raises RemoteProtocolError for what can't be one."""
    parent, kind, mode, mtime, size, length = ENTRY_HEAD.unpack_from(payload)
    end = ENTRY_HEAD.size + length
    if len(payload) < end or kind not in (b"f", b"d", b"l") or size >= 2**63 or mode > 0o7777:
        raise RemoteProtocolError("an ENTRY holds what no file has")
    name = bytes(payload[ENTRY_HEAD.size : end])
    more = parse_object("ENTRY", payload[end:]) if len(payload) > end else {}
    return Entry(number, parent, kind, mode, mtime, size, name, more)


def decode_json(record: Record) -> Json:
    """Read a payload that is JSON or nothing. Raises RemoteProtocolError."""
    return parse_object(KINDS[record.type].name, record.payload) if record.payload else {}


class RecordDecoder:
    """Takes a stream of records apart. `allowed` are the types that may come in it.

    What `feed` raises leaves it unusable: the stream has no meaning any more.
    """

    def __init__(self, *allowed: int) -> None:
        self._limits = {kind: _LIMITS[kind] for kind in allowed if kind in _LIMITS}
        self._kept = bytearray()  # the beginning of a record whose rest is on its way

    @property
    def is_inside_record(self) -> bool:
        """Whether a part of a record is waiting for the rest."""
        return bool(self._kept)

    def feed(self, data: bytes) -> Iterator[Record]:
        """Yield the records that `data` completes. Raises RemoteProtocolError."""
        at, size, kept = 0, len(data), self._kept
        view = memoryview(data)
        if kept:
            if len(kept) < HEADER.size:
                at = min(size, HEADER.size - len(kept))
                kept += view[:at]
                if len(kept) < HEADER.size:
                    return
            record_type, number, length = HEADER.unpack_from(kept)
            self._check(record_type, length)
            more = min(size - at, HEADER.size + length - len(kept))
            kept += view[at : at + more]
            at += more
            if len(kept) < HEADER.size + length:
                return
            self._kept = bytearray()
            if record_type < _SKIPPABLE:
                yield Record(record_type, number, memoryview(kept)[HEADER.size :])
        # Five records make a small file: here a call for each is a hundredth of copying it.
        unpack_from, limits_of, make = HEADER.unpack_from, self._limits.get, tuple.__new__
        while size - at >= HEADER.size:
            record_type, number, length = unpack_from(data, at)
            limits = limits_of(record_type)
            if limits is None or not limits[0] <= length <= limits[1]:
                self._check(record_type, length)
            end = at + HEADER.size + length
            if end > size:
                break
            if record_type < _SKIPPABLE:
                yield make(Record, (record_type, number, view[at + HEADER.size : end]))
            at = end
        if at < size:
            self._kept = bytearray(view[at:])

    def _check(self, record_type: int, length: int) -> None:
        """Raise RemoteProtocolError for a type that may not come, or not in this length."""
        limits = self._limits.get(record_type)
        if limits is None:
            if record_type < _SKIPPABLE:
                raise RemoteProtocolError(f"a record of the type {record_type} was not due")
            limits = (0, _JSON_LIMIT)
        if not limits[0] <= length <= limits[1]:
            raise RemoteProtocolError(f"a record of the type {record_type} is {length} bytes long")


def unpack(layout: struct.Struct, record: Record) -> tuple[Any, ...]:
    """Return what the whole payload holds; its length was checked when it arrived."""
    return layout.unpack(record.payload)
