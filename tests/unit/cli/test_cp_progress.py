"""What is said while files travel, and at the end."""

from __future__ import annotations

import json

from rshell.channels.files.messages import TransferOptions
from rshell.channels.files.progress import LARGE, FileEvent, TransferTotals
from rshell.cli.cp_options import CopyOptions
from rshell.cli.cp_progress import CopyProgress, format_size, summary
from rshell.errors import file_error


class Output:
    """A descriptor that keeps what it is given."""

    def __init__(self) -> None:
        self.text = ""

    def say(self, line: bytes) -> None:
        self.text += line.decode()


class Desk:
    """A progress with a clock of its own and outputs that are kept."""

    def __init__(self, *, terminal: bool = False, **options: object) -> None:
        self.now = 0.0
        self.stdout, self.stderr = Output(), Output()
        self.progress = CopyProgress(
            CopyOptions(**options),  # type: ignore[arg-type]
            self.stdout,
            self.stderr,
            lambda: self.now,
            columns=80 if terminal else 0,
        )


SENT = FileEvent("sent", "a", 5)
FAILED = FileEvent("failed", "a\x1b[31m", error=file_error(2, "No such file", "a"))


def test_nothing_is_said_where_nobody_asked() -> None:
    desk = Desk()
    for event in (SENT, FileEvent("made", "d"), FileEvent("skipped", "s", why="same")):
        desk.progress.tell(event)
    desk.progress.look(TransferTotals())
    desk.progress.finish(TransferTotals())
    assert (desk.stdout.text, desk.stderr.text) == ("", "")
    desk.progress.tell(FAILED)
    desk.progress.tell(FileEvent("special", "pipe"))
    assert desk.stderr.text.splitlines() == [
        r"rshell-cp: a\x1b[31m: No such file",
        "rshell-cp: is no file, directory or link, and is left: pipe",
    ]


def test_events_of_small_files_are_asked_for_where_they_are_shown() -> None:
    assert Desk().progress.told_from == Desk(terminal=True).progress.told_from == LARGE
    assert Desk(verbose=True).progress.told_from == Desk(json=True).progress.told_from == 0
    assert Desk(transfer=TransferOptions(dry_run=True)).progress.told_from == 0


def test_names_are_printed_and_a_dry_run_says_what_it_would_do() -> None:
    desk = Desk(verbose=True)
    desk.progress.tell(SENT)
    desk.progress.tell(FileEvent("deleted", "old"))
    desk.progress.announce("a becomes b/a")
    assert desk.stdout.text == "a\nremoved old\n"
    desk = Desk(transfer=TransferOptions(dry_run=True))
    desk.progress.announce("a becomes b/a")
    desk.progress.tell(FileEvent("would-send", "a"))
    desk.progress.tell(FileEvent("deleted", "old"))
    assert desk.stdout.text == "a becomes b/a\nwould send a\nwould remove old\n"


def test_programs_get_objects() -> None:
    desk = Desk(json=True, terminal=True)
    for event in (SENT, FAILED, FileEvent("skipped", "s", 1, "newer")):
        desk.progress.tell(event)
    desk.now = 2.0
    desk.progress.finish(TransferTotals())
    first, failed, skipped, done = map(json.loads, desk.stdout.text.splitlines())
    assert first == {"event": "sent", "path": "a", "size": 5}
    assert (failed["error"], failed["errno"], skipped["why"]) == ("No such file", 2, "newer")
    assert (done["event"], done["duration"], desk.stderr.text) == ("done", 2.0, "")


def test_a_terminal_has_one_line_that_moves_and_one_for_each_large_file() -> None:
    desk = Desk(terminal=True)
    totals = TransferTotals()
    totals.begun(lambda: "d/big", 100 * 2**20)
    for second in range(1, 6):
        desk.now, totals.at = float(second), second * 10 * 2**20
        desk.progress.look(totals)
    last = desk.stderr.text.rpartition("\r\x1b[K")[2]
    assert last == "0 files, 50.0 MiB, 10.0 MiB/s, big 50 %, 5.0 s left"
    desk.progress.tell(FileEvent("sent", "d/big", 100 * 2**20))
    totals.sent(lambda: "d/big", 100 * 2**20)
    desk.now = 10.0
    desk.progress.finish(totals)
    assert desk.stderr.text.endswith(
        "\r\x1b[Kd/big  100 MiB\n1 file of 100 MiB, 0 B had to travel; 10.0 s, 10.0 MiB/s\n"
    )


def test_sizes_and_sums_are_told_as_people_read_them() -> None:
    for size, text in ((0, "0 B"), (999, "999 B"), (1000, "1.0 KiB"), (1536, "1.5 KiB"),
                       (200 * 2**20, "200 MiB"), (2**62, "4096 PiB")):  # fmt: skip
        assert format_size(size) == text
    totals = TransferTotals()
    totals.made, totals.skipped, totals.deleted, totals.failed = 1, 2, 3, 4
    assert summary(totals, 1.0) == (
        "0 files of 0 B, 1 directories and links made, 2 left as they are, 3 removed, 4 failed; "
        "1.0 s, 0 B/s"
    )
