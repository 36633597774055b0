"""Records are told from whatever else a command writes to the pipe, however it comes cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rshell.channels.shell.native.records import RecordReader


@given(st.lists(st.lists(st.text("ab\n é"), max_size=3), max_size=4))
def test_records_are_read_at_every_cut_with_anything_between(records: list[list[str]]) -> None:
    data = b"noise of a command\0" + b"".join(
        b"\0".join([b"S", b"%d" % len(fields), *(text.encode() for text in fields), b""])
        for fields in records
    )
    step = 1 + len(data) // 40
    for at in range(0, len(data) + 1, step):
        reader = RecordReader()
        found = reader.feed(data[:at]) + reader.feed(data[at:])
        assert found == [["S", *fields] for fields in records], at


def test_a_record_that_never_ends_is_not_kept_whole() -> None:
    reader = RecordReader()
    for _ in range(8):
        assert reader.feed(b"x" * (1 << 20)) == []
    assert len(reader._rest) <= 1 << 20
    assert reader.feed(b"\0S\0" + b"1\0yes\0") == [["S", "yes"]]


def test_no_record_is_kept_that_would_never_end() -> None:
    reader = RecordReader()
    assert not reader.feed(b"S\0" + b"9" * 5000 + b"\0")
    assert not reader.feed(b"S\x00999999\0")
    for _ in range(20):
        assert not reader.feed(b"x" * (1 << 20) + b"\0")
    assert reader.feed(b"S\x001\0yes\0") == [["S", "yes"]]
