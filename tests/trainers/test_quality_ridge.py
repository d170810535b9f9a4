"""The closed-form probe, against scikit-learn and by leaving each image out."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge, RidgeClassifierCV, RidgeCV
from sklearn.preprocessing import StandardScaler

from keras_mae.trainers.quality_ridge import ALPHAS, ridge


def data(images, width, targets, noise=1.0, seed=0):
    draw = np.random.default_rng(seed)
    x = draw.normal(3, 1, (images, width)) @ draw.normal(size=(width, width)) * draw.uniform(0.1, 30, width)
    y = x[:, :5] @ draw.normal(size=(5, targets)) / 20 + noise * draw.normal(size=(images, targets)) + 7
    return x, y


def scaled(train, test):
    scaler = StandardScaler().fit(train)
    return scaler.transform(train), scaler.transform(test)


# few images of many features, and many of few
@pytest.mark.parametrize(("images", "width", "noise"), [(40, 100, 1.0), (300, 12, 0.01), (300, 12, 50.0), (90, 90, 5)])
def test_numbers_as_in_scikit_learn(images, width, noise):
    x, y = data(images + 50, width, 3, noise)
    found, alpha = ridge(x[:images], y[:images], x[images:])
    train, test = scaled(x[:images], x[images:])
    reference = RidgeCV(alphas=ALPHAS).fit(train, y[:images])
    assert alpha == reference.alpha_
    np.testing.assert_allclose(found, reference.predict(test), rtol=1e-6, atol=1e-6)  # condition numbers of 1e6


def test_classes_as_in_scikit_learn():
    x, y = data(400, 30, 4, noise=3.0)
    labels = y.argmax(axis=1)
    found, alpha = ridge(x[:300], np.eye(4)[labels[:300]], x[300:])
    train, test = scaled(x[:300], x[300:])
    reference = RidgeClassifierCV(alphas=ALPHAS).fit(train, labels[:300])
    assert alpha == reference.alpha_
    assert 0.3 < np.mean(found.argmax(axis=1) == labels[300:]) < 0.9
    # its targets are -1 and 1
    np.testing.assert_allclose(2 * found - 1, reference.decision_function(test), rtol=1e-9, atol=1e-9)


def test_the_penalty_is_the_one_with_the_lowest_error_of_images_left_out():
    x, y = data(25, 8, 2, noise=4.0)
    _, alpha = ridge(x, y, x)
    train = scaled(x, x)[0]

    def left_out(alpha):
        errors = []
        for i in range(len(x)):
            others = np.arange(len(x)) != i
            errors.append(Ridge(alpha=alpha).fit(train[others], y[others]).predict(train[i : i + 1])[0] - y[i])
        return np.mean(np.square(errors))

    assert alpha == min(ALPHAS, key=left_out) and ALPHAS[0] < alpha < ALPHAS[-1]


def test_a_feature_that_never_changes_tells_nothing():
    x, y = data(60, 6, 1)
    x[:, 2] = 1e6 / 3
    found, _ = ridge(x[:50], y[:50], x[50:])
    without, _ = ridge(np.delete(x[:50], 2, 1), y[:50], np.delete(x[50:], 2, 1))
    np.testing.assert_allclose(found, without, rtol=1e-9)
