"""The pages themselves: README's table leads to each of them, and no link leads nowhere."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.commands import ROOT

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]

_LINK = re.compile(r"\]\(([^)#:\s]*)(?:#([^)]*))?\)")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
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
