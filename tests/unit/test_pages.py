"""The pages themselves: README's table leads to each of them, and no link leads nowhere."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from rshell.channels.shell.recipe import ShellRecipe
from tests.support.commands import ROOT

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]

_LINK = re.compile(r"\]\(([^)#:\s]*)(?:#([^)]*))?\)")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
_MESSAGE = re.compile(r"(``?)(.+?)\1(?=, |$)")
_PAGES_OF_COMMANDS = ("commands", "errors", "files", "security", "tutorial")
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
_FENCED = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)


def prose(page: Path) -> str:
    return _FENCED.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives the headings of a page."""
    headings = (re.sub(r"[^\w -]", "", heading) for heading in _HEADING.findall(prose(page)))
    return {heading.strip().lower().replace(" ", "-") for heading in headings}


def test_every_page_is_in_the_table_of_the_readme() -> None:
    table = [line for line in prose(ROOT / "README.md").splitlines() if line.startswith("|")]
    linked = {target for line in table for target, _ in _LINK.findall(line)}
    missing = {f"docs/{page.name}" for page in DOCS.glob("*.md")} - linked
    assert not missing, f"README.md's table lacks {sorted(missing)}"


def test_links_between_pages_lead_somewhere() -> None:
    dead = []
    for page in PAGES:
        for target, anchor in _LINK.findall(prose(page)):
            path = (page.parent / target).resolve() if target else page
            if not path.exists():
                dead.append(f"{page.name}: {target}")
            elif anchor and anchor not in anchors(path):
                dead.append(f"{page.name}: {target}#{anchor}")
    assert dead == []


def texts_of_the_code() -> str:
    """Return every string in the package, a NUL between two; what is filled in is "..."."""
    found = []
    for path in (ROOT / "rshell").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = (
                    part.value if isinstance(part, ast.Constant) else "..." for part in node.values
                )
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\0".join(found)


def test_the_page_of_messages_quotes_the_code() -> None:
    """Each message, in pieces where it has `...`, is in one string of the code in that order."""
    texts = texts_of_the_code()
    rows = [row for row in prose(DOCS / "errors.md").splitlines() if row.startswith("| `")]
    messages = [message for row in rows for _, message in _MESSAGE.findall(row.split(" | ")[0][2:])]
    assert len(messages) >= len(rows)
    unknown = []
    for message in messages:
        pieces = [piece.strip(" .") for piece in message.split("...")]
        if not re.search("[^\\0]*".join(re.escape(piece) for piece in pieces if piece), texts):
            unknown.append(message)
    assert unknown == []


def test_the_page_of_execution_shows_the_recipe_as_it_is() -> None:
    recipe = ShellRecipe.choose("bash", terminal=False)
    lines = recipe.run(10, "COMMAND", 0).decode().replace("'%d 10 ", "'%d NUMBER ")
    assert f"```\n{lines}```" in (DOCS / "execution.md").read_text(encoding="utf-8")


def test_the_pages_name_options_that_there_are() -> None:
    sources = (ROOT / "rshell" / "cli").rglob("*.py")
    known = {"--quiet"}.union(*(_OPTION.findall(path.read_text("utf-8")) for path in sources))
    for page in (ROOT / "README.md", *(DOCS / f"{name}.md" for name in _PAGES_OF_COMMANDS)):
        text = page.read_text(encoding="utf-8").replace("#--json", "")
        assert set(_OPTION.findall(text)) <= known | {"--help", "--version"}, page.name
