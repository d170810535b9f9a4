"""How good are features? Linear probe, k nearest neighbours, and a classifier on few labels."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from keras_mae.encoders import Encoder
from keras_mae.models import ImageClassifier
from keras_mae.optimizers import WarmupCosine, adamw
from keras_mae.trainers.nearest_neighbours import knn_scores


def standardized(train_x: np.ndarray, test_x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both sets with the training set's mean taken off and divided by its standard deviation; no labels are needed."""
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(train_x)
    return scaler.transform(train_x), scaler.transform(test_x)


def linear_accuracy(train_x, train_y, test_x, test_y) -> float:
    """Test accuracy of multinomial logistic regression."""
    from sklearn.linear_model import LogisticRegression

    return float(LogisticRegression(C=0.3, max_iter=2000).fit(train_x, train_y).score(test_x, test_y))


def knn_accuracy(train_x, train_y, test_x, test_y, k: int = 20) -> float:
    """Test accuracy of `k` nearest neighbours by cosine, each voting with the weight `exp(cosine / 0.07)`."""
    votes = knn_scores(train_x, train_y, test_x, [k], int(train_y.max()) + 1)[k]
    return float(np.mean(votes.argmax(axis=1) == test_y))


def majority_share(labels: np.ndarray, top: int = 1) -> float:
    """The share of the largest class, or of the largest few: the accuracy of always answering with these.

    Args:
        labels: of the images that are tested, non-negative integers `(N,)`, `N > 0`.
        top: how many classes an answer has.

    Returns:
        A number in (0, 1], with six decimals.
    """
    return round(float(np.sort(np.bincount(labels))[-top:].sum() / len(labels)), 6)


def majority_shares(labels: np.ndarray, num_classes: int) -> dict[str, float]:
    """What `results.json` holds to compare its accuracies with: `majority_share`, and with `top5` also that of five."""
    of_five = {"majority_share_top5": majority_share(labels, 5)} if num_classes > 5 else {}
    return {"majority_share": majority_share(labels), **of_five}


def few_labels(labels: np.ndarray, per_class: int, seed: int) -> np.ndarray:
    """The indices of `per_class` random examples of every class.

    Raises:
        ValueError: if a class has fewer.
    """
    numbers = np.bincount(labels)
    scarce = [f"{k} ({numbers[k]})" for k in np.unique(labels) if numbers[k] < per_class]
    if per_class < 1 or scarce:
        raise ValueError(
            f"{per_class} labels a class cannot be chosen: classes with fewer are {', '.join(scarce) or 'none'}"
        )
    draw = np.random.RandomState(seed)
    return np.concatenate(
        [draw.choice(np.flatnonzero(labels == k), per_class, replace=False) for k in np.unique(labels)]
    )


def fine_tuned_accuracy(
    encoder: Encoder,
    images: np.ndarray,
    labels: np.ndarray,
    test_images: np.ndarray,
    test_labels: np.ndarray,
    epochs: int = 20,
    batch_size: int = 50,
    learning_rate: float = 1e-3,
    seed: int = 0,
) -> float:
    """Test accuracy after training a copy of the whole encoder, with a linear head, on a few images.

    A batch is all of them if they are fewer than `batch_size`.
    """
    keras.utils.set_random_seed(seed)
    copy = type(encoder).from_config(encoder.get_config())
    copy.set_weights(encoder.get_weights())
    classifier = ImageClassifier(copy, num_classes=int(max(labels.max(), test_labels.max())) + 1, seed=seed)
    batch_size = min(batch_size, len(images))
    steps = epochs * (len(images) // batch_size)
    schedule = WarmupCosine(learning_rate, steps // 10, steps)
    classifier.compile(optimizer=adamw(classifier, schedule, beta_2=0.999), jit_compile=False)
    dataset = tf.data.Dataset.from_tensor_slices((images, labels)).shuffle(len(images), seed=seed)
    classifier.fit(dataset.batch(batch_size, drop_remainder=True), epochs=epochs, shuffle=False, verbose=0)
    return float(classifier.evaluate(test_images, test_labels, batch_size=250, verbose=0, return_dict=True)["accuracy"])
