"""Numbers in words, and the ticks of an axis."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

SHARE, BYTES, COUNT, PLAIN = "share", "bytes", "count", "plain"  # what a number is


def shown(value: float | None, kind: str = PLAIN) -> str:
    """A number as people read it; a dash for none."""
    if value is None or not math.isfinite(value):
        return "–"
    return _WRITTEN[kind](value)


def duration(seconds: float) -> str:
    """Seconds as hours and minutes."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def _plain(value: float) -> str:
    size = abs(value)
    if value and (size < 1e-3 or size >= 1e6):
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    if size >= 1000 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.4g}"


def _bytes(value: float) -> str:
    for size, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if abs(value) >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f} bytes"


def _share(value: float) -> str:
    return f"{100 * value:.1f} %"


_WRITTEN: dict[str, Callable[[float], str]] = {
    SHARE: _share,
    BYTES: _bytes,
    COUNT: lambda value: f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.1f}",
    PLAIN: _plain,
}


def tick_texts(values: Sequence[float], kind: str) -> list[str]:
    """The texts of ticks, of shares and of numbers of a middling size with as many decimals as tell them apart."""
    largest = max(map(abs, values), default=0.0)
    if kind == SHARE:
        return [f"{text} %" for text in _decimals([100 * value for value in values])]
    if kind == PLAIN and 1e-3 <= largest < 1e6 and all(value == 0 or abs(value) >= 1e-4 for value in values):
        return _decimals(values)
    return [shown(value, kind) for value in values]


def _decimals(values: Sequence[float]) -> list[str]:
    largest = max(map(abs, values), default=0.0)
    for places in range(7):
        if all(abs(round(value, places) - value) <= 1e-6 * largest for value in values):
            break
    return [f"{value:,.{places}f}" for value in values]


def ticks(low: float, high: float, most: int, whole: bool = False) -> list[float]:
    """Round numbers between two, evenly spaced, at most so many."""
    if not high > low:
        return [low]
    least = (high - low) / most
    scale = 10.0 ** math.floor(math.log10(least))
    step = next(factor * scale for factor in (1, 2, 2.5, 5, 10, 20) if factor * scale >= least * (1 - 1e-9))
    if whole:
        step = max(1.0, float(math.ceil(step - 1e-9)))
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]


def log_ticks(low: float, high: float, most: int) -> list[float]:
    """Powers of ten between two positive numbers, and 2 and 5 times these if there is room."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        found = [f * 10.0**e for e in exponents for f in factors if low * 0.999 <= f * 10.0**e <= high * 1.001]
        if len(found) <= most:
            break
    if len(found) > most:
        found = found[:: math.ceil(len(found) / most)]
    return found if len(found) > 1 else ticks(low, high, 4)
