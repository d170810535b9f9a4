"""The attentive pooling of a trained probe or fine-tuned model, which makes the embeddings of its run."""

from __future__ import annotations

import os

from keras_mae.encoders.pooling import ATTENTIVE
from keras_mae.models.pooled_head import PooledHead
from keras_mae.models.saved_files import load_model_file, read_parts
from keras_mae.trainers import run
from keras_mae.trainers.checks import UNTRAINED
from keras_mae.trainers.trained_model import TrainedModel


def attentive_classifier(trained: TrainedModel, asked: str | None = None) -> PooledHead | None:
    """The head whose encoder, layer and attentive pooling make the embeddings of a trained model.

    Its vectors are `encoder.features(images, classifier.attentive, classifier.layer)`.

    Args:
        trained, asked: see `attentive_file`.

    Returns:
        The head; None where `attentive_file` finds none.

    Raises:
        ValueError: as `attentive_file`.
    """
    path = attentive_file(trained, asked)
    return None if path is None else load_model_file(path)


def attentive_file(trained: TrainedModel, asked: str | None = None) -> str | None:
    """The file of the head whose attentive pooling makes the embeddings of a trained model.

    A run's `encoder.keras` holds no pooling: the model beside it, which was saved with it, is taken.

    Args:
        trained: the run, or the file.
        asked: the pooling that is asked for; None for that which the model was trained with.

    Returns:
        Its path; None if another pooling is asked for, or the model has none of its own.

    Raises:
        ValueError: if attentive pooling is asked for, or is the run's, and there is none.
    """
    if asked not in (None, ATTENTIVE):
        return None
    folder, name = os.path.split(trained.path)
    of_run = getattr(getattr(trained.config, "head", None), "pooling", None) == ATTENTIVE
    beside = [os.path.join(folder, run.MODEL)] if of_run and name == run.ENCODER else []
    for path in (trained.path, *beside):
        if _is_attentive(path):
            return path
        if getattr(getattr(trained.config, "head", None), "pooling", None) != ATTENTIVE:
            break  # the file beside is of another model
    else:
        raise ValueError(
            f"{trained.path} lies in a run with attentive pooling, and has none: name the folder of the run, with its "
            f"{run.MODEL}, or give --pooling=mean"
        )
    if asked == ATTENTIVE:
        raise ValueError(f"{trained.path} has no attentive pooling: {UNTRAINED}")
    return None


def _is_attentive(path: str) -> bool:
    if not os.path.isfile(path):
        return False
    name, arguments = read_parts(path)[0]
    return name.endswith(("ImageClassifier", "ImageRegressor")) and arguments.get("pooling") == ATTENTIVE
