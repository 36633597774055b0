"""`rshell-cp` that is killed and cut in the middle of transfers. Long runs are by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.copy_storm import CopyStorm


@pytest.mark.parametrize(
    "verb, kills", [("put", ["server", "client"]), ("get", ["link", "server"])]
)
async def test_what_is_killed_in_the_middle_is_taken_up_and_no_file_is_ever_torn(
    tmp_path: Path, verb: str, kills: list[str]
) -> None:
    storm = CopyStorm(tmp_path, 1, verb, 16_000_000, 20)
    await storm.run(kills)
    assert not storm.amiss and sum(storm.done.values()) == len(kills)
