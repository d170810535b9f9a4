"""Names in one setting, separated by commas."""

from __future__ import annotations

import csv


def names_in_setting(text: str | None) -> list[str]:
    """The names in a text such as `age,weight`, of which one with a comma is quoted; none in None."""
    return [] if text is None else [name.strip() for name in next(csv.reader([text], skipinitialspace=True))]
