"""What travels about jobs: names that can't leave their directory, and records that are checked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rshell import ExitStatus, JobInfo
from rshell.channels.job.messages import (
    JobRecord,
    JobReply,
    JobRequest,
    JobsEnd,
    LogEnd,
    RecordDecoder,
    encode_dropped,
    encode_output,
)
from rshell.channels.process.messages import STDERR, STDOUT, ProcessRequest
from rshell.errors import LocalProtocolError, RemoteProtocolError
from rshell.protocol.codec import Json

BAD_NAMES = ("", ".", "..", "../x", "a/b", "/", "-x", ".x", "a b", "a\n", "é", "a" * 65, "a\0b")


def test_names_are_checked_by_both_ends() -> None:
    for name in ("a", "7", "A.b_c-d", "a..b", "x" * 64):
        assert JobRequest.decode(JobRequest("wait", name).encode()) == JobRequest("wait", name)
    for name in BAD_NAMES:
        for verb in ("start", "logs", "wait", "kill"):
            with pytest.raises(LocalProtocolError, match="not a job's name"):
                JobRequest(verb, name)
            with pytest.raises(RemoteProtocolError, match="needs 'name': a name"):
                JobRequest.decode({"verb": verb, "name": name, "command": "true"})
        with pytest.raises(RemoteProtocolError, match="'name'"):
            JobReply.decode({"name": name})


def test_a_start_says_what_to_run() -> None:
    process = ProcessRequest(argv=("a", "b"), cwd="/", merge_stderr=True)
    request = JobRequest("start", process=process)
    assert request.encode() == {"verb": "start"} | process.encode()
    assert JobRequest.decode(request.encode()) == request


def test_requests_that_make_no_sense() -> None:
    wrongs: list[tuple[Json, str]] = [
        ({}, "'verb': one of start, list, logs, wait, kill"),
        ({"verb": "stop"}, "'verb': one of start, list, logs, wait, kill"),
        ({"verb": "wait"}, "'wait' needs the 'name'"),
        ({"verb": "list", "command": "a"}, "'list' starts nothing"),
        ({"verb": "start"}, "needs 'command' or 'argv'"),
        ({"verb": "start", "stdin": True}, "needs 'command' or 'argv'"),
        ({"verb": "start", "command": "a", "argv": ["a"]}, "both"),
        ({"verb": "start", "command": "a", "stdin": True}, "no stdin"),
        ({"verb": "start", "command": "a", "timeout": 1}, "no timeout"),
        ({"verb": "start", "command": "a", "terminal": {"columns": 1, "rows": 1}}, "no terminal"),
        ({"verb": "logs", "name": "a", "follow": 1}, "follow"),
    ]
    for values, message in wrongs:
        with pytest.raises(RemoteProtocolError, match=message):
            JobRequest.decode(values)


RAN = JobInfo("a", "x", 1.0, "exited", ExitStatus(code=7), 2.0, 1.0, 3, 4, held_open=True)


def test_what_is_known_of_a_job_travels_whole_and_nothing_else() -> None:
    started = {"type": "job", "name": "a", "command": "true", "started": 1.5, "state": "running"}
    assert JobInfo("a", "true", 1.5, "running").encode() == started
    for info in (
        RAN,
        JobInfo("a", "true", 1.5, "running", duration=2.0, stdout=0, stderr=7),
        JobInfo("a", "x", 1.0, "signaled", ExitStatus(None, "SIGTERM", 15), 2.0, ended_by="kill"),
        JobInfo("a", "x", 1.0, "lost", ended=3.0),
    ):
        assert JobInfo.decode(info.encode()) == info
        assert JobRecord.decode(JobRecord("me", info).encode()) == JobRecord("me", info)
        assert LogEnd(5, info).encode() == {"type": "end", "bytes": 5, "job": info.encode()}
    assert JobsEnd(2).encode() == {"type": "end", "jobs": 2}


def test_a_job_that_makes_no_sense_is_an_error() -> None:
    changes: list[Json] = [
        {"name": "../x"},
        {"state": "exited"},
        {"state": "signaled", "exit_status": 0},
        {"state": "odd"},
        {"exit_status": 0},
        {"stdout": -1},
        {"started": "now"},
        {"ended": float("inf")},
        {"command": "x" * 1025},
    ]
    for change in changes:
        with pytest.raises(RemoteProtocolError):
            JobInfo.decode(JobInfo("a", "true", 1.5, "running").encode() | change)
            pytest.fail(f"took {change}")


def test_a_long_command_is_shortened_for_lists() -> None:
    shown = JobInfo("a", "x" * 5000, 1.0, "running").encode()["command"]
    assert shown.endswith("x...") and len(shown) == 1024


@given(
    st.lists(
        st.tuples(st.sampled_from([STDOUT, STDERR]), st.binary(min_size=1) | st.integers(1, 2**63))
    ),
    st.integers(1, 9),
)
def test_records_survive_any_cutting(items: list[tuple[int, bytes | int]], size: int) -> None:
    wire = b"".join(
        encode_output(stream, item) if isinstance(item, bytes) else encode_dropped(stream, item)
        for stream, item in items
    )
    decoder = RecordDecoder()
    found = [
        record
        for start in range(0, len(wire), size)
        for record in decoder.feed(wire[start : start + size])
    ]
    assert not decoder.is_inside_record
    assert found == [
        (stream, item, 0) if isinstance(item, bytes) else (stream, b"", item)
        for stream, item in items
    ]


def test_records_that_make_no_sense_are_an_error() -> None:
    for wire in (b"\0\0\0\0\1x", b"\3\0\0\0\1x", b"\1\xff\xff\xff\xff", b"\x11\0\0\0\1x"):
        with pytest.raises(RemoteProtocolError, match="record"):
            list(RecordDecoder().feed(wire))
