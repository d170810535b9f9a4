"""The settings of measuring features while pretraining."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal

from keras_mae.trainers.knn_config import KnnConfig, KnnData
from keras_mae.trainers.label_checks import check_labels
from keras_mae.trainers.ranges import Count, Range, Task
from keras_mae.trainers.settings import values_of

OF_LABELS = ("labelled_data", "labels", "image_column", "label_columns")  # settings that ask for labels


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Measures of the features while training: they do not change the weights.

    Attributes:
        evaluate_every: epochs between evaluations, and after the last epoch; 0 for none; None for as many as cost at
            most some 3 % of the time, by a count of multiplications, and none if not even one costs so little.
        evaluation_images: number of images that are encoded each time; None for 2,000 with labels, of which a quarter
            is tested on, and for 1,000 without, of which two crops are encoded, too.
        labelled_data: data specification of images with labels; None for the labels that the data have, if any.
        labels: table of labels, a CSV or Parquet file with a row for each image; None for those that the data have.
        image_column: the table's column with the images' names; None for the one called image, file, path or the like.
        label_columns: columns of the labels, such as `age` or `age,weight`; None for the only one, or all.
        task: what the labels are: `classes`, of which an image has one, `labels`, of which it may have several, each 0
            or 1, or `numbers`.
        monitor: measure that `best.keras` has the best of: `knn` (nearest neighbours) or `ridge` (a linear probe) with
            labels, `rankme` (the effective rank) or `consistency` (two crops of an image are nearest neighbours)
            without; None for `knn` with labels, and for `rankme` without.
        stop_after: evaluations without a better one after which the run ends; None for a run of all epochs.
    """

    evaluate_every: Annotated[int, Range(0, 1_000_000)] | None = None
    evaluation_images: Annotated[int, Range(8, 1_000_000_000)] | None = None
    labelled_data: str | None = None
    labels: str | None = None
    image_column: str | None = None
    label_columns: str | None = None
    task: Task = "classes"
    monitor: Literal["knn", "ridge", "rankme", "consistency"] | None = None
    stop_after: Count | None = None

    @property
    def asks_for_labels(self) -> bool:
        """Whether a setting names labels, so that their absence is an error."""
        return any(getattr(self, name) is not None for name in OF_LABELS) or self.task != "classes"

    @property
    def is_asked_for(self) -> bool:
        """Whether a setting asks for evaluations, so that their absence is worth a line."""
        return self.asks_for_labels or self.monitor is not None or self.stop_after is not None

    def of_labels(self, data: Any, validation_share: float | None = None) -> KnnConfig:
        """The settings of labelled images, as kNN has them.

        Args:
            data: the part `data` of the run.
            validation_share: of the images to test on.
        """
        names = ("labels", "image_column", "label_columns", "task")
        decoded = {name: getattr(data, name) for name in ("background", "max_megapixels")}
        own = {name: getattr(self, name) for name in names}
        return KnnConfig(data=KnnData(validation_share=validation_share, **own, **decoded))

    def check(self, data: Any) -> None:
        """Refuses settings that exclude each other; `data` as for `of_labels`."""
        check_labels(values_of(self.of_labels(data)))
        if self.evaluate_every == 0:
            given = [name for name in ("labelled_data", "labels", "monitor", "stop_after") if getattr(self, name)]
            if given:
                raise ValueError(
                    f"{given[0]} is for evaluations, and evaluate_every=0 makes none: leave one of them out"
                )
