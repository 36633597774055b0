"""The audit log: who logged in, from where, and what was run. One JSON object a line.

Strategy: JSON escapes every control character, so no name or command can forge a line or move
a reader's terminal. The file is opened for appending, mode 0600, and each line is one write.

Hazard: a line that can't be written must not stop the work of those who are logged in, nor go
unnoticed: the first failure is logged, and the number of lost lines with the next success.
"""

from __future__ import annotations

import json
import logging
import os
import time
from pathlib import Path

from rshell.errors import ConfigurationError
from rshell.protocol.codec import Json

_log = logging.getLogger("rshell.server")


class AuditLog:
    """Appends lines to `path`; None keeps no log. Raises ConfigurationError if it can't."""

    def __init__(self, path: Path | None) -> None:
        self._fd = -1
        self._lost = 0
        if path is not None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            try:
                self._fd = os.open(path, flags, 0o600)
            except OSError as error:
                raise ConfigurationError(
                    f"can't write the audit log {path}: {error.strerror}. "
                    "Free the path, or choose another --state directory."
                ) from error

    def write(self, event: str, facts: Json) -> None:
        """Append one line: the time (UTC), the event, and its facts."""
        if self._fd < 0:
            return
        now = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03}Z"
        record: Json = {"time": stamp, "event": event} | facts
        if self._lost:
            record["lines_lost_before"] = self._lost
        try:
            os.write(self._fd, json.dumps(record).encode("ascii") + b"\n")
            self._lost = 0
        except OSError as error:
            if not self._lost:
                _log.error("can't write the audit log: %s", error.strerror)
            self._lost += 1

    def close(self) -> None:
        """Close the file. Harmless when it is closed."""
        fd, self._fd = self._fd, -1
        try:
            if fd >= 0:
                os.close(fd)
        except OSError as error:  # a file system in a network may say only here that it is full
            _log.error("the audit log may lack its last lines: %s", error.strerror)
