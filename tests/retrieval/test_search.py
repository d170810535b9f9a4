"""Nearest neighbours: against scikit-learn and brute force, whatever the blocks, ties, and what is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from keras_mae.retrieval import nearest, open_vectors, write_vectors
from keras_mae.retrieval import search as module
from keras_mae.retrieval.outliers import outlier_scores


def random_vectors(count, dim, seed=0):
    """Some way from the origin, as features of images are, and of different lengths."""
    rng = np.random.default_rng(seed)
    return ((rng.standard_normal((count, dim)) + 2) * rng.uniform(0.1, 10, (count, 1))).astype("float32")


@pytest.mark.parametrize("k", [1, 10, 300, 500])
def test_is_what_sklearn_finds(k):
    vectors, queries = random_vectors(300, 24), random_vectors(20, 24, seed=1)
    scores, indices = nearest(vectors, queries, k)
    search = NearestNeighbors(n_neighbors=min(k, 300), algorithm="brute", metric="cosine")
    distances, expected = search.fit(vectors.astype("float64")).kneighbors(queries.astype("float64"))
    np.testing.assert_array_equal(indices, expected)
    np.testing.assert_allclose(scores, 1 - distances, atol=1e-6)  # float32
    assert scores.dtype == "float32" and indices.dtype == "int64"


def test_a_vector_does_not_find_itself():
    vectors = random_vectors(50, 8)
    _, indices = nearest(vectors, vectors[:20], 49, exclude=np.arange(20))
    for own, row in enumerate(indices):
        assert sorted(row) == [number for number in range(50) if number != own]
    scores, indices = nearest(vectors, vectors[:2], 1, exclude=np.array([-1, 1]))
    assert indices[0, 0] == 0 and scores[0, 0] == 1 and indices[1, 0] != 1


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(2, 60),
    dim=st.integers(1, 9),
    k=st.integers(1, 70),
    rows=st.integers(1, 70),
    at_once=st.integers(1, 9),
    few=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_blocks_change_nothing_and_ties_go_by_index(count, dim, k, rows, at_once, few, seed):
    """Few different vectors, so that most similarities are equal; compared with all similarities, sorted."""
    rng = np.random.default_rng(seed)
    kinds = random_vectors(3 if few else count, dim, seed)
    vectors = kinds[rng.integers(0, len(kinds), count)]
    exclude = np.where(rng.random(count) < 0.5, np.arange(count), -1)
    whole = nearest(vectors, vectors, k, exclude)
    queries, module.QUERIES = module.QUERIES, at_once
    try:
        parts = nearest(vectors, vectors, k, exclude, rows=rows)
    finally:
        module.QUERIES = queries
    np.testing.assert_array_equal(parts[0], whole[0])
    np.testing.assert_array_equal(parts[1], whole[1])
    units = vectors.astype("float64") / np.linalg.norm(vectors.astype("float64"), axis=1, keepdims=True)
    cosines = units @ units.T
    for row, (scores, indices) in enumerate(zip(*whole, strict=True)):
        others = np.delete(np.arange(count), exclude[row] if exclude[row] >= 0 else [])
        np.testing.assert_allclose(scores, np.sort(cosines[row, others])[::-1][: len(scores)], atol=1e-6)
        np.testing.assert_allclose(scores, cosines[row, indices], atol=1e-6)
        assert len(set(indices)) == len(indices)
        same = np.flatnonzero((vectors[indices[1:]] == vectors[indices[:-1]]).all(axis=1))
        assert (indices[same + 1] > indices[same]).all()
        for last in indices[-1:]:  # and of equal vectors none with a smaller index is left out
            equal = [other for other in others if (vectors[other] == vectors[last]).all() and other < last]
            assert set(equal) <= set(indices)


def test_reads_a_file_block_by_block(tmp_path):
    vectors, path = random_vectors(100, 6), str(tmp_path / "vectors.parquet")
    write_vectors(path, [f"{n}.png" for n in range(100)], np.arange(100), None, vectors, {})
    for a, b in zip(nearest(open_vectors(path), vectors[:7], 5, rows=13), nearest(vectors, vectors[:7], 5)):
        np.testing.assert_array_equal(a, b)


def test_very_long_and_very_short_vectors_keep_their_direction():
    """Their squared lengths are beyond float32."""
    vectors = random_vectors(40, 5)
    scale = np.float32([1e25, 1e-25, 1, 1e-38])[np.arange(40) % 4, None]
    near, expected = nearest(vectors * scale, vectors[:6], 3), nearest(vectors, vectors[:6], 3)
    np.testing.assert_allclose(near[0], expected[0], atol=1e-5)  # 1e-38 leaves few digits
    np.testing.assert_array_equal(near[1], expected[1])


def with_one(value, at=7):
    vectors = random_vectors(20, 4)
    vectors[at] = value
    return vectors


@pytest.mark.parametrize(
    ("vectors", "queries", "k", "message"),
    [
        (with_one(0), random_vectors(2, 4), 3, "vector 7 is all zeros, and has no direction"),
        (with_one(np.nan), random_vectors(2, 4), 3, "vector 7 is not finite"),
        (with_one([1, np.inf, 0, 0]), random_vectors(2, 4), 3, "vector 7 is not finite"),
        (random_vectors(20, 4), with_one(0), 3, "query 7 is all zeros"),
        (random_vectors(20, 4), random_vectors(2, 5), 3, r"queries are 4 wide as the vectors, .* got \(2, 5\)"),
        (random_vectors(20, 4), random_vectors(2, 4)[0], 3, "queries are 4 wide"),
        (random_vectors(20, 4), random_vectors(2, 4), 0, "k is 1 or more, got 0"),
    ],
)
def test_what_is_refused(vectors, queries, k, message):
    with pytest.raises(ValueError, match=message):
        nearest(vectors, queries, k, rows=3)


def test_one_vector_alone():
    vectors = random_vectors(1, 4)
    assert nearest(vectors, vectors, 5)[1].tolist() == [[0]]
    with pytest.raises(ValueError, match="one vector has no neighbours; embed two images or more"):
        nearest(vectors, vectors, 5, exclude=np.array([0]))
    with pytest.raises(ValueError, match="one vector has no neighbours"):
        outlier_scores(vectors)


def test_outliers_by_hand():
    """Directions at 0, 10, 20 and 90 degrees: the second neighbours are 20, 10, 20 and 80 degrees away."""
    angles = np.deg2rad([0, 10, 20, 90])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1) * [[1], [2], [3], [4]]
    expected = 1 - np.cos(np.deg2rad([20, 10, 20, 80]))
    np.testing.assert_allclose(outlier_scores(vectors, k=2), expected, atol=1e-6)
    np.testing.assert_allclose(outlier_scores(vectors, k=9)[0], 1, atol=1e-6)  # the farthest, as there are three


def test_outliers_are_far_though_they_are_there_twice():
    vectors = random_vectors(200, 16)
    vectors[50] = vectors[51] = -vectors[50]
    assert set(np.argsort(-outlier_scores(vectors))[:2]) == {50, 51}
    search = NearestNeighbors(n_neighbors=11, algorithm="brute", metric="cosine").fit(vectors.astype("float64"))
    distances, _ = search.kneighbors(vectors.astype("float64"))
    np.testing.assert_allclose(outlier_scores(vectors), distances[:, 10], atol=1e-6)  # the vector itself is first
