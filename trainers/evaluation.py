"""Accuracies of features: linear probe, k nearest neighbours, and a classifier on few labels."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from keras_mae.encoders import Encoder
from keras_mae.models import ImageClassifier
from keras_mae.optimizers import WarmupCosine, adamw
from keras_mae.trainers.nearest import nearest


def standardized(train_x: np.ndarray, test_x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both sets, standardised by the training set's mean and standard deviation."""
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(train_x)
    return scaler.transform(train_x), scaler.transform(test_x)


def linear_accuracy(train_x, train_y, test_x, test_y) -> float:
    """Test accuracy of multinomial logistic regression."""
    from sklearn.linear_model import LogisticRegression

    return float(LogisticRegression(C=0.3, max_iter=2000).fit(train_x, train_y).score(test_x, test_y))


def knn_scores(
    train_x: np.ndarray,
    train_y: np.ndarray,
    test_x: np.ndarray,
    ks: Sequence[int],
    num_classes: int,
    temperature: float = 0.07,
) -> dict[int, np.ndarray]:
    """The votes of each query's nearest neighbours by cosine, each with the weight `exp(cosine / temperature)`.

    Args:
        train_x, train_y: features `(N, D)` and labels `(N,)` of the neighbours.
        test_x: features `(M, D)` of the queries.
        ks: numbers of neighbours.
        num_classes: number of classes `K`.
        temperature: the smaller it is, the more the nearest ones count.

    Returns:
        For each k, the votes `(M, K)`, float32, up to a factor for each query.

    Raises:
        ValueError: for a k that is not between 1 and N, or a temperature that is not positive.

    Reference: arXiv 1805.01978, section 3.4 (temperature 0.07).
    """
    classes = tf.constant(train_y)
    parts: dict[int, list[np.ndarray]] = {k: [] for k in ks}
    for indices, weights in nearest(train_x, test_x, ks, temperature):
        votes = weights[..., None] * tf.one_hot(tf.gather(classes, indices), num_classes)  # (100, k, K)
        for k in ks:
            parts[k].append(tf.reduce_sum(votes[:, :k], axis=1).numpy())
    return {k: np.concatenate(part) for k, part in parts.items()}


def knn_accuracy(train_x, train_y, test_x, test_y, k: int = 20) -> float:
    """Test accuracy of `k` nearest neighbours by cosine, each voting with the weight `exp(cosine / 0.07)`."""
    votes = knn_scores(train_x, train_y, test_x, [k], int(train_y.max()) + 1)[k]
    return float(np.mean(votes.argmax(axis=1) == test_y))


def majority_share(labels: np.ndarray, top: int = 1) -> float:
    """The share of the `top` largest classes, with six decimals: the accuracy of always answering with these."""
    return round(float(np.sort(np.bincount(labels))[-top:].sum() / len(labels)), 6)


def majority_shares(labels: np.ndarray, num_classes: int) -> dict[str, float]:
    """`majority_share` for `results.json`, and `majority_share_top5` if there are more than five classes."""
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

    A batch has all images if they are fewer than `batch_size`.
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
