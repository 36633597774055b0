"""What a row of the benchmark says, and the table that shows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Bound:
    """What a figure must keep to: `of` names what it is a ratio of, or is its unit."""

    value: float
    of: str
    at_least: bool = False

    def holds(self, figure: float) -> bool:
        """Whether `figure` keeps to the bound."""
        return figure >= self.value if self.at_least else figure <= self.value

    def __str__(self) -> str:
        return f"{'>=' if self.at_least else '<='} {self.value:g} {self.of}"


def at_most(value: float, of: str) -> Bound:
    """Return a bound that small figures keep to."""
    return Bound(value, of)


def at_least(value: float, of: str) -> Bound:
    """Return a bound that large figures keep to."""
    return Bound(value, of, at_least=True)


@dataclass(frozen=True)
class Result:
    """One line: what was measured, rshell's figure, what stands beside it, and its bound.

    `compared` is the number that the bound is about; None where its peer was not there.
    """

    what: str
    figure: str
    beside: str = ""
    bound: Bound | None = None
    compared: float | None = None

    @property
    def verdict(self) -> str:
        """Return "yes", "no", or "-" where there is nothing to say."""
        if self.bound is None or self.compared is None:
            return "-"
        return "yes" if self.bound.holds(self.compared) else "no"

    def cells(self) -> tuple[str, ...]:
        """Return the line's cells, as HEADINGS names them."""
        compared = "-" if self.compared is None else f"{self.compared:.3g}"
        bound = "-" if self.bound is None else str(self.bound)
        return (self.what, self.figure, self.beside or "-", compared, bound, self.verdict)


HEADINGS = ("what", "rshell", "beside it", "compared", "must be", "met")


def plain_table(results: Sequence[Result]) -> str:
    """Return the results as columns for a terminal."""
    lines = [HEADINGS, *(result.cells() for result in results)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    rows = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
    return "\n".join(rows)


def markdown_table(results: Sequence[Result]) -> str:
    """Return the results as a Markdown table."""
    lines = [HEADINGS, ("---",) * len(HEADINGS), *(result.cells() for result in results)]
    return "\n".join("| " + " | ".join(_escape(cell) for cell in line) + " |" for line in lines)


def _escape(cell: str) -> str:
    return cell.replace("|", "\\|").replace("<=", "≤").replace(">=", "≥")
