"""Names in one setting, separated by commas."""

from __future__ import annotations

import csv


def names_in_setting(text: str | None) -> list[str]:
    """The names in a text such as `age,weight`, of which one with a comma is quoted; none in None.

    Raises:
        ValueError: if it is no such text.
    """
    try:
        return [] if text is None else [name.strip() for name in next(csv.reader([text], skipinitialspace=True))]
    except csv.Error as error:
        raise ValueError(f"names are separated by commas, such as age,weight; got {text!r} ({error})") from None
