"""Splits of images whose groups, such as those of a patient, stay together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def assign_groups(groups: np.ndarray, strata: np.ndarray, shares: Sequence[float], rank: np.ndarray) -> np.ndarray:
    """Puts every group, as a whole, into one of several parts of given shares.

    The largest groups come first. Of the parts that have room for it, each goes to the one that then has least of the
    strata of the group's images, as shares of what the part should have of them. So the size of a part is off by at
    most that of the largest group. No part stays empty.

    Args:
        groups: the number of each image's group, int64 `(N,)`.
        strata: the number of each image's stratum, int64 `(N,)`.
        shares: of the parts; they sum to 1.
        rank: a number for each image; it decides between groups of one size.

    Returns:
        The number of each image's part, int64 `(N,)`.

    Raises:
        ValueError: if there are fewer groups than parts.
    """
    _, groups, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(sizes) < len(shares):
        raise ValueError(
            f"the images are of {len(sizes)} {'group' if len(sizes) == 1 else 'groups'}, and groups stay together: "
            f"they make no {len(shares)} parts; name another group_column, or leave it out"
        )
    first = np.full(len(sizes), np.iinfo("uint64").max, "uint64")
    np.minimum.at(first, groups, rank.astype("uint64"))
    totals = np.bincount(strata)
    wanted = np.asarray(shares)[:, None] * totals  # (parts, strata)
    filled, counts, part_of = np.zeros_like(wanted), np.zeros(len(shares)), np.zeros(len(sizes), "int64")
    members = np.split(np.argsort(groups, kind="stable"), np.cumsum(sizes)[:-1])
    for group in np.lexsort((first, -sizes)):
        own, number = np.unique(strata[members[group]], return_counts=True)
        of_strata = ((filled[:, own] + number) / wanted[:, own]) @ (number / sizes[group])
        of_all = (counts + sizes[group]) / (np.asarray(shares) * len(groups))
        room = of_all <= 1 + 1e-9
        part = int(np.argmin(np.where(room, of_strata, np.inf) if room.any() else of_all))
        part_of[group] = part
        filled[part, own] += number
        counts[part] += sizes[group]
    for part in np.flatnonzero(counts == 0).tolist():  # its share is smaller than any group
        fullest = int(np.bincount(part_of, minlength=len(shares)).argmax())
        candidates = np.flatnonzero(part_of == fullest)
        part_of[candidates[np.lexsort((first[candidates], sizes[candidates]))[0]]] = part
    return part_of[groups]
