"""The logs of a run: a line an epoch, and a line a step."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

BINS = 500  # of the steps of a run
_LISTED = 20  # steps in a table
_TINY = 1e-200


@dataclasses.dataclass(frozen=True)
class Bins:
    """A number of each step, thinned out: what lies between smallest and largest is left out, and no extreme.

    Attributes:
        first, last: the steps of each bin, from 1.
        low, high: the smallest and the largest finite number of each bin; NaN where there is none.
    """

    first: np.ndarray
    last: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclasses.dataclass(frozen=True)
class Event:
    """A step that was not taken as it was computed.

    Attributes:
        step: from 1.
        kind: `skipped` or `clipped`.
        reason: in a word or two, such as `not finite` or `spike`.
        gradient_norm: NaN if it is not known.
    """

    step: int
    kind: str
    reason: str
    gradient_norm: float


@dataclasses.dataclass(frozen=True)
class Steps:
    """What is in `steps.jsonl`.

    Attributes:
        count: steps with a line.
        last: number of the last one.
        values: `loss` and `gradient_norm`, where they are logged.
        events: the first ones.
        event_counts: all of them, by kind and reason.
        event_steps: the number of each step with an event.
    """

    count: int
    last: int
    values: dict[str, Bins]
    events: list[Event]
    event_counts: dict[tuple[str, str], int]
    event_steps: np.ndarray


def lines_of(path: str) -> Iterator[dict[str, Any]]:
    """The objects in a file of JSON lines; a torn line, of a process that was killed or is writing, is left out."""
    if not os.path.isfile(path):
        return
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(record, dict):
                yield record


def epochs_of(path: str) -> list[dict[str, float]]:
    """The numbers of each epoch, in order; NaN for those that are not finite or null.

    An epoch that was trained again has its last line.
    """
    found: dict[int, dict[str, float]] = {}
    for record in lines_of(path):
        epoch = record.get("epoch")
        if isinstance(epoch, int) and not isinstance(epoch, bool) and epoch > 0:
            found[epoch] = {key: number(value) for key, value in record.items() if _is_number(value)}
    return [found[epoch] for epoch in sorted(found)]


def steps_of(path: str) -> Steps | None:
    """The steps of a run, thinned out; None if there are none."""
    numbers: list[int] = []
    values: dict[str, list[float]] = {"loss": [], "gradient_norm": []}
    events: dict[int, Event] = {}
    for record in lines_of(path):
        step = record.get("step")
        if not isinstance(step, int) or step < 1:
            continue
        numbers.append(step)
        for key, column in values.items():
            column.append(number(record.get(key)))
        events.pop(step, None)  # of a step that is taken again after a resume
        for kind in ("skipped", "clipped"):
            if record.get(kind):
                reason = record[kind] if isinstance(record[kind], str) else ""
                events[step] = Event(step, kind, reason, number(record.get("gradient_norm")))
    if not numbers:
        return None
    # in order, the last line of a step
    steps, places = np.unique(np.array(numbers[::-1]), return_index=True)
    places = len(numbers) - 1 - places
    binned = {key: _binned(steps, np.array(column)[places]) for key, column in values.items()}
    inside = [events[step] for step in sorted(events)]
    counts: dict[tuple[str, str], int] = {}
    for event in inside:
        counts[event.kind, event.reason] = counts.get((event.kind, event.reason), 0) + 1
    return Steps(
        len(steps), int(steps[-1]), {key: one for key, one in binned.items() if np.isfinite(one.high).any()},
        inside[:_LISTED], counts, np.array([event.step for event in inside], dtype="int64"),
    )  # fmt: skip


def _binned(steps: np.ndarray, values: np.ndarray) -> Bins:
    starts = np.unique(np.linspace(0, len(steps), min(BINS, len(steps)), endpoint=False).astype("int64"))
    finite = np.isfinite(values)
    low = np.minimum.reduceat(np.where(finite, values, np.inf), starts)
    high = np.maximum.reduceat(np.where(finite, values, -np.inf), starts)
    none = ~np.isfinite(high)
    ends = np.append(starts[1:], len(steps)) - 1
    return Bins(steps[starts], steps[ends], np.where(none, np.nan, low), np.where(none, np.nan, high))


def number(value: Any) -> float:
    """A number of a log; NaN for null, and for what is none, not finite, or larger than a chart has room for."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    return float(value) if value == 0 or _TINY < abs(value) < 1 / _TINY else math.nan


def _is_number(value: Any) -> bool:
    return value is None or isinstance(value, int | float) and not isinstance(value, bool)
