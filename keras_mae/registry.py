"""A table of names for each kind of thing that a setting can name, and suggestions for names that are unknown."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import TypeVar

Entry = TypeVar("Entry")


class Registry(Mapping[str, Entry]):
    """The entries of one kind by their names, in the order of registration. It needs neither TensorFlow nor Keras.

    Args:
        kind: the user's word for an entry, such as `"sampler"`.

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
        """A decorator that registers a class, or any other object, under `name` and returns it.

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
        try:
            return self._entries[name]
        except (KeyError, TypeError):
            check_name(self.kind, name, self)
            raise

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def check_name(kind: str, name: str, known: Collection[str]) -> None:
    """Raises a ValueError, which shows the near names and all names, if a name is not known."""
    if name not in known:
        raise ValueError(f"no {kind} is called {name!r}{did_you_mean(name, known)} {', '.join(known)}")


def near_names(word: object, known: Iterable[str], count: int = 2) -> list[str]:
    """Up to `count` of the names, those that are spelled most like a word."""
    return difflib.get_close_matches(word, list(known), n=count, cutoff=0.4) if isinstance(word, str) else []


def did_you_mean(word: object, known: Iterable[str], count: int = 2) -> str:
    """The text `; did you mean ...? There are:` with the near names; a list of all names follows it."""
    near = near_names(word, known, count)
    return f"; did you mean {' or '.join(near)}? There are:" if near else "; there are:"


def listed(names: Iterable[str], limit: int = 8) -> str:
    """The first `limit` names in one line, and the number of the others."""
    names = list(names)
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def with_article(name: str) -> str:
    """A name after `a` or `an`."""
    return f"{'an' if name[:1] in 'AEIOUaeiou' else 'a'} {name}"


def _place(entry: object) -> object:
    return (getattr(entry, "__module__", None), getattr(entry, "__qualname__", id(entry)))
