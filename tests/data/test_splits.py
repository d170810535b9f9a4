"""The split into training and validation images: stratified, the same always, independent of the order of files."""

import numpy as np
import pytest

from keras_mae.data import ArraySource, FolderSource, Subset, open_source, write_records
from keras_mae.data.splits import split_source
from tests.drawn import as_image, drawn, encoded, write

pytestmark = pytest.mark.usefixtures("png_and_jpeg")


def of_labels(labels):
    """Images that hold nothing, with these labels."""
    return ArraySource(np.zeros((len(labels), 1, 1, 1), "uint8"), np.asarray(labels))


def counts(source, num_classes):
    """How many images of each class are to train and to validate on."""
    parts = [split_source(source, split) for split in ("train", "validation")]
    assert sorted(np.concatenate([part.indices for part in parts])) == list(range(source.num_images))
    return [np.bincount(part.labels, minlength=num_classes).tolist() for part in parts]


@pytest.mark.parametrize(
    ("sizes", "validation"),
    [
        ([30, 30, 30], [3, 3, 3]),
        ([300, 10, 2], [30, 1, 1]),
        ([14, 15, 24, 25], [1, 2, 2, 3]),  # a tenth, rounded; half upwards
        ([3, 1, 40], [1, 0, 4]),  # a single image is trained on
        ([2, 2], [1, 1]),
        ([1, 2], [0, 1]),
        ([1] * 10, None),  # no two of the same class: a tenth of all
        ([20], [2]),
    ],
)
def test_a_tenth_of_every_class(sizes, validation):
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    train, tested = counts(of_labels(labels), len(sizes))
    assert [one + other for one, other in zip(train, tested)] == sizes
    if validation is None:
        assert sum(tested) == 1
    else:
        assert tested == validation


def test_any_integers_are_labels_and_missing_ones_are_a_class_of_their_own():
    labels = np.repeat([7, -1, 10**12], [20, 30, 2])
    found = split_source(of_labels(labels), "validation").labels
    assert {label: int((found == label).sum()) for label in (7, -1, 10**12)} == {7: 2, -1: 3, 10**12: 1}


@pytest.mark.parametrize(("count", "validation"), [(5, 1), (14, 1), (15, 2), (1000, 100)])
def test_without_labels(count, validation):
    source = ArraySource(np.zeros((count, 1, 1, 1), "uint8"))
    train, tested = (split_source(source, split) for split in ("train", "validation"))
    assert (train.num_images, tested.num_images) == (count - validation, validation)
    assert split_source(source, "validation").indices.tolist() == tested.indices.tolist()  # the same again
    assert count < 1000 or np.diff(tested.indices).max() < 100  # from everywhere


@pytest.mark.parametrize("count", [1, 4])
def test_too_few(count):
    with pytest.raises(ValueError, match=f"{count} images are too few to set a tenth of them aside for validation"):
        split_source(ArraySource(np.zeros((count, 1, 1, 1), "uint8")), "validation")


def names_of(source):
    return {source.name_of(index).rpartition("/set/")[2] for index in range(source.num_images)}


def test_a_folder_is_split_by_its_paths(tmp_path):
    """Not by their order, nor where the folder lies; a file that is added moves at most one other of its class."""
    for number in range(60):
        write(tmp_path / "set" / ("rare" if number % 10 == 0 else "common") / f"{number:02}.png", b"x")
    source = FolderSource(str(tmp_path / "set"))
    before = names_of(split_source(source, "validation"))
    assert sorted(name.partition("/")[0] for name in before) == ["common"] * 5 + ["rare"]

    backwards = FolderSource(str(tmp_path / "set"))
    backwards.paths = backwards.paths[::-1]
    backwards._labels = backwards._labels[::-1]
    assert names_of(split_source(backwards, "validation")) == before
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "set").symlink_to(tmp_path / "set")
    assert names_of(split_source(FolderSource(str(tmp_path / "elsewhere" / "set")), "validation")) == before

    moved = []
    for number in range(8):
        write(tmp_path / "set" / "common" / f"added_{number}.png", b"x")
        after = names_of(split_source(FolderSource(str(tmp_path / "set")), "validation"))
        moved.append(len(before - after))
        assert {name for name in before if name.startswith("rare")} < after
        before = after
    assert max(moved) <= 1


def test_a_name_that_is_not_utf_8_is_a_name(tmp_path):
    source = FolderSource(write(tmp_path / "set" / "a" / "0.png", b"x").rpartition("/a/")[0])
    source.paths = [f"{source.path}/a/\udcff{number}.png" for number in range(20)]
    source.num_images = 20
    assert split_source(source, "validation").num_images == 2


@pytest.mark.medium
def test_records_are_split_by_class_with_and_without_their_index(tmp_path):
    for number in range(43):
        label = "abc"[0 if number < 3 else 1 + number % 2]
        write(tmp_path / "folder" / label / f"{number:02}.png", encoded(as_image(drawn(4, 4, 1, number)), "png"))
    write_records(FolderSource(str(tmp_path / "folder")), str(tmp_path / "records"), 2)
    data = f"tfrecord:{tmp_path}/records/*.tfrecord"
    expected = [[2, 18, 18], [1, 2, 2]]
    for _ in range(2):
        parts = [open_source(data, split) for split in ("train", "validation")]
        assert all(isinstance(part, Subset) for part in parts)
        assert [np.bincount(part.labels).tolist() for part in parts] == expected
        (tmp_path / "records" / "index.npz").unlink(missing_ok=True)
