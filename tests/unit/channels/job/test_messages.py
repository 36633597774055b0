"""What travels about jobs: names that can't leave their directory, and records that are checked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rshell import ExitStatus, JobInfo
from rshell.channels.job.messages import JobRequest, RecordDecoder, encode_dropped, encode_output
from rshell.channels.process.messages import STDERR, STDOUT, ProcessRequest
from rshell.errors import LocalProtocolError, RemoteProtocolError
from rshell.protocol.codec import Json

BAD_NAMES = ("", ".", "..", "../x", "a/b", "/", "-x", ".x", "a b", "a\n", "é", "a" * 65, "a\0b")


def test_the_streams_are_those_of_a_process() -> None:
    assert (STDOUT, STDERR) == (STDOUT, STDERR)


@pytest.mark.parametrize("name", ["a", "7", "A.b_c-d", "a..b", "x" * 64])
def test_names_that_a_job_can_have(name: str) -> None:
    assert JobRequest.decode(JobRequest("wait", name).encode()) == JobRequest("wait", name)


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("verb", ["start", "logs", "wait", "kill"])
def test_other_names_are_refused_by_both_ends(verb: str, name: str) -> None:
    with pytest.raises(LocalProtocolError, match="not a job's name"):
        JobRequest(verb, name)
    with pytest.raises(RemoteProtocolError, match="not a job's name"):
        JobRequest.decode({"verb": verb, "name": name, "command": "true"})


def test_a_start_says_what_to_run() -> None:
    request = JobRequest("start", process=ProcessRequest(argv=("a", "b"), cwd="/", merge=True))
    assert JobRequest.decode(request.encode()) == request


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "verb"),
        ({"verb": "stop"}, "no verb 'stop'"),
        ({"verb": "wait"}, "needs the 'name'"),
        ({"verb": "start"}, "needs 'command' or 'argv'"),
        ({"verb": "start", "command": "a", "argv": ["a"]}, "both"),
        ({"verb": "start", "command": "a", "stdin": True}, "no stdin"),
        ({"verb": "start", "command": "a", "timeout": 1}, "no timeout"),
        ({"verb": "start", "command": "a", "terminal": {"columns": 1, "rows": 1}}, "no terminal"),
        ({"verb": "logs", "name": "a", "follow": 1}, "follow"),
    ],
)
def test_requests_that_make_no_sense(values: Json, message: str) -> None:
    with pytest.raises(RemoteProtocolError, match=message):
        JobRequest.decode(values)


@pytest.mark.parametrize(
    "info",
    [
        JobInfo("a", "true", 1.5),
        JobInfo("a", "true", 1.5, duration=2.0, stdout=0, stderr=7),
        JobInfo("a", "x", 1.0, "exited", ExitStatus(code=7), 2.0, 1.0, 3, 4, held_open=True),
        JobInfo(
            *("a", "x", 1.0, "signaled", ExitStatus(signal="SIGTERM", signal_number=15), 2.0),
            ended_by="kill",
        ),
        JobInfo("a", "x", 1.0, "lost", ended=3.0),
    ],
)
def test_what_is_known_of_a_job_travels_whole(info: JobInfo) -> None:
    assert JobInfo.decode(info.encode()) == info


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../x"},
        {"state": "exited"},
        {"state": "signaled", "exit_status": 0},
        {"state": "odd"},
        {"stdout": -1},
        {"started": "now"},
        {"ended": float("inf")},
        {"command": "x" * 1025},
    ],
)
def test_a_job_that_makes_no_sense_is_an_error(change: Json) -> None:
    with pytest.raises(RemoteProtocolError):
        JobInfo.decode(JobInfo("a", "true", 1.5).encode() | change)


def test_a_long_command_is_shortened_for_lists() -> None:
    info = JobInfo("a", "x" * 5000, 1.0).shortened()
    assert info.command.endswith("x...") and len(info.command) == 1024
    assert JobInfo.decode(info.encode()).shortened() is not None


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


@pytest.mark.parametrize(
    "wire", [b"\0\0\0\0\1x", b"\3\0\0\0\1x", b"\1\xff\xff\xff\xff", b"\x11\0\0\0\1x"]
)
def test_records_that_make_no_sense_are_an_error(wire: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="record"):
        list(RecordDecoder().feed(wire))
