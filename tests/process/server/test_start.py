"""What `rshell.serve` makes of what it is asked for."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import rshell
from rshell.errors import ConfigurationError

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")


@needs_openssl
async def test_nowhere_to_listen_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="a host, a Unix socket, or both"):
        await rshell.serve(None)


@needs_openssl
async def test_commands_start_in_the_home_directory_unless_told_otherwise(tmp_path: Path) -> None:
    async with (
        rshell.serve("127.0.0.1", 0) as server,
        rshell.connect(server.addresses[0]) as client,
    ):
        assert (await client.run("pwd", text=True)).stdout.strip() == str(Path.home())
    async with (
        rshell.serve("127.0.0.1", 0, cwd=str(tmp_path)) as server,
        rshell.connect(server.addresses[0]) as client,
    ):
        assert (await client.run("pwd", text=True)).stdout.strip() == str(tmp_path)
