"""How good are features? Linear probe, k nearest neighbours, and a classifier on few labels."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from keras_mae.models import ImageClassifier, ViTEncoder
from keras_mae.optimizers import WarmupCosine, adamw

_KNN_TEMPERATURE = 0.07  # arXiv 1805.01978, section 3.4


def pooled_features(encoder: ViTEncoder, images: np.ndarray, batch_size: int = 250) -> np.ndarray:
    """Mean, standard deviation and maximum of each image's patch tokens, float32 `(N, 3 D)`."""

    @tf.function(reduce_retracing=True)
    def embed(batch):
        tokens = tf.cast(encoder(batch)["patch_tokens"], tf.float32)  # (B, L, D)
        pooled = [reduce(tokens, axis=1) for reduce in (tf.reduce_mean, tf.math.reduce_std, tf.reduce_max)]
        return tf.concat(pooled, axis=1)

    return np.concatenate([embed(images[i : i + batch_size]) for i in range(0, len(images), batch_size)])


def linear_accuracy(train_x, train_y, test_x, test_y) -> float:
    """Test accuracy of multinomial logistic regression on standardised features."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
    return float(classifier.fit(train_x, train_y).score(test_x, test_y))


def knn_accuracy(train_x, train_y, test_x, test_y, k: int = 20) -> float:
    """Test accuracy of `k` nearest neighbours by cosine, each voting with the weight `exp(cosine / 0.07)`."""
    train, test = (x / np.linalg.norm(x, axis=1, keepdims=True).clip(1e-12) for x in (train_x, test_x))
    cosines = test @ train.T  # (test, train)
    near = np.argpartition(-cosines, k - 1, axis=1)[:, :k]
    weights = np.exp((np.take_along_axis(cosines, near, axis=1) - 1) / _KNN_TEMPERATURE)
    votes = np.zeros((len(test), int(train_y.max()) + 1))
    np.add.at(votes, (np.arange(len(test))[:, None], train_y[near]), weights)
    return float(np.mean(votes.argmax(axis=1) == test_y))


def few_labels(labels: np.ndarray, per_class: int, seed: int) -> np.ndarray:
    """The indices of `per_class` random examples of every class."""
    draw = np.random.RandomState(seed)
    return np.concatenate(
        [draw.choice(np.flatnonzero(labels == k), per_class, replace=False) for k in np.unique(labels)]
    )


def fine_tuned_accuracy(
    encoder: ViTEncoder,
    images: np.ndarray,
    labels: np.ndarray,
    test_images: np.ndarray,
    test_labels: np.ndarray,
    epochs: int = 50,
    batch_size: int = 50,
    learning_rate: float = 1e-3,
    seed: int = 0,
) -> float:
    """Test accuracy after training a copy of the whole encoder, with a linear head, on a few images."""
    keras.utils.set_random_seed(seed)
    copy = ViTEncoder.from_config(encoder.get_config())
    copy.set_weights(encoder.get_weights())
    classifier = ImageClassifier(copy, num_classes=int(labels.max()) + 1, seed=seed)
    steps = epochs * (len(images) // batch_size)
    schedule = WarmupCosine(learning_rate, steps // 10, steps)
    classifier.compile(optimizer=adamw(classifier, schedule, beta_2=0.999), jit_compile=False)
    dataset = tf.data.Dataset.from_tensor_slices((images, labels)).shuffle(len(images), seed=seed)
    classifier.fit(dataset.batch(batch_size, drop_remainder=True), epochs=epochs, shuffle=False, verbose=0)
    return float(classifier.evaluate(test_images, test_labels, batch_size=250, verbose=0, return_dict=True)["accuracy"])
