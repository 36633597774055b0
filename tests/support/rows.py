"""Tables that one test walks: what fails names its row."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

Row = TypeVar("Row")


@contextmanager
def row(*values: object) -> Iterator[None]:
    """Name the row in what is raised inside the block."""
    try:
        yield
    except BaseException:
        print(f"in the row {values!r}")
        raise
