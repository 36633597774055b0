"""Who may log in: the server's store of tokens, and the line that carries one to a client.

A token is 256 random bits and has a name, its identity. The store keeps a SCRAM
verifier for each, never the token. Every look-up compares the file's stamp first, so a token
that `rshell-token` adds or revokes counts at once, without a restart. So does its wish to have an
identity's jobs killed, which needs no other way to the server.

Hazards:
- It fails closed: while the file is damaged or open to others, nobody is found and every call
  raises ConfigurationError. A missing file is an empty store only where there never was one: one
  that has been there and is gone, or is another server's, revokes nobody.
- `str(TokenLine)` holds the token, for that is its use. `repr` and every error leave it out;
  errors of `parse` repeat nothing at all, since fields may have been pasted in any order.
"""

from __future__ import annotations

import builtins
import json
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rshell.errors import ConfigurationError
from rshell.protocol.scram import Verifier
from rshell.security.certificates import parse_fingerprint
from rshell.security.files import locked, read_private, write_private
from rshell.values import Address, frozen

_VERSION = 1
_WORD = "rshell1"  # the first field of a token line, and its version
_LONGEST_LINE = 1024  # characters
_KILLS_KEPT = 100  # a server looks every second
_IDENTITY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")
_Stamp = tuple[int, ...]


def new_token() -> str:
    """Make a token: 256 random bits as 43 characters of URL-safe base64."""
    return secrets.token_urlsafe(32)


def check_identity(name: str) -> str:
    """Return `name` if it can be an identity; raises ValueError saying what can."""
    if not _IDENTITY.fullmatch(name):
        raise ValueError(
            f"not an identity: {name[:80]!r}. Use 1 to 64 letters, digits and . _ @ - "
            "with a letter or digit first."
        )
    return name


@frozen
class TokenLine:
    """What a person carries to another machine: where the server is, who it is, and a token.

    One line of text: `rshell1 ADDRESS SHA256:hex IDENTITY TOKEN`. Raises ValueError or
    ConfigurationError for a part that could not be read back.
    """

    address: Address
    fingerprint: str
    identity: str
    token: str = field(repr=False)

    def __post_init__(self) -> None:
        if self.address.path is not None or Address.parse(str(self.address)) != self.address:
            raise ValueError(f"not the address of a server that asks for tokens: {self.address}")
        object.__setattr__(self, "fingerprint", parse_fingerprint(self.fingerprint))
        check_identity(self.identity)
        if not _TOKEN.fullmatch(self.token):
            raise ValueError("not a token: 43 letters, digits, - and _ are one")

    def __str__(self) -> str:
        return f"{_WORD} {self.address} {self.fingerprint} {self.identity} {self.token}"

    @classmethod
    def parse(cls, text: str) -> TokenLine:
        """Read a line back. Raises ConfigurationError, which repeats nothing of the text."""
        fields = text.split() if len(text) <= _LONGEST_LINE else []
        if len(fields) == 5 and fields[0] == _WORD:
            try:
                return cls(Address.parse(fields[1]), fields[2], fields[3], fields[4])
            except (ValueError, ConfigurationError):
                pass  # its message quotes a field, which may be the token in a wrong place
        raise ConfigurationError(
            f"this is not a token line. Paste the whole line that begins with {_WORD} "
            "from `rshell-token add`: address, fingerprint, identity and token."
        )


@frozen
class TokenRecord:
    """One token as anybody may see it.

    `created` is in seconds since the epoch. `key_id` is short, public, and another one
    when a name is revoked and added again.
    """

    name: str
    created: float
    key_id: str


@dataclass
class _Contents:
    """The file, read and checked."""

    fake_key: bytes = b""  # empty until the first write
    records: dict[str, TokenRecord] = field(default_factory=dict)
    verifiers: dict[str, Verifier] = field(default_factory=dict)
    kills: dict[str, str] = field(default_factory=dict)  # identities, by a number drawn for each

    def to_bytes(self) -> bytes:
        tokens = {
            name: {
                "created": record.created,
                "key_id": record.key_id,
                "verifier": self.verifiers[name].to_json(),
            }
            for name, record in self.records.items()
        }
        body: dict[str, Any] = {
            "version": _VERSION,
            "fake_key": self.fake_key.hex(),
            "tokens": tokens,
        }
        body["kills"] = dict([*self.kills.items()][-_KILLS_KEPT:])
        return json.dumps(body, indent=1).encode() + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes) -> _Contents:
        """Raise ValueError, KeyError, TypeError or AttributeError if it is not ours."""
        try:
            body: dict[str, Any] = json.loads(data)
        except RecursionError as error:  # thousands of nested brackets
            raise ValueError("nested too deeply") from error
        contents = cls(fake_key=bytes.fromhex(body["fake_key"]))
        if body["version"] != _VERSION or len(contents.fake_key) != 32:
            raise ValueError("another version, or a fake key that is not 32 bytes")
        for name, entry in body["tokens"].items():
            check_identity(name)
            created, key_id = entry["created"], entry["key_id"]
            if not isinstance(created, float) or not isinstance(key_id, str):
                raise ValueError("a token without its time or key")
            contents.records[name] = TokenRecord(name, created, key_id)
            contents.verifiers[name] = Verifier.from_json(entry["verifier"])
        for number, name in body.get("kills", {}).items():
            contents.kills[number] = check_identity(name)
        return contents


class TokenStore:
    """The tokens that a server accepts, in one private JSON file that processes share.

    Raises ConfigurationError, here and in every method, if the file or its directory is damaged,
    open to other users, or somebody else's; the message says what to do. So does a file that is
    not there although it `has_been`, or this store has seen it.
    """

    def __init__(self, path: Path, *, has_been: bool = False) -> None:
        self._path = path
        self._has_been = has_been
        self._contents = _Contents()
        self._stamp: _Stamp = ()  # of what `_contents` holds
        self._current()
        self._reported: _Stamp = self._stamp  # as of the last refresh()

    @property
    def fake_key(self) -> bytes:
        """32 secret bytes, the same after a restart; made and stored on first use."""
        if not self._current().fake_key:
            with self._changing():
                pass  # every write stores one
        return self._current().fake_key

    def add(self, name: str, token: str | None = None) -> str:
        """Take a `token`, or a new one, for a new identity, and return it.

        It is not seen again.

        Raises ValueError for an unusable name, ConfigurationError for one that exists.
        """
        check_identity(name)
        token = token or new_token()
        with self._changing() as contents:
            if name in contents.records:
                raise ConfigurationError(
                    f"there is a token for {name} already. Revoke it first, or use another name."
                )
            contents.records[name] = TokenRecord(name, time.time(), secrets.token_hex(6))
            contents.verifiers[name] = Verifier.from_secret(token)
        return token

    def revoke(self, name: str, *, kill: bool = False) -> TokenRecord | None:
        """Forget an identity's token, and return what it was.

        With `kill` the server is told to end its jobs as well, and the token may have been
        revoked before: then it is None. Raises ConfigurationError if there is none.
        """
        with self._changing() as contents:
            record = contents.records.pop(name, None)
            contents.verifiers.pop(name, None)
            if record is None and not kill:
                raise ConfigurationError(
                    f"there is no token for {name[:80]!r}. `rshell-token list` shows them."
                )
            if kill:
                contents.kills[secrets.token_hex(6)] = check_identity(name)
        return record

    @property
    def kills(self) -> dict[str, str]:
        """The identities whose jobs were to be ended of late, each by a number of its own."""
        return self._current().kills

    def list(self) -> builtins.list[TokenRecord]:
        """Return all tokens, by name."""
        return sorted(self._current().records.values(), key=lambda record: record.name)

    def lookup(self, name: str) -> Verifier | None:
        """Return what checks the login of `name`, or None for an unknown identity."""
        return self._current().verifiers.get(name)

    def refresh(self) -> bool:
        """Return whether the file changed since the last `refresh`, or since the start.

        One stat() when it did not. A True is the moment to compare `list()` with the live
        sessions: a (name, key_id) that is gone was revoked.
        """
        self._current()
        changed = self._stamp != self._reported
        self._reported = self._stamp
        return changed

    def _current(self) -> _Contents:
        stamp = self._look()
        if stamp != self._stamp or (self._has_been and not stamp):
            # The stamp is older than the content at worst: then the next look reads again.
            self._contents = self._read()
            self._stamp = stamp
            self._has_been = True
        return self._contents

    def _look(self) -> _Stamp:
        try:
            status = self._path.lstat()
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise ConfigurationError(f"can't read {self._path}: {error.strerror}.") from error
        # ctime notices a chmod: a file that became readable to others is no longer believed.
        return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    def _read(self) -> _Contents:
        try:
            contents = _Contents.from_bytes(read_private(self._path))
        except FileNotFoundError as error:
            if self._has_been:
                raise ConfigurationError(
                    f"{self._path} is gone. Restore it from a backup, or start the server anew, "
                    "which begins without the tokens of before."
                ) from error
            return _Contents()
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigurationError(
                f"{self._path} is damaged. Restore it from a backup, or move it away, "
                "start the server anew, and add every token again."
            ) from error
        known = self._contents.fake_key
        if known and contents.fake_key != known:
            raise ConfigurationError(
                f"{self._path} was replaced by another server's. Restore it from a backup, "
                "or start the server anew."
            )
        return contents

    @contextmanager
    def _changing(self) -> Iterator[_Contents]:
        """Read, let the caller change, and write, while no other process does."""
        with locked(self._path):
            contents = self._read()
            yield contents
            contents.fake_key = contents.fake_key or secrets.token_bytes(32)
            write_private(self._path, contents.to_bytes())
