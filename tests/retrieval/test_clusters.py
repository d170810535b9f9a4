"""k-means against scikit-learn's, its order, and its edges."""

import numpy as np
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from keras_mae.retrieval import clusters
from keras_mae.retrieval.clusters import kmeans
from keras_mae.retrieval.cosine import unit_vectors


def groups_of(sizes, dim=12, noise=0.6, seed=0):
    """Vectors of length 1 around centres, and the centre of each, in a mixed order."""
    rng = np.random.default_rng(seed)
    truth = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    return unit_vectors(
        rng.normal(size=(len(sizes), dim))[truth] * 2 + noise * rng.normal(size=(len(truth), dim))
    ), truth


def cost(vectors, groups):
    return sum(np.square(vectors[groups == g] - vectors[groups == g].mean(axis=0)).sum() for g in np.unique(groups))


def test_groups_that_are_apart_are_found_the_largest_first():
    vectors, truth = groups_of((20, 70, 40))
    np.testing.assert_array_equal(kmeans(vectors, 3), np.array([2, 0, 1])[truth])


def test_it_is_as_good_as_scikit_learn():
    """Each may end in another local optimum, by its random start: the best and the median of some are compared."""
    vectors, _ = groups_of((50, 40, 30, 30, 20), noise=1.5)
    ours = [kmeans(vectors, 5, seed) for seed in range(9)]
    theirs = [KMeans(5, n_init=1, random_state=seed).fit(vectors).inertia_ for seed in range(9)]
    costs = [cost(vectors, groups) for groups in ours]
    np.testing.assert_allclose(
        [min(costs), np.median(costs)], [min(theirs), np.median(theirs)], rtol=2e-3
    )  # optima as near as that
    means = np.stack([vectors[ours[0] == group].mean(axis=0) for group in range(5)])
    again = KMeans(5, init=means, n_init=1).fit(vectors)
    assert adjusted_rand_score(ours[0], again.labels_) == 1  # scikit-learn's rounds move nothing either


def test_it_repeats_itself():
    vectors, _ = groups_of((30, 30, 30), noise=1.5)
    np.testing.assert_array_equal(kmeans(vectors, 4), kmeans(vectors, 4))


def test_it_ends_with_fewer_groups_than_asked_for():
    vectors, _ = groups_of((1, 1, 1))
    np.testing.assert_array_equal(np.sort(kmeans(vectors, 10)), [0, 1, 2])
    np.testing.assert_array_equal(kmeans(np.repeat(vectors[:1], 5, axis=0), 10), np.zeros(5))
    np.testing.assert_array_equal(kmeans(vectors[:1], 1), [0])


def test_an_empty_group_begins_anew_at_the_farthest_vector(monkeypatch):
    vectors, truth = groups_of((30, 20, 10))
    start = np.stack([vectors[truth == 0][0], vectors[truth == 1][0], -vectors.mean(axis=0) * 9]).astype("float64")
    monkeypatch.setattr(clusters, "_start", lambda *given: start)
    np.testing.assert_array_equal(kmeans(vectors, 3), truth)
