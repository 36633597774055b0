"""The Python blocks of the pages run: whole programs alone, pieces in a coroutine of their own.

A piece finds `rshell`, `asyncio`, `client` (an open session with a server of its own) and
`directory` (an empty private directory). What it asserts must hold.
"""

from __future__ import annotations

import ast
import asyncio
import re
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Any

import pytest

import rshell
from rshell.aio import timeout
from tests.support.commands import ROOT

DOCS = ROOT / "docs"
PAGES = ("api", "lasting", "files", "embedding", "kinds", "execution")
_API_PAGES = ("api", "lasting", "files", "embedding", "kinds")

_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(*, whole: bool) -> list[Any]:
    """Return the blocks that are whole programs, or those that are pieces."""
    found = []
    for page in PAGES:
        text = (DOCS / f"{page}.md").read_text()
        for match in _BLOCK.finditer(text):
            if ("asyncio.run(" in match[1]) is whole:
                line = text.count("\n", 0, match.start()) + 2
                found.append(pytest.param(match[1], id=f"{page}.md:{line}"))
    return found


@pytest.mark.parametrize("source", blocks(whole=True))
async def test_a_program_in_the_docs_runs(source: str, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(source)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", str(program)),
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    async with timeout(60):
        _, stderr = await process.communicate()
    assert (process.returncode, stderr) == (0, b"")


@pytest.mark.parametrize("source", blocks(whole=False))
async def test_a_piece_in_the_docs_runs(source: str) -> None:
    body = textwrap.indent(source, "    ")
    names: dict[str, Any] = {"asyncio": asyncio, "rshell": rshell}
    exec(compile(f"async def piece(client, directory):\n{body}", "<docs>", "exec"), names)
    with tempfile.TemporaryDirectory() as own, tempfile.TemporaryDirectory() as directory:
        async with (
            timeout(60),
            rshell.serve(None, unix=f"{own}/socket", state=own) as server,
            rshell.connect(server.addresses[0]) as client,
        ):
            await names["piece"](client, Path(directory))


def test_the_api_pages_name_everything_public() -> None:
    text = _api_text()
    assert [name for name in rshell.__all__ if not re.search(rf"\b{name}\b", text)] == []


def test_the_api_pages_show_the_options_that_there_are() -> None:
    """The signatures in the pages name each parameter of the functions, and no other."""
    text = _api_text()
    for name, function in {
        "rshell.connect": rshell.connect,
        "rshell.serve": rshell.serve,
        "client.run": rshell.Client.run,
        "client.start_job": rshell.Client.start_job,
        "client.open_process": rshell.Client.open_process,
        "client.open_shell": rshell.Client.open_shell,
    }.items():
        match = re.search(rf"^(?:await )?{re.escape(name)}\((.*?)\) ->", text, re.DOTALL | re.M)
        assert match is not None, name
        call = ast.parse(f"def shown({match[1]}): pass").body[0]
        assert isinstance(call, ast.FunctionDef)
        shown = [argument.arg for argument in (*call.args.args, *call.args.kwonlyargs)]
        code = function.__code__
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        assert shown == [each for each in names if each != "self"], name


def _api_text() -> str:
    return "\n".join((DOCS / f"{page}.md").read_text() for page in _API_PAGES)
