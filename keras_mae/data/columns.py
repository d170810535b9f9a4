"""Values that lie beside images, one for each: a column of a table, a feature of records, an array of a file."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence

import numpy as np

from keras_mae.data.source import CLASSES, LABELS
from keras_mae.registry import listed

_INTEGER, _WHOLE = re.compile(r"-?(0|[1-9]\d*)"), re.compile(r"-?(0|[1-9]\d*)(\.0*)?")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(nan|inf|infinity)", re.IGNORECASE)
_TRUTHS = {"0": 0, "1": 1, "false": 0, "true": 1}


@dataclasses.dataclass(frozen=True)
class Column:
    """Values beside images.

    Attributes:
        name: of the column.
        values: `(N,)`, int64, float64, bool or str; those of a text file are str, whatever they say.
        missing: which values are missing, bool `(N,)`.
        place: the place of a value by its index, for messages, such as `row 7 of labels.csv`.
        class_names: what the integers 0, 1, ... stand for; empty if they are not the numbers of named classes.
    """

    name: str
    values: np.ndarray
    missing: np.ndarray
    place: Callable[[int], str]
    class_names: Sequence[str] = ()

    @classmethod
    def of_texts(cls, name: str, texts: Sequence[str], missing: np.ndarray, place: Callable[[int], str]) -> Column:
        """Texts of a file; if all are whole numbers, some with a point, as 3.0, they are written without."""
        if all(_WHOLE.fullmatch(text) for text, gone in zip(texts, missing) if not gone):
            texts = [text.partition(".")[0] for text in texts]
        return cls(name, np.array(texts, dtype=object), missing, place)

    def __getitem__(self, chosen: np.ndarray) -> Column:
        """The values at some indices, int64 `(n,)`."""
        place = lambda index: self.place(int(chosen[index]))  # noqa: E731
        return dataclasses.replace(self, values=self.values[chosen], missing=self.missing[chosen], place=place)

    def texts(self) -> list[str]:
        """The values as texts, whole numbers without a point; raises ValueError if one is missing."""
        self._check(self.missing, "is empty")
        return self.texts_or_blanks()

    def names(self) -> list[str]:
        """The different texts in order, numbers by their size; missing values have none."""
        if self.class_names:
            return list(self.class_names)
        found = set(self[np.flatnonzero(~self.missing)].texts_or_blanks())
        return sorted(found, key=int if all(map(_INTEGER.fullmatch, found)) else None)

    def classes(self, names: Sequence[str]) -> np.ndarray:
        """The number of each value's class, int64 `(N,)`.

        Args:
            names: of the classes, in order.

        Raises:
            ValueError: if a value is missing, none of the classes, or a number that is not whole.
        """
        if self.class_names and np.issubdtype(self.values.dtype, np.integer):
            self._check(self.missing, "is empty")
            self._check((self.values < 0) | (self.values >= len(names)), f"is no number of one of {len(names)} classes")
            return self.values.astype("int64")
        texts = np.array(self.texts(), dtype=object)
        number = {name: label for label, name in enumerate(names)}
        numeric = all(map(_NUMBER.fullmatch, texts))
        self._check(
            np.array(
                [numeric and not re.fullmatch(r"[+-]?\d+", text) or text.lower() == "nan" for text in texts], bool
            ),
            "is the name of no class: these are texts or whole numbers; of numbers take --set task=numbers",
        )
        self._check(
            np.array([text not in number for text in texts], bool),
            f"is none of the {len(names)} classes of the images to train on: {listed(names)}",
        )
        return np.array([number[text] for text in texts], "int64")

    def truths(self) -> np.ndarray:
        """The values as 0 and 1, float32 `(N,)`; raises ValueError for another value, or a missing one."""
        self._check(self.missing, "is empty, and of several labels each is 0 or 1")
        if self.values.dtype.kind == "f":
            self._check((self.values != 0) & (self.values != 1), "is neither 0 nor 1, as a label must be")
            return self.values.astype("float32")
        lowered = [text.lower() for text in self.texts_or_blanks()]
        self._check(np.array([text not in _TRUTHS for text in lowered], bool), "is neither 0 nor 1, as a label must be")
        return np.array([_TRUTHS[text] for text in lowered], "float32")

    def numbers(self) -> np.ndarray:
        """The values as float32 `(N,)`; raises ValueError for one that is missing, not finite, or no number."""
        self._check(self.missing, "is empty, and a number is needed")
        if self.values.dtype.kind in "iufb":
            found = self.values.astype("float64")
        else:
            texts = self.texts_or_blanks()
            no_number = np.array([not _NUMBER.fullmatch(text) for text in texts], bool)
            comma = any("," in texts[index] for index in np.flatnonzero(no_number)[:1])
            self._check(no_number, "is no number" + (": write a decimal point, not a comma" if comma else ""))
            found = np.array([float(text) for text in texts], "float64")
        with np.errstate(over="ignore"):
            single = found.astype("float32")
        self._check(~np.isfinite(single), "is not a finite number")
        if len(np.unique(single)) < len(np.unique(found)):
            order = np.argsort(found, kind="stable")
            same = np.flatnonzero((np.diff(found[order]) > 0) & (np.diff(single[order]) == 0))
            if (np.abs(found) > 2**24).any():  # smaller ones differ by less than anyone measures
                one, other = (found[order[same[0] + step]] for step in (0, 1))
                raise ValueError(
                    f"column {self.name!r} has numbers that single precision does not tell apart, such as {one:.17g} "
                    f"and {other:.17g}: subtract what they have in common, such as their mean, before"
                )
        return single

    def texts_or_blanks(self) -> list[str]:
        """The values as `texts`, with empty texts for those that are missing."""
        return ["" if gone else text for gone, text in zip(self.missing, self._texts())]

    def _texts(self) -> list[str]:
        if self.values.dtype.kind == "b":
            return [str(bool(value)) for value in self.values]
        if self.values.dtype.kind in "iu":
            return [str(int(value)) for value in self.values]
        if self.values.dtype.kind == "f":
            return [f"{value:.0f}" if value == np.round(value) else repr(float(value)) for value in self.values]
        return [str(value) for value in self.values]

    def _check(self, bad: np.ndarray, wrong: str) -> None:
        """Raises ValueError, which names the first value of those that are bad, and counts them."""
        found = np.flatnonzero(bad)
        if len(found):
            first = int(found[0])
            value = "" if self.missing[first] else f" {str(self.values[first])[:40]!r}"
            more = f" ({len(found)} such values)" if len(found) > 1 else ""
            raise ValueError(f"{self.place(first)}, column {self.name!r}:{value} {wrong}{more}")


def labels_of(columns: Sequence[Column], task: str, class_names: Sequence[str] = ()) -> np.ndarray:
    """The labels in some columns.

    Args:
        columns: one of classes, one or more of other tasks.
        task: see `Source`.
        class_names: of the classes, in order.

    Returns:
        Of classes int64 `(N,)`, else float32 `(N, T)`.

    Raises:
        ValueError: for a value that is missing or of another kind, with its place.
    """
    if task == CLASSES:
        return columns[0].classes(class_names)
    return np.stack([one.truths() if task == LABELS else one.numbers() for one in columns], axis=1)
