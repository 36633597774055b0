"""What a command printed, as a part of one JSON object: bounded, and written piece by piece.

Output that is not UTF-8 is given in base64 under another key.

Hazard: as JSON, text may take six times its bytes, and as a string of Python four times. Neither is
ever made of all of it.
"""

from __future__ import annotations

import base64
import codecs
import json
from collections.abc import Iterator, Mapping
from typing import Union

from rshell.errors import ChannelReset

_LARGEST = 16 * 1024 * 1024  # bytes of each stream
_PIECE = 48 * 1024  # a multiple of what base64 takes at once

Output = Union[bytes, bytearray]


def collect(data: bytearray, block: bytes) -> None:
    """Add a block to what a stream has printed. Raises ChannelReset where that gets too much."""
    if len(data) + len(block) > _LARGEST:
        mebibytes = _LARGEST // 2**20
        raise ChannelReset(
            "overrun", f"--json holds no more than {mebibytes} MiB of each stream", by="local"
        )
    data += block


def output_value(name: str, data: Output) -> dict[str, Output]:
    """Return the key and the value of one stream, for `json_pieces`."""
    try:
        for _ in _texts(data):
            pass
    except UnicodeDecodeError:
        return {f"{name}_base64": data}
    return {name: data}


def json_pieces(values: Mapping[str, object]) -> Iterator[bytes]:
    """Yield a line with one JSON object, piece by piece; a value of bytes is some output."""
    before = "{"
    for key, value in values.items():
        yield f"{before}{json.dumps(key)}: ".encode("ascii")
        if isinstance(value, (bytes, bytearray)):
            yield b'"'
            yield from _base64(value) if key.endswith("_base64") else _escaped(value)
            yield b'"'
        else:
            yield json.dumps(value).encode("ascii")
        before = ", "
    yield b"}\n"


def _base64(data: Output) -> Iterator[bytes]:
    for at in range(0, len(data), _PIECE):
        yield base64.b64encode(data[at : at + _PIECE])


def _escaped(data: Output) -> Iterator[bytes]:
    for text in _texts(data):
        yield json.dumps(text)[1:-1].encode("ascii")


def _texts(data: Output) -> Iterator[str]:
    """Yield the text that `data` is. Raises UnicodeDecodeError where it is none."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    for at in range(0, len(data), _PIECE):
        yield decoder.decode(data[at : at + _PIECE])
    yield decoder.decode(b"", final=True)
