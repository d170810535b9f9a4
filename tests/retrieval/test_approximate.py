"""The index of faiss: which sizes take it, that it says so, and what it finds."""

import logging

import numpy as np
import pytest

from keras_mae.retrieval import approximate, nearest
from tests.retrieval.test_search import random_vectors


def test_below_a_million_or_for_few_queries_the_search_is_exact(monkeypatch):
    monkeypatch.setattr(approximate, "find_spec", lambda name: object())
    assert approximate.kind_of_search(1_000_000, 1_000_000) == "exact"
    assert approximate.kind_of_search(5_000_000, 9_999) == "exact"
    said = "approximate: faiss IVF8000,Flat, 250 of 8000 cells searched"
    assert approximate.kind_of_search(4_000_000, 10_000) == said
    monkeypatch.setattr(approximate, "find_spec", lambda name: None)
    assert approximate.kind_of_search(4_000_000, 10_000) == "exact"


@pytest.fixture
def lowered(monkeypatch):
    pytest.importorskip("faiss", reason="the extra faiss is not installed")
    monkeypatch.setattr(approximate, "VECTORS", 1000)
    monkeypatch.setattr(approximate, "QUERIES", 100)


def clustered(count, dim):
    rng = np.random.default_rng(0)
    return (
        rng.standard_normal((30, dim))[rng.integers(0, 30, count)] + 0.3 * rng.standard_normal((count, dim))
    ).astype("float32")


def test_finds_most_and_their_similarities_are_exact(lowered, monkeypatch, caplog):
    vectors, own = clustered(3000, 16), np.arange(3000)
    with caplog.at_level(logging.WARNING, "keras_mae"):
        scores, indices = nearest(vectors, vectors, 5, own)
    assert caplog.messages == ["approximate: faiss IVF219,Flat, 8 of 219 cells searched"]
    monkeypatch.setattr(approximate, "VECTORS", 10**6)
    exact_scores, exact = nearest(vectors, vectors, 5, own)
    assert not (indices == own[:, None]).any() and (indices >= 0).all()
    shared = np.mean([len(set(a) & set(b)) / 5 for a, b in zip(indices, exact)])
    assert shared > 0.9
    same = (indices == exact).all(axis=1)
    np.testing.assert_array_equal(scores[same], exact_scores[same])
    assert (np.diff(scores, axis=1) <= 0).all()


def test_queries_whose_cells_hold_too_few_are_searched_exactly(lowered, monkeypatch):
    vectors = random_vectors(1200, 8)
    monkeypatch.setattr(approximate, "visited", lambda cells: 1)
    _, indices = nearest(vectors, vectors[:150], 100)
    monkeypatch.setattr(approximate, "VECTORS", 10**6)
    np.testing.assert_array_equal(indices, nearest(vectors, vectors[:150], 100)[1])
