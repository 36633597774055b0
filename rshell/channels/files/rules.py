"""What becomes of an entry, without touching a disk: names, places, comparison and blocks.

A peer chooses names, sizes and hashes. What is decided here is decided in the same way at both
ends, and tested without a file.

Hazard: a name is one part of a path, chosen by somebody else. Nothing that leads out of its
directory is a name, whatever the system would make of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import NamedTuple, Optional

from rshell.channels.files.messages import TransferOptions
from rshell.channels.files.records import (
    BLOCK_HEAD,
    HASH_BYTES,
    MOST_BLOCKS,
    PIECE,
    Entry,
    Payload,
)
from rshell.errors import RemoteProtocolError

LONGEST_NAME = 255  # bytes; what most file systems take
_PART_SUFFIX = b".rshell-part"
_PARTS = 8  # for one name, at one time


class Facts(NamedTuple):
    """What is known of a file that is there: `type` as in Entry, or b"" for anything else."""

    type: bytes
    mode: int
    mtime: int
    size: int


def check_name(name: bytes) -> None:
    """Raise RemoteProtocolError unless `name` is one part of a path, and stays in its place."""
    if not name or name in (b".", b"..") or b"/" in name or b"\0" in name:
        raise RemoteProtocolError(f"the other end names a file {name[:80]!r}, which is refused")


def partial_name(name: bytes, salt: bytes = b"") -> bytes:
    """Return the name that a file has until it is whole; `salt` makes another one."""
    suffix = _PART_SUFFIX + (b"-" + salt if salt else b"")
    whole = b"." + name + suffix
    if len(whole) <= LONGEST_NAME:
        return whole
    digest = hashlib.sha256(name).hexdigest()[:16].encode()
    room = LONGEST_NAME - len(suffix) - len(digest) - 2
    return b"." + name[:room] + b"." + digest + suffix


def partial_names(name: bytes) -> Iterator[bytes]:
    """Yield the names that are looked at for what has come of a file."""
    yield partial_name(name)
    for number in range(2, _PARTS + 1):
        yield partial_name(name, b"%d" % number)


def without_partials(others: set[bytes], names: set[bytes]) -> set[bytes]:
    """Return what is in `others` and no partial file of one of `names`."""
    some = {other for other in others if _PART_SUFFIX in other}
    if not some:
        return others
    return others - {it for name in names for it in partial_names(name) if it in some}


def is_whole_directory(path: str) -> bool:
    """Whether a source means what is in a directory, not the directory itself: rsync's rule."""
    return path.endswith("/") or path.rpartition("/")[2] in ("", ".", "..")


def goes_inside(target: str, *, is_directory: bool, alone: bool) -> bool:
    """Whether what is sent goes into the target, or becomes the target itself.

    `alone` says that one file is sent and nothing else; `is_directory` that the target is one.
    """
    return is_directory or not alone or target.endswith("/")


def judge(entry: Entry, old: Optional[Facts], options: TransferOptions) -> str:
    """Return "want", or the reason to skip a file or link whose place `old` has now."""
    if old is None:
        return "want"
    if options.no_clobber:
        return "exists"
    if options.update and old.type == entry.type and old.mtime > entry.mtime:
        return "newer"
    alike = old.type == entry.type == b"f" and old.size == entry.size
    if alike and old.mtime == entry.mtime and not options.checksum:
        return "same"
    return "want"


def final_mode(entry: Entry, old: Optional[Facts], options: TransferOptions, umask: int) -> int:
    """Return the permission bits for a file or directory that was sent."""
    if options.preserve or options.attributes:
        kept = 0o7777 if options.setuid else (0o3777 if entry.type == b"d" else 0o1777)
        return entry.mode & kept
    if old is not None and old.type == entry.type:
        return old.mode & (0o7777 if entry.type == b"d" else 0o777)
    return entry.mode & 0o777 & ~umask


def block_size(size: int) -> int:
    """Return how large the blocks are by which a file of `size` bytes is compared."""
    block = PIECE
    while block * MOST_BLOCKS < size:
        block *= 2
    return block


def hash_block(data: Payload) -> bytes:
    """Return what tells a block from another one. The hash of the whole file has the last word."""
    return hashlib.sha256(data).digest()[:HASH_BYTES]


class Blocks:
    """What a receiver says it has: the size of its blocks, and a hash for each, in order."""

    def __init__(self, size: int, hashes: bytes) -> None:
        self.size = size
        self.hashes = hashes

    def __len__(self) -> int:
        return len(self.hashes) // HASH_BYTES

    def holds(self, index: int, digest: bytes) -> bool:
        """Whether the block is there and has this hash."""
        start = index * HASH_BYTES
        return self.hashes[start : start + HASH_BYTES] == digest

    def encode(self) -> bytes:
        """Return the payload of WANT."""
        return BLOCK_HEAD.pack(self.size) + self.hashes

    @classmethod
    def decode(cls, payload: Payload, most: int) -> Optional[Blocks]:
        """Read the payload of WANT for a file of `most` bytes, None where nothing is there.

        Raises RemoteProtocolError, also for blocks that are more or larger than the file needs: a
        block is read whole, and hashes of many files may wait.
        """
        if not payload:
            return None
        rest = len(payload) - BLOCK_HEAD.size
        (size,) = BLOCK_HEAD.unpack_from(payload) if rest >= 0 else (0,)
        is_fit = not rest % HASH_BYTES and not size % PIECE and 0 < size <= block_size(most)
        if not is_fit or rest // HASH_BYTES > -(-most // size):
            raise RemoteProtocolError("a WANT holds blocks that make no sense")
        return cls(size, bytes(payload[BLOCK_HEAD.size :]))
