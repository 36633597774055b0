"""Servers and clients that are killed at random moments under load. Long runs are by hand."""

from __future__ import annotations

from pathlib import Path

from tests.support.kill_storm import Storm


def test_what_is_killed_under_load_leaves_no_orphan_no_torn_file_and_no_stale_socket(
    tmp_path: Path,
) -> None:
    storm = Storm(tmp_path, seed=1)
    storm.kill_server()
    storm.kill_client()  # of a server that started where the other was killed
    assert not storm.amiss
