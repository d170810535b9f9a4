"""What a setting can name: one table for each kind of thing, and one way to say which name was meant."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

Entry = TypeVar("Entry")


class Registry(Mapping[str, Entry]):
    """The entries of one kind by their names, in the order in which they were registered.

    Neither TensorFlow nor Keras is needed for it.

    Args:
        kind: what an entry is to a user, such as `"sampler"`.

    Example:

    >>> SAMPLERS = Registry("sampler")
    >>> @SAMPLERS.register("random")
    ... class RandomMasking: ...
    >>> SAMPLERS["rand"]
    Traceback (most recent call last):
    ValueError: no sampler is called 'rand'; did you mean random? There are: random
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, Entry] = {}

    def register(self, name: str) -> Callable[[Entry], Entry]:
        """A decorator that enters a class, or calls for any other object, under `name`; the entry stays as it is.

        Raises:
            ValueError: if another entry has the name.
        """

        def enter(entry: Entry) -> Entry:
            there = self._entries.get(name)
            if there is not None and _place(there) != _place(entry):  # a module that is loaded again may
                raise ValueError(f"a {self.kind} called {name!r} is registered already: {there!r}; choose another name")
            self._entries[name] = entry
            return entry

        return enter

    def name_of(self, entry: Entry) -> str:
        """The name of an entry.

        Raises:
            ValueError: if it is not registered.
        """
        for name, other in self._entries.items():
            if other is entry:
                return name
        raise ValueError(f"this {self.kind} is not registered: {entry!r}; there are: {', '.join(self)}")

    def __getitem__(self, name: str) -> Entry:
        """The entry.

        Raises:
            ValueError: for an unknown name; the near ones are shown.
        """
        if name not in self:
            raise ValueError(f"no {self.kind} is called {name!r}{did_you_mean(name, self)} {', '.join(self)}")
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def near_names(word: object, known: Iterable[str], count: int = 2) -> list[str]:
    """Up to `count` of the names, those that are spelled most like a word."""
    return difflib.get_close_matches(word, list(known), n=count, cutoff=0.4) if isinstance(word, str) else []


def did_you_mean(word: object, known: Iterable[str], count: int = 2) -> str:
    """`; did you mean ...?` with the names that are near, and how the list of all begins."""
    near = near_names(word, known, count)
    return f"; did you mean {' or '.join(near)}? There are:" if near else "; there are:"


def _place(entry: object) -> object:
    return (getattr(entry, "__module__", None), getattr(entry, "__qualname__", id(entry)))
