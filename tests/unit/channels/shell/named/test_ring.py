"""The newest bytes, against a model that keeps them all."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rshell.channels.shell.named.ring import Ring

PIECES = st.lists(st.one_of(st.binary(max_size=20), st.integers(0, 9000).map(bytes)), max_size=40)


def read_all(ring: Ring, position: int, size: int) -> bytes:
    found = bytearray()
    while block := ring.read(position + len(found), size):
        assert len(block) <= size
        found += block
    return bytes(found)


@given(PIECES, st.integers(0, 10_000), st.integers(0, 200), st.integers(1, 5000))
def test_the_newest_bytes_are_kept_at_their_positions(
    pieces: list[bytes], limit: int, back: int, size: int
) -> None:
    ring = Ring(limit)
    whole = b""
    for number, piece in enumerate(pieces):
        piece = bytes([number]) * len(piece)
        ring.append(piece)
        whole += piece
        assert ring.end == len(whole)
        assert ring.start == max(0, len(whole) - limit)
    position = max(ring.start, ring.end - back)
    assert read_all(ring, ring.start, size) == whole[ring.start :]
    assert read_all(ring, position, size) == whole[position:]
    assert ring.read(ring.end, size) == b""


def test_a_position_stays_good_while_output_comes() -> None:
    ring = Ring(100)
    ring.append(b"abc")
    assert ring.read(1, 10) == b"bc"
    ring.append(b"def")
    assert ring.read(3, 10) == b"def"
    ring.append(bytes(200))
    assert (ring.start, ring.end) == (106, 206)
    assert ring.read(106, 200) == bytes(100)


def test_a_large_block_is_handed_on_as_it_is() -> None:
    """Without a copy: what is sent is kept until it is acknowledged."""
    ring = Ring(10**6)
    block = bytes(100_000)
    ring.append(b"before")
    ring.append(block)
    assert ring.read(6, 200_000) is block


def test_keystrokes_do_not_become_a_million_blocks() -> None:
    ring = Ring(10**6)
    for _ in range(10_000):
        ring.append(b"x")
    assert len(ring._blocks) < 5
