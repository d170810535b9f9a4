"""How many images are done: a bar on a terminal, plain lines in a file or a pipe."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from tqdm.auto import tqdm

_SECONDS = 30.0  # between two plain lines


def draws_bars() -> bool:
    """Whether bars can be drawn: on a terminal with a cursor and a known size, or in a notebook."""
    if any(kind.__name__ == "tqdm_notebook" for kind in tqdm.__mro__):
        return True
    if sys.stderr is None or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        return False
    try:
        return all(os.get_terminal_size(sys.stderr.fileno()))
    except (OSError, ValueError):  # no descriptor
        return True


def images_bar(total: int, done: int, description: str = "") -> tqdm | PlainLines:
    """A bar with images/s and the time that is left; plain lines where no bar can be drawn.

    Make it after the first batch, which is compiled: it would distort the rate.

    Args:
        total: the number of images.
        done: how many of them are done.
        description: stands before the bar.
    """
    if not draws_bars():
        return PlainLines(total, done, description)
    return tqdm(
        total=total,
        initial=done,
        desc=description,
        unit=" images",
        unit_scale=True,
        bar_format="{desc} |{bar:20}| {percentage:3.0f}%  {rate_fmt}, {remaining} left{postfix}",
        smoothing=0.05,
        mininterval=1.0,
        dynamic_ncols=True,
    )


class PlainLines:
    """The part of `tqdm` that is used here, as lines on stderr: one in 30 seconds, and one at the end.

    Lines have no carriage returns, no cursor codes and no colours.

    Args:
        total, done, description: see `images_bar`.
        unit: what is counted.
        leave: whether there is a line at the end.
    """

    def __init__(
        self,
        total: int,
        done: int = 0,
        description: str = "",
        unit: str = "images",
        leave: bool = True,
    ) -> None:
        self.total, self.n, self.unit = total, done, unit
        self._first, self._leave = done, leave
        self._text, self._after = description, ""
        self._start = time.monotonic()
        self._shown: tuple[int, str] | None = None
        self._due = self._start + _SECONDS

    def set_description_str(self, desc: str, refresh: bool = True) -> None:
        """The beginning of the next line."""
        self._text = desc
        if refresh:
            self.refresh()

    def set_postfix_str(self, s: str = "", refresh: bool = True) -> None:
        """The end of the next line."""
        self._after = s and f", {s}"
        if refresh:
            self.refresh()

    def update(self, n: int = 1) -> None:
        """Counts `n` more; writes a line if one is due."""
        self.n += n
        if time.monotonic() >= self._due:
            self.refresh()

    def refresh(self) -> None:
        """Writes a line."""
        now = time.monotonic()
        rate = (self.n - self._first) / max(now - self._start, 1e-9)
        speed = f", {_scaled(rate)} {self.unit}/s" if rate else ""
        left = f", {tqdm.format_interval((self.total - self.n) / rate)} left" if rate and self.n < self.total else ""
        share = 100 * self.n / self.total if self.total else 100
        if self._shown != (self.n, self._text):
            print(f"{self._text}: {share:.0f}%{speed}{left}{self._after}".lstrip(": "), file=sys.stderr, flush=True)
        self._shown, self._due = (self.n, self._text), now + _SECONDS

    def close(self) -> None:
        """Writes the last line, if it was not written."""
        if self._leave:
            self.refresh()

    def __enter__(self) -> PlainLines:
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()


def _scaled(number: float) -> str:
    return tqdm.format_sizeof(number) if number >= 1000 else f"{number:.1f}"
