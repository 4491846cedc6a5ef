"""Reads sections, code blocks, tables and links of the documents for the tests."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.support import ROOT

DOCS = ROOT / "docs"
PAGES = sorted(
    [
        *ROOT.glob("*.md"), *DOCS.glob("*.md"),
        *(ROOT / folder / "README.md" for folder in ("sql", "migrations", "deploy")),
    ]
)  # fmt: skip


class Link(NamedTuple):
    page: str
    address: str

    def __str__(self) -> str:
        return f"{self.page}: {self.address}"


def section(page: Path, heading: str) -> str:
    """The text from a second-level heading to the next one."""
    text = page.read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    assert text, f"{page.name} has no section {heading!r}"
    return text


def block(text: str, language: str) -> str:
    """The first code block in a language."""
    found = re.search(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert found is not None, f"no block of {language}"
    return found[1]


def rows(text: str) -> list[str]:
    """The rows of the first table without its header."""
    return re.findall(r"^\|.*$", ("|" + text.partition("\n|")[2]).partition("\n\n")[0], re.MULTILINE)[2:]


def links(page: Path) -> Iterator[Link]:
    """The links to files of the project and to headings, without those to other hosts."""
    name = str(page.relative_to(ROOT))
    for address in re.findall(r"\]\(\s*([^)\s]+)\s*\)", _without_code(page.read_text())):
        if not re.match(r"[a-z]+:", address):
            yield Link(name, address)


def leads_somewhere(link: Link) -> bool:
    path, _, anchor = link.address.partition("#")
    target = ((ROOT / link.page).parent / path).resolve() if path else ROOT / link.page
    if not target.is_relative_to(ROOT) or not target.exists():
        return False
    return not anchor or (target.suffix == ".md" and anchor in anchors(target))


def anchors(page: Path) -> set[str]:
    """The headings as anchors of an address."""
    headings = re.findall(r"^#+ (.*)$", _without_code(page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _without_code(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
