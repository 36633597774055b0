"""Our own descriptors without a loop: one writer for all that is printed, and words that decide
nothing."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rshell.cli.standard import (
    StreamError,
    keep_standard_descriptors,
    print_bytes,
    print_text,
    say,
    tell,
    wait_ready,
    write_all,
)
from tests.support.pipes import lasting_pipe


@contextmanager
def replaced(fd: int, by: int) -> Iterator[None]:
    """Have descriptor `fd` of this process be `by` for a while."""
    saved = os.dup(fd)
    os.dup2(by, fd)
    try:
        yield
    finally:
        os.dup2(saved, fd)
        os.close(saved)


def test_all_is_written_where_others_made_the_descriptor_non_blocking() -> None:
    """An object that was cut after 64 KiB."""
    data = bytes(range(256)) * 4000
    with lasting_pipe() as (reading, writing):
        os.set_blocking(writing, False)
        writer = threading.Thread(target=write_all, args=(writing, data))
        writer.start()
        seen = b""
        while len(seen) < len(data):
            seen += os.read(reading, 65536)
        writer.join()
        assert seen == data


def test_stdout_that_can_not_be_written_is_an_error_with_its_name() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        with replaced(1, full):
            with pytest.raises(StreamError, match="can't write stdout: No space"):
                print_text("x")
            with pytest.raises(StreamError, match="can't write stdout: No space"):
                print_bytes(b"x")
    finally:
        os.close(full)
    with lasting_pipe() as (reading, writing):
        os.close(reading)
        with replaced(1, writing), pytest.raises(BrokenPipeError):
            print_text("x")


def test_a_word_of_ours_is_safe_whole_or_dropped(capfd: pytest.CaptureFixture[str]) -> None:
    say("a\nb\x1b\udc80")
    assert capfd.readouterr() == ("", "rshell: a\\x0ab\\x1b\\udc80\n")
    assert tell("one\ntwo") and tell("out", fd=1)
    assert capfd.readouterr() == ("out\n", "one\ntwo\n")


def test_a_word_of_ours_waits_for_no_reader_and_fails_for_none(tmp_path: Path) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    read_only = os.open(tmp_path, os.O_RDONLY)
    with lasting_pipe() as (reading, writing):
        try:
            for fd in (full, read_only):
                with replaced(2, fd):
                    say("dropped")
                    assert not tell("dropped")
            for blocking in (True, False):
                os.set_blocking(writing, False)
                while wait_ready(writing, select.POLLOUT, 0):
                    os.write(writing, bytes(4096))
                os.set_blocking(writing, blocking)
                with replaced(2, writing):
                    assert not tell("x" * 10_000)
                os.read(reading, 8192)
                with replaced(2, writing):
                    assert not tell("x" * 100_000)  # a part of it
            os.close(reading)
            with replaced(2, writing):
                say("dropped")
        finally:
            os.close(full)
            os.close(read_only)


def test_what_is_open_is_left_alone_without_a_null_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.devnull", "/no/such/device")
    before = [os.fstat(fd) for fd in range(3)]
    keep_standard_descriptors()
    assert [os.fstat(fd) for fd in range(3)] == before


def test_a_message_that_can_not_be_written_is_dropped_at_once_and_raises_nothing() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    unread, stalled = os.pipe()
    read, gone = os.pipe()
    os.close(read)
    try:
        assert tell("first", stalled) and os.read(unread, 100) == b"first\n"
        while tell("x" * 4000, stalled):
            pass  # would wait for ever here if it waited
        assert not tell("y", stalled)
        for fd in (full, gone, 10**6):
            assert not tell("nobody hears this", fd)
        os.read(unread, 1 << 20)
        assert tell("\udcff and later", stalled)
        assert os.read(unread, 100) == b"\\udcff and later\n"
    finally:
        for fd in (full, unread, stalled, gone):
            os.close(fd)
