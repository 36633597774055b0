"""The package as its users meet it: names, versions, commands, and what a start loads."""

from __future__ import annotations

import ast
import os
import shlex
import subprocess
import sys

import pytest

import rshell
from tests.support.commands import ROOT, run
from tests.support.stdlib import STDLIB

_REFUSE = (
    "import sys\n"
    "class Refuse:\n"
    "    def find_spec(self, name, path=None, target=None):\n"
    "        if name.split('.')[0] == 'prompt_toolkit':\n"
    "            raise ImportError('refused: ' + name)\n"
    "sys.meta_path.insert(0, Refuse())\n"
)


def python(program: str, *arguments: str, options: tuple[str, ...] = ()) -> str:
    done = subprocess.run(
        [sys.executable, *options, "-c", program, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_import_is_light() -> None:
    loaded = python("import sys, rshell; print(*sys.modules)").split()
    assert "rshell" in loaded
    assert not {"asyncio", "ssl", "socket", "subprocess", "rshell.errors"} & set(loaded)


def test_every_public_name_resolves_and_nothing_else_does() -> None:
    assert sorted(rshell.__all__) == sorted(rshell._HOME_OF) == dir(rshell)
    for name in rshell.__all__:
        value = getattr(rshell, name)
        is_class = issubclass(type(value), type)  # an alias, such as Handler, is none
        assert not is_class or value.__name__ == name
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = rshell.no_such_name


def test_every_public_name_has_its_import_for_type_checkers() -> None:
    """They see that block alone; the lazy table is invisible to them."""
    tree = ast.parse((ROOT / "rshell" / "__init__.py").read_text(encoding="utf-8"))
    block = next(
        node
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    seen = {
        alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == rshell._HOME_OF


def test_every_exception_is_public() -> None:
    from rshell import errors

    public = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.RshellError)
    }
    assert public <= set(rshell.__all__)


def test_version_is_the_one_of_the_distribution() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'\nversion = "{rshell.__version__}"\n' in project
    scripts = project.partition("\n[project.scripts]\n")[2].partition("\n\n")[0].splitlines()
    names = ("rshell", "cp", "server", "token")
    starts = ["rshell", "rshell-cp", "rshell-server", "rshell-token"]
    assert scripts == [f'{start} = "rshell.cli.{name}:run"' for start, name in zip(starts, names)]


@pytest.mark.parametrize("command", ["rshell", "cp", "server"])
def test_commands_start_as_modules_and_know_their_version(command: str) -> None:
    done = run("--version", command=command)
    assert done.returncode == 0
    assert done.stdout.decode().split()[-1] == rshell.__version__


@pytest.mark.parametrize("command", ["rshell", "cp", "server", "token"])
def test_help_has_examples_and_fits_a_terminal(command: str) -> None:
    done = run("--help", command=command)
    text = done.stdout.decode()
    assert done.returncode == 0 and "rshell" in text
    assert max(len(line) for line in text.splitlines()) <= 100


def test_a_oneshot_never_loads_the_prompts_library() -> None:
    program = (
        "import sys\n"
        "from rshell.cli.rshell import main\n"
        "status = main(['--local', '-c', 'exit 3'])\n"
        "print(status, *sys.modules)\n"
    )
    status, *loaded = python(program).split()
    assert status == "3" and "asyncio" in loaded
    heavy = {"prompt_toolkit", "rshell.server.server", "argparse", "logging.config", "tomllib"}
    assert not heavy & set(loaded)


def test_the_server_runs_where_there_is_nothing_but_python() -> None:
    """No site-packages, and whoever asks for the prompt's library is refused."""
    program = (
        _REFUSE
        + "sys.path.insert(0, sys.argv.pop(1))\n"
        + "sys.argv[0] = 'rshell-server'\n"
        + "from rshell.cli.server import run; run()\n"
    )
    served = [sys.executable, "-I", "-S", "-c", program, str(ROOT), "--stdio"]
    done = run("--via", shlex.join(served), "-c", "echo served; exit 4")
    assert (done.stdout, done.returncode) == (b"served\n", 4)


@pytest.mark.parametrize(
    "module", ["rshell.server.server", "rshell.cli.server", "rshell.cli.token"]
)
def test_what_serves_loads_the_standard_library_alone(module: str) -> None:
    program = (
        _REFUSE
        + "sys.path.insert(0, sys.argv[1])\n"
        + "before = set(sys.modules)\n"
        + f"import {module}\n"
        + "import rshell.transport.tls\n"
        + "print(*{name.split('.')[0] for name in set(sys.modules) - before})\n"
    )
    loaded = set(python(program, str(ROOT), options=("-I", "-S")).split())
    assert loaded - STDLIB == {"rshell"}
