"""The rows of predictions: what a head answers to each image beside the truth, and the report that grows with them."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from keras_mae.data import Source
from keras_mae.models import ImageClassifier, ImageHead, ImageRegressor
from keras_mae.trainers.class_labels import ClassLabels, classes_of, known_columns
from keras_mae.trainers.label_report import THRESHOLD
from keras_mae.trainers.tasks import AnyReport, Classes, Numbers, SeveralLabels, Task
from keras_mae.trainers.trained_model import TrainedModel


class PredictionRows(abc.ABC):
    """Makes rows for a CSV file, and adds images whose truth is known to a report.

    Attributes:
        task: of the head.
        heads: of the columns.
        report: None if the images have no labels that the head knows.
    """

    task: Task
    heads: list[str]
    report: AnyReport | None

    @abc.abstractmethod
    def rows(self, labels: np.ndarray, answers: Sequence[np.ndarray]) -> Iterator[list[str]]:
        """The rows of a batch: labels as the source has them, and answers, see `Task.answers`."""

    @abc.abstractmethod
    def before(self) -> list[str]:
        """Sentences on how labels are taken."""

    def after(self) -> list[str]:
        """Sentences on images whose labels were not taken."""
        return []


def task_of_head(model: ImageHead, trained: TrainedModel) -> Task:
    """The task of a trained head, with the run's names of its outputs; a ValueError refuses other models."""
    if isinstance(model, ImageRegressor):
        return Numbers(_label_names(trained, model.num_outputs), model.mean, model.std)
    if not isinstance(model, ImageClassifier):
        raise ValueError(
            f"{trained.path} holds {type(model).__name__}, and predictions need an ImageClassifier or an "
            "ImageRegressor, which keras-mae finetune and linear-probe train"
        )
    if model.multi_label:
        return SeveralLabels(_label_names(trained, model.num_classes))
    return Classes(classes_of(trained, model.num_classes))


def rows_for(task: Task, trained: TrainedModel, source: Source, k: int) -> PredictionRows:
    """The rows of a task; `k` is the number of classes to write."""
    if isinstance(task, Classes):
        return _ClassRows(task, source, trained, k)
    return (_LabelRows if isinstance(task, SeveralLabels) else _NumberRows)(task, source)


def _label_names(trained: TrainedModel, count: int) -> list[str]:
    """The names of the run's labels or numbers; a head in no run's folder has numbers."""
    names = list(trained.seen.get("label_names") or [])
    return names if len(names) == count else list(map(str, range(count)))


class _ClassRows(PredictionRows):
    """The most likely classes and their probabilities, and the label's class."""

    def __init__(self, task: Classes, source: Source, trained: TrainedModel, k: int) -> None:
        self.task, self._k = task, min(k, len(task.names))
        self._labels = ClassLabels(source, task.names, trained)
        self._labelled = source.labelled
        more = (f"{what}_{n}" for n in range(2, self._k + 1) for what in ("predicted", "probability"))
        self.heads = [*(["label"] if source.labelled else []), "predicted", "probability", *more]
        self.report: Any = task.report(source.num_images) if source.labelled and source.task == task.kind else None

    def rows(self, labels, answers):
        probabilities, ranked = answers
        if self.report is not None:
            known = np.array([self._labels.of(number) for number in labels.tolist()], "int64")
            self.report.add(*(values[known >= 0] for values in (known, probabilities, ranked)))
        for number, shares, order in zip(labels, probabilities, ranked, strict=True):
            best = [(self.task.names[c], f"{shares[c]:.6g}") for c in order[: self._k].tolist()]
            label = [self._labels.shown(number)] if self._labelled else []
            yield [*label, *(value for pair in best for value in pair)]

    def before(self):
        return self._labels.before()

    def after(self):
        return self._labels.after()


class _ColumnRows(PredictionRows):
    """The rows of heads with a column for each output."""

    def __init__(self, task: Task, source: Source) -> None:
        self.task, self._source = task, source
        self._ours, self._theirs = known_columns(source, task)
        self.report: Any = None
        if self._ours:
            whole = len(self._ours) == len(task.names)
            self.report = (task if whole else task.part(self._ours)).report(source.num_images)

    def _known(self, labels: np.ndarray, answers: np.ndarray) -> np.ndarray:
        """Adds to the report the images that have all labels that the head knows; returns these, NaN for none."""
        if not self._ours:
            return np.zeros((len(answers), 0))
        found = labels[:, self._theirs]
        fine = np.isfinite(found).all(axis=1)  # an image without a row in a table has none
        self.report.add(found[fine], answers[fine][:, self._ours])
        return found

    def before(self):
        if not self._source.labelled:
            return []
        if self._source.task != self.task.kind:
            return [
                f"the labels of these images are {self._source.task}, and the model tells {self.task.unit}: there is "
                "no report"
            ]
        lacking = [name for number, name in enumerate(self.task.names) if number not in self._ours]
        if not lacking:
            return []
        rest = "the report is of the others" if self._ours else "there is no report"
        return [f"these images have no labels called {', '.join(lacking)}: {rest}"]


class _LabelRows(_ColumnRows):
    """The names of the labels above one half, and a column of probabilities for each."""

    def __init__(self, task: Task, source: Source) -> None:
        super().__init__(task, source)
        self.heads = [*(["label"] if self._ours else []), "predicted", *(f"probability_{name}" for name in task.names)]

    def rows(self, labels, answers):
        (probabilities,) = answers
        known = self._known(labels, probabilities)
        for truth, shares in zip(known, probabilities, strict=True):
            label = [self._joined(self._ours, truth)] if self._ours else []
            yield [*label, self._joined(range(len(shares)), shares), *(f"{share:.6g}" for share in shares)]

    def _joined(self, numbers: Sequence[int], shares: np.ndarray) -> str:
        """The names of the labels that an image has."""
        return "; ".join(self.task.names[k] for k, share in zip(numbers, shares, strict=True) if share > THRESHOLD)


class _NumberRows(_ColumnRows):
    """A column for each number, and one for each label that is known."""

    def __init__(self, task: Task, source: Source) -> None:
        super().__init__(task, source)
        known = [task.names[number] for number in self._ours]
        self.heads = [*(f"label_{name}" for name in known), *(f"predicted_{name}" for name in task.names)]

    def rows(self, labels, answers):
        (numbers,) = answers
        known = self._known(labels, numbers)
        for truth, found in zip(known, numbers, strict=True):
            yield [*("" if np.isnan(one) else f"{one:.7g}" for one in truth), *(f"{one:.7g}" for one in found)]
