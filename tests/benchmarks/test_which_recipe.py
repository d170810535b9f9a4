"""The page's table is what the recipe chooses today."""

from pathlib import Path

from benchmarks import which_recipe

PAGE = (Path(__file__).parents[2] / "docs" / "which_recipe.md").read_text(encoding="utf-8")


def test_the_page_shows_what_is_chosen():
    rows = "\n".join(which_recipe.rows())
    assert rows in PAGE, "python -m benchmarks.which_recipe prints the table for docs/which_recipe.md"
    assert rows.count("\n") == len(which_recipe.CASES) + 1
