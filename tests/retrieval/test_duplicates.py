"""Groups of duplicates: against all pairs and SciPy's components, whatever the blocks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import connected_components

from keras_mae.retrieval import duplicates as module
from keras_mae.retrieval.cosine import unit_vectors
from keras_mae.retrieval.duplicates import duplicate_groups
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
