"""Who may import whom (docs/architecture.md), read from the source itself."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.support.commands import ROOT
from tests.support.stdlib import STDLIB

PACKAGE = ROOT / "rshell"
# Lowest first; "rshell" itself is the public face above the server.
LAYERS = (
    "errors",
    "values",
    "aio",
    "protocol",
    "security",
    "terminal",
    "execution",
    "transport",
    "channels",
    "reach",
    "client",
    "server",
    "rshell",
    "adapters",
    "cli",
)
# Only type checkers load it: test_package runs without it.
FOR_TYPES = {"typing_extensions"}
PURE = {"asyncio", "socket", "ssl", "os", "threading", "time", "select", "subprocess", "signal"}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports(path: Path) -> set[str]:
    """Return every module that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the layer"
            assert node.module is not None
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in MODULES else node.module)
    return found


GRAPH = {
    name: {other for other in imports(path) if other in MODULES} for name, path in MODULES.items()
}


def layer_of(module: str) -> str:
    return module.split(".")[1] if "." in module else module


def reachable(module: str) -> set[str]:
    """Return what loading a module loads, were every import at its top."""
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        for other in GRAPH[waiting.pop()] - seen:
            seen.add(other)
            if other != "rshell":  # loads its names when they are used
                waiting.append(other)
    return seen


def test_the_search_sees_the_package() -> None:
    assert "rshell.protocol.link" in MODULES and len(MODULES) > 50
    assert "rshell.protocol.frames" in GRAPH["rshell.protocol.link"]
    assert "asyncio" in imports(MODULES["rshell.transport.driver"])


def test_imports_point_to_the_own_layer_or_a_lower_one() -> None:
    for module in MODULES:
        own = LAYERS.index(layer_of(module))
        wrong = {other for other in GRAPH[module] if LAYERS.index(layer_of(other)) > own}
        assert not wrong, module


def test_the_server_does_without_the_client_and_prompt_toolkit() -> None:
    for module in MODULES:
        if layer_of(module) == "server" or module in ("rshell.cli.server", "rshell.cli.token"):
            for other in {module} | (reachable(module) - {"rshell"}):
                # A kind has both its ends in one directory; its client end needs no client layer.
                assert layer_of(other) != "client", f"{module} reaches {other}"
                outside = {name.split(".")[0] for name in imports(MODULES[other])}
                assert outside <= {"rshell"} | FOR_TYPES | STDLIB, other


def test_no_module_imports_itself_in_a_circle() -> None:
    circles = {module for module in MODULES if module in reachable(module)}
    assert not circles


def test_the_core_is_pure() -> None:
    core = {module for module in MODULES if layer_of(module) == "protocol"}
    for other in core.union(*map(reachable, core)):
        outside = {name.split(".")[0] for name in imports(MODULES[other])} & PURE
        # `values` names signals; the core asks the machine nothing.
        assert outside <= ({"signal"} if other == "rshell.values" else set()), other


def test_security_and_terminal_know_no_event_loop() -> None:
    for module, path in MODULES.items():
        if layer_of(module) in ("security", "terminal"):
            assert "asyncio" not in imports(path), module


def test_only_the_prompt_imports_prompt_toolkit() -> None:
    users = {
        module
        for module, path in MODULES.items()
        if any(name.split(".")[0] == "prompt_toolkit" for name in imports(path))
    }
    assert all(module.startswith("rshell.cli.prompt") for module in users)


def test_adapters_are_loaded_by_the_libraries_that_they_serve_alone() -> None:
    for module, path in MODULES.items():
        own = layer_of(module)
        assert own == "adapters" or "adapters" not in {layer_of(it) for it in GRAPH[module]}, module
        outside = {name.split(".")[0] for name in imports(path)}
        assert own == "adapters" or "fsspec" not in outside, module


def test_no_module_is_longer_than_can_be_read_in_one_go() -> None:
    lengths = {module: len(path.read_text().splitlines()) for module, path in MODULES.items()}
    assert not {module: length for module, length in lengths.items() if length > 400}


def test_every_module_has_its_test_file() -> None:
    tests = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    modules = [path for path in MODULES.values() if path.name != "__init__.py"]
    assert not [path for path in modules if f"test_{path.name}" not in tests]
