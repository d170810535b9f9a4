"""The account of images that cannot be used: it names and counts them, and stops a run if they are too many."""

from __future__ import annotations

import enum
import logging
import sys

import tensorflow as tf

from keras_mae.data.rare_branch import rarely
from keras_mae.data.source import Source

_log = logging.getLogger("keras_mae")
_TOLERATED = 0.01
_SHOWN = 5


class Fault(enum.IntEnum):
    """What is wrong with an image."""

    UNDECODABLE = 0
    MISSING = 1
    UNREADABLE = 2
    LATE = 3  # it was read, but not at once

    def of(self, count: int) -> str:
        """Returns the verb for the fault of `count` images."""
        return {
            Fault.UNDECODABLE: "cannot be decoded",
            Fault.MISSING: "is missing" if count == 1 else "are missing",
            Fault.UNREADABLE: "cannot be read",
            Fault.LATE: "was read late" if count == 1 else "were read late",
        }[self]


class CorruptImages:
    """The account of the images that could not be used.

    A data set notes them in a table (`note`), which belongs to no data set and needs no Python while one runs. The
    methods and `names` look at the table and log what is new there.

    Args:
        source: the images.
        tolerated: the share of them that `check` lets pass; 1 for all.
    """

    def __init__(self, source: Source, tolerated: float = _TOLERATED) -> None:
        self._source, self._tolerated = source, tolerated
        self._found: dict[int, tuple[Fault, str]] = {}
        self._seen: set[int] = set()
        with tf.init_scope(), tf.device("CPU"):
            self._table = tf.lookup.experimental.MutableHashTable(tf.int64, tf.int64, default_value=0)

    @staticmethod
    def code(index, fault) -> tf.Tensor:
        """Returns an image and its fault as one number, int64, for `note`; images without a fault have -1."""
        return tf.cast(index, tf.int64) * len(Fault) + tf.cast(fault, tf.int64)

    @staticmethod
    def faults_in(codes) -> list[tuple[int, Fault]]:
        """Returns the images and faults of codes, without those of no fault."""
        return [(int(code) // len(Fault), Fault(int(code) % len(Fault))) for code in codes if code >= 0]

    def note(self, codes) -> tf.Tensor:
        """Notes codes, int64 `(n,)`, in a data set's function; returns an int32 scalar to depend on."""
        codes = tf.boolean_mask(codes, codes >= 0)
        with tf.control_dependencies([self._table.insert(codes, codes)]):
            return tf.constant(0)

    def report(self, index: int, fault: Fault = Fault.UNDECODABLE) -> None:
        """Notes the fault of the image `index`, and logs it once."""
        if fault is not Fault.LATE and index not in self._found:
            self._found[index] = fault, self._source.name_of(index)
            remedy = self._source.remedy(index) if fault is Fault.UNDECODABLE else ""
            _log.warning("skipped, %s: %s%s", fault.of(1), self._found[index][1], remedy and f" ({remedy})")

    @property
    def names(self) -> dict[int, str]:
        """The names of the skipped images, by index."""
        self._look()
        return {index: name for index, (_, name) in self._found.items()}

    def check(self) -> None:
        """Raises ValueError if more images were skipped than are tolerated, by default 1 % of all."""
        if len(self.names) > self._tolerated * self._source.num_images:
            beginning = f"{len(self._found)} of {self._source.num_images} images"
            faults = self._by_fault()
            if len(faults) == 1:
                ((fault, names),) = faults.items()
                what, shown = fault.of(len(names)), _some(names)
            else:
                what = "cannot be used"
                shown = "; ".join(
                    f"{len(names)} {fault.of(len(names))}: {_some(names)}" for fault, names in faults.items()
                )
            limit = f"the tolerated {100 * self._tolerated:g} %"
            raise ValueError(f"{beginning} {what}, more than {limit}: {shown}; remove or repair them")

    def summary(self) -> str:
        """Returns one line with the count."""
        beginning = f"{len(self.names)} of {self._source.num_images} images were skipped"
        faults = self._by_fault()
        if set(faults) <= {Fault.UNDECODABLE}:
            return f"{beginning} because they cannot be decoded"
        return f"{beginning}: {', '.join(f'{len(names)} {fault.of(len(names))}' for fault, names in faults.items())}"

    def _by_fault(self) -> dict[Fault, list[str]]:
        found = self._found.values()
        return {fault: [name for one, name in found if one is fault] for fault in Fault if fault in dict(found)}

    def _look(self) -> None:
        """Reports what data sets have noted."""
        if int(self._table.size()) == len(self._seen):
            return
        codes = set(self._table.export()[0].numpy().tolist())
        found = self.faults_in(sorted(codes - self._seen))
        late = [index for index, fault in found if fault is Fault.LATE]
        if late:
            name = self._source.name_of(late[0])
            _log.warning("the storage failed for a while: %d images were read late, such as %s", len(late), name)
        for index, fault in found:
            self.report(index, fault)
        self._seen = codes


def usable(codes):
    """Returns which codes, see `CorruptImages.code`, stand for images that can be used: bool, of the codes' shape."""
    return (codes < 0) | (codes % len(Fault) == Fault.LATE)


def without_faults(batch: dict, corrupt: CorruptImages | None, drop: bool = False) -> dict:
    """Notes the field `fault` of a batch and returns the batch without it; for a data set's `map`.

    Args:
        batch: fields of n rows. `fault` has int64 codes `(n,)`, see `CorruptImages.code`; images in memory have none.
        corrupt: the account; without one, the numbers of these images go to stderr.
        drop: whether the rows of images that cannot be used are left out.
    """
    rows = {name: values for name, values in batch.items() if name != "fault"}
    if "fault" not in batch:
        return rows
    codes = batch["fault"]

    def faulty():
        good = usable(codes)
        if corrupt is not None:
            noted = corrupt.note(codes)
        else:
            numbers = tf.boolean_mask(codes, ~good) // len(Fault)
            noted = tf.print("\nkeras-mae: images were skipped, by number:", numbers, output_stream=sys.stderr)
        with tf.control_dependencies([noted]):
            return tf.nest.map_structure(lambda x: tf.boolean_mask(x, good) if drop else tf.identity(x), rows)

    return tf.cond(tf.reduce_any(codes >= 0), rarely(faulty), lambda: rows)


def _some(names: list[str]) -> str:
    return f"{', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''}"
