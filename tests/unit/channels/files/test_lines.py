"""Lines between a thread and whoever feeds it: order, room, ends and being stopped."""

from __future__ import annotations

import threading

import pytest

from rshell.channels.files.lines import Line, Peer, Stopped
from rshell.channels.files.records import HEADER, NOTE, PART, encode
from rshell.errors import RemoteProtocolError


def test_blocks_come_in_order_and_the_one_ahead_waits() -> None:
    line = Line(room=10)
    taken: list[int] = []

    def take() -> None:
        while (block := line.take(wait=True)) is not None:
            taken.append(block[0])

    thread = threading.Thread(target=take)
    thread.start()
    for number in range(100):
        line.put(bytes([number]) * 4)
        assert line.size <= 13
    line.end()
    thread.join()
    assert taken == list(range(100))


def test_stopping_wakes_whoever_waits() -> None:
    for wait in ("take", "put"):
        line, raised = Line(room=1), list[BaseException]()

        def work(wait: str = wait, line: Line = line, raised: list[BaseException] = raised) -> None:
            try:
                if wait == "take":
                    line.take(wait=True)
                else:
                    line.put(b"x")
                    line.put(b"x")
            except Stopped as stopped:
                raised.append(stopped)

        thread = threading.Thread(target=work)
        thread.start()
        line.stop()
        thread.join()
        assert len(raised) == 1
        with pytest.raises(Stopped):
            line.look()


def test_small_records_leave_together_and_before_anybody_waits() -> None:
    incoming, outgoing = Line(), Line()
    peer = Peer(incoming, outgoing, PART)
    peer.send(NOTE, 1, b"{}")
    peer.send_note({"what": "x"})
    assert outgoing.take(wait=False) is None
    incoming.put(encode(PART, 1, b"a") + encode(PART, 2, b"b"))
    assert [peer.receive(), peer.receive(wait=False)] == [(PART, 1, b"a"), (PART, 2, b"b")]
    assert outgoing.take(wait=False) is None
    incoming.end()
    assert peer.receive(may_end=True) is None
    assert outgoing.take(wait=False) == encode(NOTE, 1, b"{}") + encode(NOTE, 0, b'{"what":"x"}')
    with pytest.raises(RemoteProtocolError, match="too early"):
        peer.receive(wait=False)


def test_a_part_is_sent_as_it_was_read_behind_what_came_before() -> None:
    outgoing = Line()
    peer = Peer(Line(), outgoing)
    peer.send(NOTE, 1, b"{}")
    buffer = bytearray(HEADER.size) + b"hello there"
    peer.send_part(3, buffer, 5)
    assert outgoing.take(wait=False) == encode(NOTE, 1, b"{}")
    sent = outgoing.take(wait=False)
    assert isinstance(sent, memoryview) and sent.obj is buffer
    assert sent == encode(PART, 3, b"hello")
