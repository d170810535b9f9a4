"""What tells whether data are the same: numbers, names and labels; not where a folder lies."""

import os
import re
import shutil
import time

import numpy as np
import pytest

from keras_mae.data import ArraySource, FolderSource, Subset, open_source, write_records
from keras_mae.data.seen import Seen, changes_between
from tests.base import random_images
from tests.drawn import write_pictures

pytestmark = pytest.mark.usefixtures("png_and_jpeg")


@pytest.fixture
def folder(tmp_path):
    for name in "ab":
        write_pictures(tmp_path / "pictures" / name, 3, size=(5, 6))
    return str(tmp_path / "pictures")


def noted(path, *sources):
    """What is kept of these images: gives a function that says what has changed in others since."""
    before = Seen(*sources)
    before.write_images(path)
    summary = before.summary
    return lambda *now: Seen(*now).changed_since(summary, path)


def test_the_summary_of_a_folder_that_is_moved(folder, tmp_path):
    before = Seen(FolderSource(folder)).summary
    assert {key: before[key] for key in before if key != "digest"} == {
        "num_images": 6,
        "dtype": "uint8",
        "class_names": ["a", "b"],
    }
    moved = str(tmp_path / "elsewhere")
    shutil.move(folder, moved)
    assert Seen(FolderSource(moved)).summary == before
    os.remove(f"{moved}/b/001.png")
    assert (
        changes_between(before, Seen(FolderSource(moved)).summary) == "there were 6 images to train on, and there are 5"
    )


def test_what_changed_in_a_folder_is_counted_and_named(folder, tmp_path):
    change = noted(str(tmp_path / "seen.gz"), FolderSource(folder))
    assert change(FolderSource(folder)) == ""
    os.rename(f"{folder}/a/001.png", f"{folder}/a/009.png")
    assert change(FolderSource(folder)) == "1 image was added: a/009.png; 1 image was removed: a/001.png"
    os.rename(f"{folder}/a/009.png", f"{folder}/a/001.png")
    assert change(FolderSource(folder)) == ""
    os.rename(f"{folder}/a/001.png", f"{folder}/a/007.png")
    relabelled = noted(str(tmp_path / "other.gz"), FolderSource(folder))
    os.rename(f"{folder}/a/007.png", f"{folder}/b/007.png")
    assert relabelled(FolderSource(folder)) == "1 image was relabelled: b/007.png (a to b)"
    for number in range(10, 14):
        shutil.copy(f"{folder}/b/000.png", f"{folder}/b/{number:03}.png")
    os.remove(f"{folder}/b/002.png")
    assert relabelled(FolderSource(folder)) == (
        "4 images were added: b/010.png, b/011.png, b/012.png, ...; 1 image was removed: b/002.png; 1 image was "
        "relabelled: b/007.png (a to b)"
    )


def test_a_folder_of_a_split_and_one_of_its_own_for_testing(folder, tmp_path):
    """An image more changes the whole split; what is said is that there is one more."""
    path = str(tmp_path / "seen.gz")
    whole = FolderSource(folder)
    change = noted(path, Subset(whole, np.array([0, 2, 3, 5])), Subset(whole, np.array([1, 4])))
    shutil.copy(f"{folder}/b/000.png", f"{folder}/b/010.png")
    whole = FolderSource(folder)
    now = Subset(whole, np.array([1, 4, 6, 0])), Subset(whole, np.array([2, 5, 3]))
    assert change(*now) == "1 image was added: b/010.png"
    change = noted(path, FolderSource(f"{folder}/a"), FolderSource(f"{folder}/b"))
    os.remove(f"{folder}/b/000.png")
    assert change(FolderSource(f"{folder}/a"), FolderSource(f"{folder}/b")) == "1 image was removed: b:000.png"


def test_arrays(folder, tmp_path):
    images, labels = random_images(9, (4, 4, 1)), np.arange(9) % 3
    change = noted(str(tmp_path / "seen.gz"), ArraySource(images, labels, class_names=["cat", "dog", "cow"]))

    def now(images, labels):
        return change(ArraySource(images, labels, class_names=["cat", "dog", "cow"]))

    assert now(images.copy(), labels.copy()) == ""
    other = labels.copy()
    other[4] = 2
    assert re.fullmatch(r"1 image was relabelled: image [0-9a-f]{16} \(dog to cow\)", now(images, other))
    assert now(images[::-1], labels[::-1]) == "of 9 images the images are others and the labels are others"  # in order
    assert re.fullmatch(r"2 images were removed: image [0-9a-f]{16}, image [0-9a-f]{16}", now(images[:7], labels[:7]))
    doubled = np.concatenate([images, images[:1]]), np.append(labels, 0)
    assert re.fullmatch(r"1 image was added: image [0-9a-f]{16} \(2\)", now(*doubled))


@pytest.mark.medium
def test_records(folder, tmp_path):
    def written(name):
        write_records(FolderSource(folder), str(tmp_path / name), 2)
        return open_source(f"tfrecord:{tmp_path}/{name}/*.tfrecord")

    before = written("one")
    change = noted(str(tmp_path / "seen.gz"), before)
    assert change(written("two")) == ""
    os.remove(before.paths[1])
    assert change(open_source(f"tfrecord:{tmp_path}/one/*.tfrecord")).startswith(
        "3 images were removed: images-00001-of-00002.tfrecord at byte 0, images-00001-of-00002.tfrecord at byte "
    )


@pytest.mark.medium
def test_many_images_take_little(tmp_path):
    source = FolderSource.__new__(FolderSource)  # without the files
    source.path, source.num_images, source.class_names = "/set", 200_000, [f"n{one:08}" for one in range(200)]
    source.paths = [f"/set/n{i // 1000:08}/n{i // 1000:08}_{i * 7919 % 999983}.JPEG" for i in range(source.num_images)]
    source._labels = np.arange(source.num_images) // 1000
    path = str(tmp_path / "seen.gz")
    begin = time.process_time()
    change = noted(path, source)
    source.paths = source.paths[:-1] + ["/set/n00000199/new.JPEG"]
    assert change(source) == (
        "1 image was added: n00000199/new.JPEG; 1 image was removed: n00000199/n00000199_818992.JPEG"
    )
    assert time.process_time() - begin < 12  # about 1 on a quiet core
    assert os.path.getsize(path) < 10e6  # 50 bytes an image


def test_a_cache_of_other_images_of_the_same_number_is_refused(folder, tmp_path):
    data = f"disk:{tmp_path}/cache:folder:{folder}"
    assert open_source(data).num_images == 6 and open_source(data).num_images == 6
    os.rename(f"{folder}/a/001.png", f"{folder}/b/009.png")
    with pytest.raises(ValueError, match="does not hold what folder:.* has: of 6 images the images are others and the"):
        open_source(data)
