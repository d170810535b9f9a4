"""Links and anchors of the README, the site and the docstrings lead somewhere; addresses have the right form."""

import ast
import os
import re
from urllib.parse import urlsplit

import pytest

from tests.site.pages import DOCS, NAMES, PAGES, ROOT, anchors, links, text_of

OTHERS = [ROOT / name for name in ("CHANGELOG.md", "CONTRIBUTING.md")]
SOURCES = [path for top in ("keras_mae", "trainers", "export", "benchmarks") for path in (ROOT / top).rglob("*.py")]


def well_formed(address):
    """Whether an address of another host has a form that can lead somewhere."""
    parts = urlsplit(address)
    return parts.scheme in ("https", "http") and "." in parts.netloc and " " not in address


@pytest.mark.parametrize("page", [*PAGES, *OTHERS], ids=[*NAMES, *(path.name for path in OTHERS)])
def test_links_lead_somewhere(page):
    for link in links(page):
        if "://" in link:
            assert well_formed(link), link
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link} leads nowhere"
        if DOCS in page.parents:  # mkdocs copies what is below docs/
            assert target == page or DOCS in target.parents, f"{link} leaves the site"
        if anchor and target.suffix == ".md" and "api" not in target.parts:
            assert anchor in anchors(target), f"{link}: {target.name} has {sorted(anchors(target))}"


def test_the_checker_sees_what_is_wrong(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A `b` (c)\n[x](#a-b-c) [y](gone.md) `[no](link)`\n```\n[no](either)\n```\n")
    assert links(page) == ["#a-b-c", "gone.md"] and anchors(page) == {"a-b-c"}
    assert not well_formed("https://host") and not well_formed("htp://a.b") and well_formed("https://a.b/c")


def test_addresses_in_docstrings_and_messages():
    """And paths of this repository that a docstring names exist."""
    seen = 0
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                for address in re.findall(r"https?://[^\s`'\"),;\]]+", node.value):
                    host = urlsplit(address).netloc
                    seen += 1
                    assert "{" in address or "." in host or host.startswith("localhost"), f"{path}: {address}"
                for name in re.findall(r"`((?:docs|tests|benchmarks|trainers/recipes)/[\w/.]+\.\w+)`", node.value):
                    assert os.path.exists(ROOT / name), f"{path}: {name}"
    assert seen


def test_files_that_pages_name_exist():
    """`tests/...`, `benchmarks/...` and the like in backticks."""
    tops = "tests|benchmarks|docs|trainers|export|keras_mae"
    seen = 0
    for page in PAGES:
        for name in re.findall(rf"`((?:{tops})/[\w/.]+)`", text_of(page)):
            seen += 1
            assert os.path.exists(ROOT / name), f"{page.name}: {name}"
    assert seen > 20
