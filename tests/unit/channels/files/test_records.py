"""Records: the page and the code, every cut of a stream, and streams that lie."""

from __future__ import annotations

import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rshell.channels.files import records
from rshell.channels.files.messages import FileAttributes
from rshell.channels.files.records import (
    ENTRY,
    KINDS,
    PART,
    PIECE,
    Entry,
    Kind,
    Record,
    RecordDecoder,
    decode_entry,
    encode,
    encode_entry,
)
from rshell.errors import RemoteProtocolError
from tests.support.commands import ROOT

PAGE = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
VECTORS = {
    name: bytes.fromhex(body)
    for name, body in re.findall(r"^```record (\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
}
FILE = Entry(2, 1, b"f", 0o644, 1_000_000_001, 5, b"a\xff", {})
LINK = Entry(3, 0, b"l", 0o777, 0, 0, b"l", {"target": "x/y", "alone": True})

ANNS = FileAttributes(1000, 50, {"1000": "ann"}, {}, {"user.a": "aGVsbG8="})

names = st.binary(max_size=20)
entries = st.builds(
    Entry,
    st.integers(1, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.sampled_from([b"f", b"d", b"l"]),
    st.integers(0, 0o7777),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(0, 2**63 - 1),
    names,
    st.sampled_from([{}, {"target": "\udcff/ä"}, {"inode": 7}]),
)


def test_the_table_of_the_page_is_the_list_of_the_code() -> None:
    table = re.search(r"<!-- records -->\n[^\n]*\n[^\n]*\n(.*?)<!-- end -->", PAGE, re.DOTALL)
    assert table
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in table[1].splitlines()]
    assert rows == [list(shown(kind)) for kind in KINDS.values()]


def shown(kind: Kind) -> tuple[str, ...]:
    length = f"{kind.least:,}" + (f" to {kind.most:,}" if kind.most > kind.least else "")
    return str(kind.type), kind.name, kind.sender, kind.number, kind.payload, length


def test_the_vectors_of_the_page_are_what_the_code_writes() -> None:
    end = records.END_BODY.pack(5, hashlib.sha256(b"hello").digest())
    want = records.BLOCK_HEAD.pack(PIECE) + bytes(range(16))
    assert {
        "entry": encode_entry(FILE),
        "link": encode_entry(LINK),
        "want": encode(records.WANT, 2, want),
        "part": encode(PART, 2, b"hello"),
        "end": encode(records.END, 2, end),
        "result": encode(records.RESULT, 2),
        "skip": encode(records.SKIP, 3, b"\0"),
        "attributes": encode(records.ATTRIBUTES, 2, ANNS.to_bytes()),
        "last": encode(records.LAST, 3),
        "done": encode(records.DONE, 3),
    } == VECTORS
    for name, entry in (("entry", FILE), ("link", LINK)):
        (record,) = RecordDecoder(ENTRY).feed(VECTORS[name])
        assert decode_entry(record.number, record.payload) == entry


@given(entries)
def test_an_entry_comes_out_as_it_went_in(entry: Entry) -> None:
    (record,) = RecordDecoder(ENTRY).feed(encode_entry(entry))
    assert decode_entry(record.number, record.payload) == entry


@given(
    st.lists(st.tuples(st.integers(0, 2**32 - 1), st.binary(min_size=1, max_size=40)), max_size=6),
    st.lists(st.integers(1, 30)),
)
def test_a_stream_means_the_same_wherever_it_is_cut(
    said: list[tuple[int, bytes]], cuts: list[int]
) -> None:
    stream = b"".join(encode(PART, number, data) + encode(200, 0, data) for number, data in said)
    decoder, heard = RecordDecoder(PART), list[Record]()
    while stream:
        size = cuts.pop() if cuts else 7
        heard += [record._replace(payload=bytes(record.payload)) for record in
                  decoder.feed(stream[:size])]  # fmt: skip
        stream = stream[size:]
    assert heard == [Record(PART, number, data) for number, data in said]
    assert not decoder.is_inside_record


def test_a_payload_in_one_block_is_not_copied() -> None:
    block = encode(PART, 1, b"x" * 1000)
    (record,) = RecordDecoder(PART).feed(block)
    assert isinstance(record.payload, memoryview) and record.payload.obj is block


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_a_length_that_a_type_can_not_have_is_refused_before_its_payload(kind: Kind) -> None:
    for length in {kind.least - 1, kind.most + 1} - {-1}:
        head = records.HEADER.pack(kind.type, 1, length)
        with pytest.raises(RemoteProtocolError, match="bytes long"):
            list(RecordDecoder(kind.type).feed(head))
    for length in (kind.least, kind.most):
        decoder = RecordDecoder(kind.type)
        assert len(list(decoder.feed(records.HEADER.pack(kind.type, 1, length)))) == (not length)
        assert decoder.is_inside_record == bool(length)


def test_what_was_not_due_is_refused_and_what_comes_later_is_skipped() -> None:
    for data in (encode(records.WANT, 1), encode(0, 1), encode(127, 1)):
        with pytest.raises(RemoteProtocolError, match="was not due"):
            list(RecordDecoder(PART).feed(data))
    with pytest.raises(RemoteProtocolError, match="bytes long"):
        list(RecordDecoder(PART).feed(records.HEADER.pack(255, 0, 2**20)))


def test_entries_that_no_file_has_are_refused() -> None:
    head = records.ENTRY_HEAD
    for payload in (
        head.pack(0, b"p", 0, 0, 0, 0),
        head.pack(0, b"f", 0o10000, 0, 0, 0),
        head.pack(0, b"f", 0, 0, 2**63, 0),
        head.pack(0, b"f", 0, 0, 0, 2) + b"a",
        head.pack(0, b"f", 0, 0, 0, 1) + b"a[]",
    ):
        with pytest.raises(RemoteProtocolError):
            decode_entry(1, payload)
