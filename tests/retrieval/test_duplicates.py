"""Groups of duplicates: against all pairs and SciPy's components, whatever the blocks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import connected_components
from sklearn.decomposition import PCA

from keras_mae.retrieval import duplicates as module
from keras_mae.retrieval.cosine import unit_vectors
from keras_mae.retrieval.duplicates import THRESHOLD, duplicate_groups, whitened
from tests.retrieval.test_search import random_vectors


def expected_groups(units, threshold):
    """Of all pairs at once, in float64."""
    units = units.astype("float64")
    units = units / np.linalg.norm(units, axis=1, keepdims=True)
    _, part = connected_components(units @ units.T >= threshold, directed=False)
    groups = [np.flatnonzero(part == number) for number in range(part.max() + 1)]
    return sorted((group.tolist() for group in groups if len(group) > 1), key=lambda group: (-len(group), group[0]))


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 60),
    dim=st.integers(2, 6),
    threshold=st.floats(-0.5, 0.9999),
    rows=st.integers(1, 70),
    at_once=st.integers(1, 70),
    seed=st.integers(0, 2**31),
)
def test_are_the_components_of_all_pairs(count, dim, threshold, rows, at_once, seed):
    units = unit_vectors(np.random.default_rng(seed).standard_normal((count, dim)).astype("float32"))
    queries, module.QUERIES = module.QUERIES, at_once
    try:
        groups = [group.tolist() for group in duplicate_groups(units, threshold, rows)]
    finally:
        module.QUERIES = queries
    assert groups == expected_groups(units, threshold)


def test_a_chain_is_one_group():
    """Directions 10 degrees apart, in a random order: only neighbours are alike."""
    order = np.random.default_rng(0).permutation(18)
    angles = np.deg2rad(10 * order)
    units = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype("float32")
    (group,) = duplicate_groups(units, np.cos(np.deg2rad(10.1)))
    assert group.tolist() == list(range(18))
    assert duplicate_groups(units, np.cos(np.deg2rad(9.9))) == []


def test_all_alike_need_no_memory_for_their_pairs():
    units = unit_vectors(np.ones((3000, 4), "float32"))
    (group,) = duplicate_groups(units, 0.99, rows=512)
    assert len(group) == 3000


def test_pairs_on_the_threshold_belong_to_it():
    """Of equal vectors the cosine is 1, whatever the product of float32 gives."""
    vectors = random_vectors(64, 37)
    units = unit_vectors(np.concatenate([vectors, vectors]))
    assert [group.tolist() for group in duplicate_groups(units, 1.0)] == [[n, n + 64] for n in range(64)]


def test_one_vector_has_no_duplicate():
    assert duplicate_groups(np.ones((1, 1), "float32"), 0.5) == []


def test_whitened_is_what_sklearn_does():
    """Of many vectors, as scikit-learn does not shrink: the coordinates' scale is the same but for a hundredth."""
    vectors = random_vectors(800, 6) @ np.random.default_rng(1).standard_normal((6, 6)).astype("float32")
    expected = PCA(whiten=True).fit_transform(vectors.astype("float64"))
    shift = 0.01 * (1 + 4 * 6 / 800) * vectors.astype("float64").var(axis=0).mean()
    variance = np.square((vectors - vectors.mean(axis=0)) @ np.linalg.svd(vectors - vectors.mean(axis=0))[2].T).mean(0)
    expected *= np.sqrt(variance / (variance + shift))
    cosines = expected @ expected.T / np.outer(*[np.linalg.norm(expected, axis=1)] * 2)
    units = whitened(vectors, rows=99)
    near = np.linalg.norm(expected, axis=1) > 0.5  # at the mean itself the constant coordinate counts
    np.testing.assert_allclose((units @ units.T)[near][:, near], cosines[near][:, near], atol=1e-4)


@pytest.mark.parametrize("count", [30, 300])
def test_copies_of_any_number_of_vectors_are_found(count):
    """Features far from the origin, as those of images, with copies that differ by a twentieth of their spread."""
    rng = np.random.default_rng(count)
    vectors = 5 + rng.standard_normal((count, 64)) * np.geomspace(1, 0.05, 64)
    copies = vectors[: (count + 2) // 3] + 0.05 * rng.standard_normal(((count + 2) // 3, 64)) * np.geomspace(
        1, 0.05, 64
    )
    both = np.concatenate([vectors, copies]).astype("float32")
    groups = [group.tolist() for group in duplicate_groups(whitened(both), THRESHOLD)]
    assert groups == [[n, n + count] for n in range(len(copies))]


def test_equal_vectors_are_one_group():
    for vectors in (np.full((9, 5), 3.3), np.tile([[1.0, 2, 3]], (4, 1)), np.ones((1, 4))):
        groups = duplicate_groups(whitened(vectors.astype("float32")), THRESHOLD)
        assert [group.tolist() for group in groups] == [list(range(len(vectors)))] * (len(vectors) > 1)
    vectors = np.float32([[0, 1], [2, 1], [1, 1], [1, 1]])  # two at the mean
    assert [group.tolist() for group in duplicate_groups(whitened(vectors), THRESHOLD)] == [[2, 3]]


@pytest.mark.parametrize(("value", "message"), [(0, "vector 4 is all zeros"), (np.nan, "vector 4 is not finite")])
def test_vectors_without_a_direction_are_refused(value, message):
    vectors = random_vectors(9, 3)
    vectors[4] = value
    with pytest.raises(ValueError, match=message):
        whitened(vectors, rows=2)
