"""Labels of other images as the classes of a run, by name."""

from __future__ import annotations

from collections.abc import Sequence

from keras_mae.data import Source
from keras_mae.data.source import CLASSES
from keras_mae.registry import listed
from keras_mae.trainers.tasks import Task
from keras_mae.trainers.trained_model import TrainedModel

_NAMED = 5  # classes in a sentence


def classes_of(trained: TrainedModel, num_classes: int) -> list[str]:
    """The names of a classifier's classes in order; a class that the run's data do not name has its number.

    Raises:
        ValueError: if a class has the number of another one as its name.
    """
    named = list(trained.seen.get("class_names") or [])[:num_classes]
    names = [*named, *map(str, range(len(named), num_classes))]
    if len(set(names)) < num_classes:
        raise ValueError(
            f"the data of the run {trained.folder} name {len(named)} classes, the model has {num_classes}, and numbers "
            f"in place of the missing names would be names of other classes: {', '.join(named[:_NAMED])}, ...; rename "
            "the classes of the data"
        )
    return names


class ClassLabels:
    """Translates the labels of some images to the classes of a run: by name, wherever both have names.

    Folders number their classes by name, so the same number may stand for another class.

    Args:
        source: images, with or without labels.
        class_names: of the run, see `classes_of`.
        trained: the run.

    Attributes:
        notes: sentences on labels that were not taken by name, or not at all.
    """

    def __init__(self, source: Source, class_names: Sequence[str], trained: TrainedModel) -> None:
        self._theirs, self._ours = list(source.class_names), list(class_names)
        number = {name: k for k, name in enumerate(class_names)}
        self._table = [number.get(name, -1) for name in self._theirs or self._ours]
        self._labelled, self._task = source.labelled, source.task
        self._unknown: dict[str, int] = {}
        self._named = bool(trained.seen.get("class_names"))
        self._outside = trained.folder is None

    def of(self, label: int) -> int:
        """The run's class of a label; -1 if there is no label, or the run does not know its class."""
        if 0 <= label < len(self._table):
            known = self._table[label]
        else:
            known = -1
        if known < 0 and label >= 0:
            self._unknown[self.shown(label)] = self._unknown.get(self.shown(label), 0) + 1
        return known

    def shown(self, label: int) -> str:
        """The name of a label's class, its number if it has none; empty without a label."""
        if label < 0:
            return ""
        names = self._theirs or self._ours
        return names[label] if label < len(names) else str(label)

    def before(self) -> list[str]:
        """Sentences on how labels are translated."""
        if not self._labelled:
            return []
        if self._task != CLASSES:
            return [f"the labels of these images are {self._task}, and the model tells classes: there is no report"]
        if not self._theirs and self._named:
            return [
                "the labels of these images are numbers without names: they are taken as those of the run's classes, "
                f"{self._shown_numbers()}"
            ]
        if self._theirs and max(self._table) < 0:
            unnamed = "" if self._named else ", which its data do not name: their names are numbers"
            if self._outside:
                unnamed = ": the model lies in no run's folder, so its classes are numbers"
            return [
                f"no class of these images ({listed(self._theirs, _NAMED)}) is one of the run's "
                f"({listed(self._ours, _NAMED)}){unnamed}; there is no report"
            ]
        return []

    def after(self) -> list[str]:
        """Sentences on images whose class the run does not know."""
        if not self._unknown or (self._theirs and max(self._table) < 0):
            return []
        count, classes = sum(self._unknown.values()), len(self._unknown)
        what = "a class" if classes == 1 else f"{classes} classes"
        return [
            f"{count} {'image is' if count == 1 else 'images are'} of {what} that the run does not know "
            f"({listed(map(str, list(self._unknown)), _NAMED)}): predicted, and left out of the report"
        ]

    def _shown_numbers(self) -> str:
        shown = ", ".join(f"{k} is {name}" for k, name in enumerate(self._ours[:2]))
        return f"{shown}, ..." if len(self._ours) > 2 else shown


def known_columns(source: Source, task: Task) -> tuple[list[int], list[int]]:
    """The columns that a run's labels or numbers and those of other images have in common, by name.

    Where either has no names but numbers, and both have equally many, they are taken in order.

    Returns:
        The numbers of these columns among the run's, and among the images'; empty without labels of the run's task.
    """
    theirs = list(source.label_names)
    if not source.labelled or source.task != task.kind:
        return [], []
    numbered = task.names == list(map(str, range(len(theirs))))
    pairs = [
        (k, k if numbered else theirs.index(name)) for k, name in enumerate(task.names) if numbered or name in theirs
    ]
    return [one for one, _ in pairs], [other for _, other in pairs]
