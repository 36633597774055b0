"""The log of a job: order, bounds, and a true account of what is missing."""

from __future__ import annotations

import errno
import os
import random
import resource
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rshell.channels.job.log import LogReader, LogWriter, Output
from rshell.channels.job.messages import ERR, OUT

HEAD = 20
LARGE = 1 << 30


@contextmanager
def writing(folder: Path, limit: int = LARGE) -> Iterator[LogWriter]:
    writer = LogWriter(folder, limit)
    try:
        yield writer
    finally:
        writer.close()


@contextmanager
def reading(folder: Path) -> Iterator[LogReader]:
    reader = LogReader(folder)
    try:
        yield reader
    finally:
        reader.close()


def read_all(reader: LogReader, before: int | None = None) -> list[Output]:
    return list(iter(lambda: reader.read(before), None))


def size(folder: Path, stream: str) -> int:
    return sum(path.stat().st_size for path in folder.glob(f"{stream}.*"))


def test_both_streams_come_back_in_order_and_the_files_are_private(tmp_path: Path) -> None:
    with writing(tmp_path) as writer, reading(tmp_path) as reader:
        assert reader.read() is None
        written = [(OUT, b"one"), (ERR, b"two"), (ERR, b"three"), (OUT, b"four"), (ERR, b"5")]
        for stream, data in written:
            writer.write(stream, data)
        assert read_all(reader) == [(stream, data, 0) for stream, data in written]
        assert writer.counts == {OUT: 7, ERR: 9}
        assert reader.missing(writer.counts) == []
        writer.write(OUT, b"later")
        assert read_all(reader) == [(OUT, b"later", 0)]
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.glob("std*")}
    assert modes == {0o600}


def test_a_reader_may_stop_at_what_was_there_at_some_moment(tmp_path: Path) -> None:
    with writing(tmp_path) as writer, reading(tmp_path) as reader:
        writer.write(OUT, b"abc")
        writer.write(ERR, b"de")
        before = sum(writer.counts.values())
        writer.write(OUT, b"later")
        assert read_all(reader, before) == [(OUT, b"abc", 0), (ERR, b"de", 0)]


@pytest.mark.parametrize("limit", [64, 1000, 40_000])
def test_each_stream_is_bounded_and_what_is_missing_is_counted(tmp_path: Path, limit: int) -> None:
    rng = random.Random(limit)
    whole = {OUT: b"", ERR: b""}
    with writing(tmp_path, limit) as writer:
        writer.write(ERR, b"precious")
        whole[ERR] += b"precious"
        for _ in range(300):
            data = rng.randbytes(rng.randrange(1, 900))
            writer.write(OUT, data)
            whole[OUT] += data
            assert size(tmp_path, "stdout") <= limit
    with reading(tmp_path) as reader:
        places = {OUT: 0, ERR: 0}
        dropped = 0
        for stream, data, gap in read_all(reader):
            dropped += gap
            places[stream] += gap
            assert whole[stream][places[stream] :].startswith(data)
            places[stream] += len(data)
        assert places == writer.counts == {OUT: len(whole[OUT]), ERR: 8}
        assert dropped and len(whole[OUT]) - dropped >= limit // 2 - 2 * HEAD - 900


def test_a_reader_that_falls_behind_is_told_how_far(tmp_path: Path) -> None:
    with writing(tmp_path, 4000) as writer, reading(tmp_path) as reader:
        writer.write(OUT, b"first")
        assert reader.read() == (OUT, b"first", 0)
        for number in range(100):
            writer.write(OUT, b"%03d" % number * 100)
        found = read_all(reader)
        assert sum(len(data) + gap for _, data, gap in found) == 100 * 300
        assert found[-1].data == b"099" * 100


def test_a_torn_record_at_the_end_is_not_output(tmp_path: Path) -> None:
    with writing(tmp_path) as writer:
        writer.write(OUT, b"whole")
        writer.write(OUT, b"torn")
    path = tmp_path / "stdout.0"
    for cut in range(1, HEAD + 4):
        os.truncate(path, HEAD + 5 + HEAD + 4 - cut)
        with reading(tmp_path) as reader:
            assert read_all(reader) == [(OUT, b"whole", 0)]
            assert reader.missing(writer.counts) == [(OUT, b"", 4)]


def test_a_full_disk_drops_and_counts_and_never_raises(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with writing(tmp_path) as writer:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
            for _ in range(5):
                writer.write(OUT, b"x" * 30)
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            writer.write(OUT, b"room again")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    with reading(tmp_path) as reader:
        assert read_all(reader) == [
            (OUT, b"x" * 30, 0),
            (OUT, b"x" * 30, 0),
            (OUT, b"room again", 90),
        ]
        assert reader.missing(writer.counts) == []
    assert len([r for r in caplog.records if "is dropped" in r.message]) == 1


def test_a_log_that_was_removed_ends(tmp_path: Path) -> None:
    with reading(tmp_path / "gone") as reader:
        assert reader.read() is None
        assert reader.missing({OUT: 3, ERR: 0}) == [(OUT, b"", 3)]


def test_a_close_that_fails_costs_neither_the_job_nor_a_strangers_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As on a file system in a network that is over its quota."""
    writer = LogWriter(tmp_path, limit=2 * (HEAD + 10))
    close = os.close

    def close_and_fail(fd: int) -> None:
        close(fd)  # the number is free all the same
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    with monkeypatch.context() as patch:
        patch.setattr(os, "close", close_and_fail)
        for number in range(3):  # each in a file of its own
            writer.write(OUT, b"%010d" % number)
        writer.close()
        writer.close()
    with reading(tmp_path) as reader:
        assert read_all(reader) == [(OUT, b"%010d" % 1, 10), (OUT, b"%010d" % 2, 0)]
    assert caplog.text.count("is dropped") == 1
