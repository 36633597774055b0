"""TransferTotals count what is told, and keep few of very many failures."""

from __future__ import annotations

from rshell.channels.files.progress import LARGE, FileEvent, TransferTotals
from rshell.errors import file_error


def test_what_is_counted_and_told() -> None:
    told: list[FileEvent] = []
    totals = TransferTotals(told.append)
    totals.begun(lambda: "a", 5)
    totals.sent(lambda: "a", 5)
    totals.begun(lambda: "b", LARGE)
    assert (totals.path, totals.size) == ("b", LARGE)
    totals.done(lambda: "d")
    totals.skip(lambda: "c", 1, "same")
    totals.skip(lambda: "c", 1, "would-send")
    totals.note("deleted", "x")
    totals.note("special", "y")
    for _ in range(2000):
        totals.fail(file_error(2, "no", "z"))
    assert [event.what for event in told[:7]] == [
        "sent", "begun", "made", "skipped", "would-send", "deleted", "special",
    ]  # fmt: skip
    assert (totals.files, totals.bytes, totals.made, totals.skipped) == (1, 5, 1, 3)
    assert (totals.deleted, totals.failed, len(totals.failures)) == (1, 2000, 1000)
    assert told[-1].error is not None and told[-1].path == "z"
    few: list[FileEvent] = []
    totals = TransferTotals(few.append, told_from=LARGE)
    for size in (5, LARGE):
        totals.begun(lambda: "a", size)
        totals.sent(lambda: "a", size)
        totals.skip(lambda: "a", size, "same")
        totals.done(lambda: "d")
    totals.note("deleted", "x")
    totals.fail(file_error(2, "no", "z"))
    assert [event.what for event in few] == ["begun", "sent", "skipped", "deleted", "failed"]
    assert (totals.files, totals.made, totals.skipped) == (2, 2, 2)
    silent = TransferTotals()
    silent.sent(lambda: 1 / 0, 5)  # type: ignore[arg-type, return-value]
    assert "files=1" in repr(silent)
