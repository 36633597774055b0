"""fsspec's own tests of a file system, run by tests/process/adapters against a server.

The environment has the address. It is no test file: pytest runs it in a process of its own, where
one session serves all of the tests.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import fsspec
import fsspec.tests.abstract as abstract
import pytest

_HOST = os.environ["FSSPEC_SUITE_HOST"]


class RshellFixtures(abstract.AbstractFixtures):
    @pytest.fixture
    def fs(self) -> Any:
        return fsspec.filesystem("rshell", host=_HOST)

    @pytest.fixture
    def fs_path(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
        yield str(tmp_path_factory.mktemp("far"))


class TestCopy(abstract.AbstractCopyTests, RshellFixtures):
    pass


class TestGet(abstract.AbstractGetTests, RshellFixtures):
    pass


class TestPut(abstract.AbstractPutTests, RshellFixtures):
    pass


class TestPipe(abstract.AbstractPipeTests, RshellFixtures):
    pass


class TestOpen(abstract.AbstractOpenTests, RshellFixtures):
    pass
