"""The README and the pages of the site: their blocks of code, links and anchors."""

import functools
import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]

_FENCE = re.compile(r"(?:^<!-- not run: (?P<why>[^>]*) -->\n+)?^```(?P<kind>[a-z]*)\n(?P<text>.*?)^```$", re.M | re.S)
_INCLUDED = re.compile(r'^--8<-- "([^"]+)"$', re.M)


class Block(NamedTuple):
    """A block of code: its language, its text, its line, and why it is not run, if it is not."""

    kind: str
    text: str
    line: int
    why: str | None


@functools.cache
def text_of(page: Path) -> str:
    """The page with the files that it includes."""
    text = page.read_text(encoding="utf-8")
    return _INCLUDED.sub(lambda found: (ROOT / found[1]).read_text(encoding="utf-8").rstrip("\n"), text)


@functools.cache
def blocks(page: Path) -> list[Block]:
    text = text_of(page)
    found = _FENCE.finditer(text)
    return [Block(f["kind"], f["text"], text.count("\n", 0, f.start("text")) + 1, f["why"]) for f in found]


def prose(page: Path) -> str:
    """The page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", text_of(page), flags=re.M | re.S)


def links(page: Path) -> list[str]:
    without_code = re.sub(r"`[^`\n]*`", "`x`", prose(page))
    return re.findall(r"\]\(([^)\s]+)\)", without_code)


def anchors(page: Path) -> set[str]:
    """The anchors of the page's headings, as mkdocs and GitHub make them."""
    found = set()
    for heading in re.findall(r"^#{1,6} (.*)$", prose(page), flags=re.M):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
        slug = re.sub(r"[^\w\s-]", "", plain).strip().lower()
        found.add(re.sub(r"[\s-]+", "-", slug))
    return found


def shell_lines(block: Block) -> list[str]:
    """The commands of a block for a shell, one a line."""
    return [line.strip() for line in block.text.replace("\\\n", " ").splitlines() if line.strip()]
