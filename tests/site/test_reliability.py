"""Every test that a page names exists."""

import ast
import re

from tests.site.pages import DOCS, PAGES, ROOT, text_of

NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def functions_of(path):
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_tests_that_pages_name_exist():
    named = [found for page in PAGES for found in NAMED.findall(text_of(page))]
    assert len(named) > 20
    for path, function in named:
        assert function.startswith("test_") and function in functions_of(path), f"{path}::{function}"


def test_each_promise_has_a_test():
    rows = re.findall(r"^\| (.+) \| (.+) \|$", (DOCS / "reliability.md").read_text(encoding="utf-8"), flags=re.M)
    promises = [row for row in rows if row != ("promise", "test")]
    assert len(promises) > 20
    for promise, test in promises:
        assert "`tests/" in test, promise
