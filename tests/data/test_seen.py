"""What tells whether data are the same: numbers, names and labels; not where a folder lies."""

import os
import shutil

import numpy as np
import pytest

from keras_mae.data import ArraySource, FolderSource, open_source
from keras_mae.data.seen import changes_between, seen_of
from tests.base import random_images
from tests.drawn import write_pictures


@pytest.fixture
def folder(tmp_path):
    for name in "ab":
        write_pictures(tmp_path / "pictures" / name, 3, size=(5, 6))
    return str(tmp_path / "pictures")


def change(before, folder):
    return changes_between(before, seen_of(FolderSource(folder)))


def test_a_folder(folder, tmp_path):
    before = seen_of(FolderSource(folder))
    assert {key: before[key] for key in before if key != "digest"} == {
        "num_images": 6,
        "dtype": "uint8",
        "class_names": ["a", "b"],
    }
    shutil.move(folder, tmp_path / "elsewhere")
    moved = str(tmp_path / "elsewhere")
    assert change(before, moved) == ""
    os.rename(f"{moved}/a/001.png", f"{moved}/a/009.png")
    assert change(before, moved) == "of 6 images the images are others"
    os.rename(f"{moved}/a/009.png", f"{moved}/b/009.png")
    assert change(before, moved) == "of 6 images the images are others and the labels are others"
    os.remove(f"{moved}/b/009.png")
    assert change(before, moved) == "there were 6 images to train on, and there are 5"


def test_arrays(folder):
    images, labels = random_images(9, (4, 4, 1)), np.arange(9) % 3
    before = seen_of(ArraySource(images, labels))
    assert changes_between(before, seen_of(ArraySource(images.copy(), labels.copy()))) == ""
    assert changes_between(before, seen_of(ArraySource(images, labels[::-1]))) == "of 9 images the labels are others"
    assert changes_between(before, seen_of(ArraySource(images[::-1], labels))) == "of 9 images the images are others"


def test_a_cache_of_other_images_of_the_same_number_is_refused(folder, tmp_path):
    data = f"disk:{tmp_path}/cache:folder:{folder}"
    assert open_source(data).num_images == 6 and open_source(data).num_images == 6
    os.rename(f"{folder}/a/001.png", f"{folder}/b/009.png")
    with pytest.raises(ValueError, match="does not hold what folder:.* has: of 6 images the images are others and the"):
        open_source(data)
