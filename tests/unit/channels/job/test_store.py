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

from rshell.channels.job.store import LogReader, LogWriter, Output
from rshell.channels.process.messages import STDERR, STDOUT

HEAD = 20
LARGE = 1 << 30


@contextmanager
def writing(directory: Path, limit: int = LARGE) -> Iterator[LogWriter]:
    writer = LogWriter(directory, limit)
    try:
        yield writer
    finally:
        writer.close()


@contextmanager
def reading(directory: Path) -> Iterator[LogReader]:
    reader = LogReader(directory)
    try:
        yield reader
    finally:
        reader.close()


def read_all(reader: LogReader, before: int | None = None) -> list[Output]:
    return list(iter(lambda: reader.read(before), None))


def size(directory: Path, stream: str) -> int:
    return sum(path.stat().st_size for path in directory.glob(f"{stream}.*"))


def test_both_streams_come_back_in_order_and_the_files_are_private(tmp_path: Path) -> None:
    with writing(tmp_path) as writer, reading(tmp_path) as reader:
        assert reader.read() is None
        written = [
            (STDOUT, b"one"),
            (STDERR, b"two"),
            (STDERR, b"three"),
            (STDOUT, b"four"),
            (STDERR, b"5"),
        ]
        for stream, data in written:
            writer.write(stream, data)
        assert read_all(reader) == [(stream, data, 0) for stream, data in written]
        assert writer.counts == {STDOUT: 7, STDERR: 9}
        assert reader.missing(writer.counts) == []
        writer.write(STDOUT, b"later")
        assert read_all(reader) == [(STDOUT, b"later", 0)]
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.glob("std*")}
    assert modes == {0o600}


def test_a_reader_may_stop_at_what_was_there_at_some_moment(tmp_path: Path) -> None:
    with writing(tmp_path) as writer, reading(tmp_path) as reader:
        writer.write(STDOUT, b"abc")
        writer.write(STDERR, b"de")
        before = sum(writer.counts.values())
        writer.write(STDOUT, b"later")
        assert read_all(reader, before) == [(STDOUT, b"abc", 0), (STDERR, b"de", 0)]


@pytest.mark.parametrize("limit", [64, 1000, 40_000])
def test_each_stream_is_bounded_and_what_is_missing_is_counted(tmp_path: Path, limit: int) -> None:
    rng = random.Random(limit)
    whole = {STDOUT: b"", STDERR: b""}
    with writing(tmp_path, limit) as writer:
        writer.write(STDERR, b"precious")
        whole[STDERR] += b"precious"
        for _ in range(300):
            data = rng.randbytes(rng.randrange(1, 900))
            writer.write(STDOUT, data)
            whole[STDOUT] += data
            assert size(tmp_path, "stdout") <= limit
    with reading(tmp_path) as reader:
        places = {STDOUT: 0, STDERR: 0}
        dropped = 0
        for stream, data, gap in read_all(reader):
            dropped += gap
            places[stream] += gap
            assert whole[stream][places[stream] :].startswith(data)
            places[stream] += len(data)
        assert places == writer.counts == {STDOUT: len(whole[STDOUT]), STDERR: 8}
        assert dropped and len(whole[STDOUT]) - dropped >= limit // 2 - 2 * HEAD - 900


def test_a_reader_that_falls_behind_is_told_how_far(tmp_path: Path) -> None:
    with writing(tmp_path, 4000) as writer, reading(tmp_path) as reader:
        writer.write(STDOUT, b"first")
        assert reader.read() == (STDOUT, b"first", 0)
        for number in range(100):
            writer.write(STDOUT, b"%03d" % number * 100)
        found = read_all(reader)
        assert sum(len(data) + gap for _, data, gap in found) == 100 * 300
        assert found[-1].data == b"099" * 100


def test_a_torn_record_at_the_end_is_not_output(tmp_path: Path) -> None:
    with writing(tmp_path) as writer:
        writer.write(STDOUT, b"whole")
        writer.write(STDOUT, b"torn")
    path = tmp_path / "stdout.0"
    for cut in range(1, HEAD + 4):
        os.truncate(path, HEAD + 5 + HEAD + 4 - cut)
        with reading(tmp_path) as reader:
            assert read_all(reader) == [(STDOUT, b"whole", 0)]
            assert reader.missing(writer.counts) == [(STDOUT, b"", 4)]


def test_a_full_disk_drops_and_counts_and_never_raises(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with writing(tmp_path) as writer:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
            for _ in range(5):
                writer.write(STDOUT, b"x" * 30)
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            writer.write(STDOUT, b"room again")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    with reading(tmp_path) as reader:
        assert read_all(reader) == [
            (STDOUT, b"x" * 30, 0),
            (STDOUT, b"x" * 30, 0),
            (STDOUT, b"room again", 90),
        ]
        assert reader.missing(writer.counts) == []
    assert len([r for r in caplog.records if "is dropped" in r.message]) == 1


def test_a_log_that_was_removed_ends(tmp_path: Path) -> None:
    with reading(tmp_path / "gone") as reader:
        assert reader.read() is None
        assert reader.missing({STDOUT: 3, STDERR: 0}) == [(STDOUT, b"", 3)]


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
            writer.write(STDOUT, b"%010d" % number)
        writer.close()
        writer.close()
    with reading(tmp_path) as reader:
        assert read_all(reader) == [(STDOUT, b"%010d" % 1, 10), (STDOUT, b"%010d" % 2, 0)]
    assert caplog.text.count("is dropped") == 1
