"""`client.files` is one thing for a client."""

from __future__ import annotations

from pathlib import Path

from tests.support.session import tls_session


async def test_a_client_has_one_way_to_its_servers_files(tmp_path: Path) -> None:
    async with tls_session(cwd=tmp_path) as client:
        assert client.files is client.files
        assert (await client.files.stat(".")).is_directory
