"""Shares and folds: partitions, stratified by any kind of label, with groups that stay together."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_mae.data import ArraySource, FolderSource, MemorySource, Subset
from keras_mae.data.group_split import assign_groups
from keras_mae.data.relabelled import Relabelled
from keras_mae.data.splits import fold_numbers, split_by_values, split_source
from tests.drawn import as_image, drawn, encoded, write

quickly = settings(max_examples=80, deadline=None)


def of_labels(labels, **more):
    return ArraySource(np.zeros((len(labels), 1, 1, 1), "uint8"), np.asarray(labels), **more)


@quickly
@given(st.lists(st.integers(1, 40), min_size=1, max_size=5), st.floats(0.05, 0.6), st.integers(0, 9))
def test_shares_of_classes(sizes, share, seed):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    source = of_labels(labels)
    try:
        parts = [split_source(source, part, share, seed) for part in ("train", "validation")]
    except ValueError as error:
        assert f"{len(labels)} images are too few to set " in str(error)
        return
    assert sorted(np.concatenate([part.indices for part in parts])) == list(range(len(labels)))
    if max(sizes) > 1 and len(sizes) > 1:
        tested = np.bincount(parts[1].labels, minlength=len(sizes))
        for size, count in zip(sizes, tested):
            assert abs(count - share * size) <= 0.5 or count in (min(1, size - 1), size - 1)


@quickly
@given(st.lists(st.integers(1, 40), min_size=1, max_size=5), st.integers(2, 6), st.integers(0, 9))
def test_folds_of_classes(sizes, folds, seed):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    if len(labels) < folds:
        return
    numbers = fold_numbers(of_labels(labels), folds, seed)
    assert np.ptp(np.bincount(numbers, minlength=folds)) <= 1
    for label in range(len(sizes)):
        if max(sizes) > 1:
            assert np.ptp(np.bincount(numbers[labels == label], minlength=folds)) <= 1


GROUPED = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 3)), min_size=2, max_size=120)


@quickly
@given(GROUPED, st.floats(0.05, 0.6), st.integers(2, 5), st.integers(0, 9))
def test_no_group_is_on_both_sides(rows, share, folds, seed):
    groups, strata = np.array(rows).T
    strata = np.unique(strata, return_inverse=True)[1]
    rank = np.random.RandomState(seed).permutation(len(groups))
    for shares in ((share, 1 - share), (1 / folds,) * folds):
        if len(set(groups)) < len(shares):
            with pytest.raises(
                ValueError, match=f"groups? stay together|groups, and groups stay together.*{len(shares)}"
            ):
                assign_groups(groups, strata, shares, rank)
            continue
        part = assign_groups(groups, strata, shares, rank)
        assert set(part) == set(range(len(shares)))  # none is empty
        for group in set(groups):
            assert len(set(part[groups == group])) == 1
        largest = np.bincount(groups).max() / len(groups)
        assert np.abs(np.bincount(part) / len(part) - shares).max() <= largest + 1e-9


def test_groups_are_stratified():
    """Patients with one class each: both sides have every class in about its share."""
    rng = np.random.default_rng(0)
    of_patient, sizes = rng.choice(3, 300, p=[0.6, 0.3, 0.1]), rng.integers(1, 6, 300)
    groups, strata = np.repeat(np.arange(300), sizes), np.repeat(of_patient, sizes)
    tested = assign_groups(groups, strata, (0.2, 0.8), rng.permutation(len(groups))) == 0
    assert np.abs(np.bincount(strata[tested]) - 0.2 * np.bincount(strata)).max() <= 5


def test_numbers_are_split_by_quantiles():
    ages = np.random.default_rng(0).exponential(20, (200, 1)).astype("float32")
    source = of_labels(ages, task="numbers", label_names=["age"])
    tested = split_source(source, "validation").labels[:, 0]
    bounds = np.quantile(ages, np.linspace(0, 1, 11))
    assert np.histogram(tested, bounds)[0].tolist() == [2] * 10
    numbers = fold_numbers(source, 4, seed=5)
    for fold in range(4):
        assert np.abs(np.histogram(ages[numbers == fold], bounds)[0] - 5).max() <= 1


def test_several_labels_are_split_by_their_combinations_and_the_rarest_label():
    rng = np.random.default_rng(0)
    labels = (rng.random((400, 4)) < [0.5, 0.5, 0.1, 0.03]).astype("float32")
    source = of_labels(labels, task="labels", label_names=list("abcd"))
    numbers = fold_numbers(source, 5)
    for fold in range(5):
        positives = labels[numbers == fold].sum(axis=0)
        assert np.abs(positives - labels.sum(axis=0) / 5).max() <= 4, positives
        assert positives[3] >= 1


@pytest.mark.medium
def test_a_folder_is_split_by_its_paths_wherever_its_labels_come_from(tmp_path, png_and_jpeg):
    for number in range(30):
        write(tmp_path / "set" / f"{number:02}.png", encoded(as_image(drawn(3, 3, seed=number)), "PNG"))
    folder = FolderSource(str(tmp_path / "set"))
    labels = np.arange(30) % 2
    relabelled = Relabelled(folder, np.arange(30), labels)
    folder._labels = labels
    for seed in (0, 1):
        expected = split_source(folder, "validation", 0.2, seed).indices.tolist()
        assert split_source(relabelled, "validation", 0.2, seed).indices.tolist() == expected
        assert split_source(MemorySource(folder), "validation", 0.2, seed).indices.tolist() == expected
    backwards = Relabelled(folder, np.arange(30)[::-1], labels[::-1])
    assert sorted(29 - split_source(backwards, "validation", 0.2, 1).indices) == sorted(expected)
    assert split_source(Subset(folder, np.arange(30)), "validation", 0.2).indices.tolist() != expected


def test_values_of_a_column():
    trained, tested = split_by_values(["Train", "VALID", "train", "test"], None, "part")
    assert (trained.tolist(), tested.tolist()) == ([0, 2], [1])
    trained, tested = split_by_values(["training", "Test"], None, "part")
    assert (trained.tolist(), tested.tolist()) == ([0], [1])
    with pytest.raises(ValueError, match="no image is to train on: column 'part' says 'val'"):
        split_by_values(["val", "val"], None, "part")
    with pytest.raises(ValueError, match="no image is to train on: column 'part' says '3'"):
        split_by_values(["3", "3"], ["3"], "part")
