"""docs/benchmarks.md, written from the results of one run."""

from __future__ import annotations

import os
import platform
import ssl
import subprocess
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from tests.benchmarks.result import Result, markdown_table

DOCUMENT = Path(__file__).parents[2] / "docs" / "benchmarks.md"

_TEXT = """\
# Benchmarks

Written by `python -m tests.benchmarks --write`{options} on {today}. Figures are of one machine
and one run; what counts are the ratios, because whatever is compared ran side by side.

## Machine

{machine}

## Figures

{table}

"Compared" is the number that the bound is about: a ratio to what stands beside it, or the
figure itself.

## Method

- Both servers run on the loopback, as the present user, with keys made for the occasion:
  an rshell-server with its defaults, and an sshd of its own without PAM. Commands of sshd get
  an empty home directory, or the shell would read the user's ~/.bashrc there and not here.
- What is compared is measured in turns, after one call each to warm up, and medians are
  compared. A whole process means from its start to its end, with a new link.
- Bulk data is `head -c N /dev/zero` with the output thrown away; MB are 10^6 bytes.
- "API" is a Python program that reads the stream block by block.
- The long way is a proxy process that holds every byte for 50 ms each way and limits nothing
  else; what it carries between two plain sockets stands beside the figure.
- The far paths are two network namespaces and a process that delays and drops packets between
  them, so that the kernel's own TCP does the rest, for rshell and ssh alike; it needs root.
  Packets have 9,000 bytes, 60,000 at 20 ms without loss, where both cores of the machine are the
  limit of either. A rate is that of the third to the eighth second after the first byte; "pipe" and
  "file" are the other side of `rshell -c`, and ssh's pipe stands beside the API.
- The way in goes through that sshd. Its server was brought along and started by an earlier call.
- Files live in memory, in /dev/shm. What goes over ssh sends them, and stands beside both
  directions: scp, sftp, `rsync -a`, and tar at both ends of a pipe. What is not there is left out.
- Memory is the resident set of the process: for a session, what the server grew by, divided
  by the number of sessions.

## Running it again

    python -m tests.benchmarks                   # all rows, some minutes
    python -m tests.benchmarks --only one-shot --only echo
    python -m tests.benchmarks --full --only far-paths   # medians of 5: three quarters of an hour
    python -m tests.benchmarks --full            # 10,000 sessions and a reply of 10 GiB
    python -m tests.benchmarks --write           # and this file

The rows are {rows}. Without OpenSSH the comparisons with ssh are left out.
"""


def write_document(results: Sequence[Result], rows: Sequence[str], *, options: str) -> Path:
    """Write the document and return where."""
    machine = "\n".join(f"- {line}" for line in describe_machine())
    text = _TEXT.format(
        options=f" with {options}" if options else "",
        today=date.today().isoformat(),
        machine=machine,
        table=markdown_table(results),
        rows=", ".join(f"`{name}`" for name in rows),
    )
    DOCUMENT.parent.mkdir(exist_ok=True)
    DOCUMENT.write_text(text)
    return DOCUMENT


def describe_machine() -> list[str]:
    """Return what matters of this machine, in general terms."""
    kernel = ".".join(platform.release().split(".")[:2])
    lines = [
        f"{os.cpu_count()} cores ({platform.machine()}), {platform.system()} {kernel}",
        f"{platform.python_implementation()} {platform.python_version()}",
        " ".join(ssl.OPENSSL_VERSION.split()[:2]),
    ]
    try:
        # ssh tells its version on stderr, followed by that of its library.
        told = subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=False).stderr
        lines.append(told.split(",")[0].split(" ")[0].strip().replace("_", " "))
    except OSError:
        lines.append("no OpenSSH")
    return lines
