"""Files whose bytes are wanted: how many are looked up at once."""

from __future__ import annotations

from pathlib import Path

from rshell.channels.files.arrivals import Arrivals
from rshell.channels.files.lines import Line, Peer
from rshell.channels.files.messages import TransferOptions
from rshell.channels.files.places import Places
from rshell.channels.files.progress import TransferTotals
from rshell.channels.files.records import GONE, PIECE, WANT, Entry, Record, RecordDecoder


def test_few_large_files_are_open_at_once_and_the_others_have_their_turn(tmp_path: Path) -> None:
    outgoing, options = Line(), TransferOptions()
    peer = Peer(Line(), outgoing)
    totals = TransferTotals()
    places = Places(peer, str(tmp_path), "", options, totals, 0o022)
    arrivals = Arrivals(peer, places, options, totals, 0o022)
    (tmp_path / ".f3.rshell-part").write_bytes(b"x" * 2 * PIECE)

    def asked() -> list[int]:
        peer.flush()
        decoder, found = RecordDecoder(WANT), list[int]()
        while (block := outgoing.take(wait=False)) is not None:
            found += [record.number for record in decoder.feed(bytes(block))]
        return found

    for number in range(1, 21):
        entry = Entry(number, 0, b"f", 0o600, 0, 3 * PIECE, b"f%d" % number, {})
        arrivals.ask(places.open_top(entry), places.top, None)
    assert asked() == list(range(1, 9))
    arrivals.ask(Entry(21, 0, b"f", 0o600, 0, 5, b"small", {}), places.top, None)
    assert asked() == [21]
    for number in (2, 1, 8):
        arrivals.take_gone(Record(GONE, number, b"{}"))
    assert asked() == [9, 10, 11]
    assert len(arrivals) == 18 and totals.failed == 3
    arrivals.close()
    places.close()
    assert (tmp_path / ".f3.rshell-part").exists()
