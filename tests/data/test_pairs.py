"""Images with masks from folders, arrays and records: which belong together, and what is skipped."""

import logging
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from keras_mae.data import CorruptImages, JointAugmentation, Masks, TrainingData, open_source, write_records
from keras_mae.data.seen import Seen
from keras_mae.data.segmentation import count_classes, masked_dataset, whole_images
from keras_mae.data.sources import absolute
from tests.data.scenes import COLOURS, scene, write_pair, write_scenes

pytestmark = pytest.mark.usefixtures("png_and_jpeg")

SIZES = [(20, 30), (33, 17), (24, 24), (40, 28), (19, 19), (26, 50)]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    return (*write_scenes(folder, SIZES, below="a/b"), folder)


def masks_of(source):
    return [source.mask(source.read(index)["mask"]).numpy() for index in range(source.num_images)]


def test_images_and_masks_go_together(pairs):
    specification, masks, folder = pairs
    source = open_source(specification)
    assert (source.num_images, source.masked, source.labelled, source.class_names) == (6, True, False, [])
    assert source.name_of(1) == f"{folder}/images/a/b/01.png" and absolute(specification) == specification
    for found, mask in zip(masks_of(source), masks, strict=True):
        np.testing.assert_array_equal(found, mask)


@pytest.mark.slow
def test_whole_images_in_order(pairs):
    specification, masks, _ = pairs
    source = open_source(specification)
    for whole, mask in zip(whole_images(source, 3, CorruptImages(source)), masks, strict=True):
        np.testing.assert_array_equal(whole.mask, mask)
        np.testing.assert_array_equal(whole.image, COLOURS[mask])
    largest, counts, read, unlabelled = count_classes(source)
    np.testing.assert_array_equal(counts[:4], np.sum([np.bincount(m.ravel(), minlength=4) for m in masks], axis=0))
    assert (largest, read, unlabelled) == (3, 6, 0.0)


@pytest.mark.medium
def test_records_memory_and_disk_hold_the_same(pairs, tmp_path):
    specification, masks, _ = pairs
    write_records(open_source(specification), str(tmp_path / "records"), 2)
    others = (
        f"tfrecord:{tmp_path}/records/*.tfrecord",
        f"memory:{specification}",
        f"disk:{tmp_path}/c:{specification}",
    )
    for other in others:
        source = open_source(other)
        assert source.masked and source.num_images == 6
        for found, mask in zip(masks_of(source), masks, strict=True):
            np.testing.assert_array_equal(found, mask)
    assert absolute(f"memory:{specification}") == f"memory:{specification}"


def test_splits_of_arrays_and_of_folders(tmp_path, pairs):
    images, masks = (np.stack(column) for column in zip(*[scene(16, 16, seed) for seed in range(10)]))
    np.savez(tmp_path / "a.npz", images=images, masks=masks)
    train, validation = (open_source(f"npz:{tmp_path / 'a.npz'}", split) for split in ("train", "validation"))
    assert (train.num_images, validation.num_images, train.masked) == (9, 1, True)
    np.savez(tmp_path / "b.npz", images=images, masks=masks, validation_images=images[:2], validation_masks=masks[:2])
    np.testing.assert_array_equal(masks_of(open_source(f"npz:{tmp_path / 'b.npz'}", "validation")), masks[:2])
    train, validation = (open_source(pairs[0], split) for split in ("train", "validation"))
    assert (train.num_images, validation.num_images) == (5, 1)  # a tenth, one at least
    # ADE20K's layout
    for split, count in (("training", 3), ("validation", 2)):
        for kind in ("images", "annotations"):
            shutil.copytree(f"{pairs[2]}/{kind.replace('annotations', 'masks')}/a/b", f"{tmp_path}/ade/{kind}/{split}")
            for extra in range(count, 6):
                os.remove(f"{tmp_path}/ade/{kind}/{split}/{extra:02}.png")
    specification = f"pairs:{tmp_path}/ade/images,{tmp_path}/ade/annotations"
    found = [open_source(specification, split).num_images for split in (None, "train", "validation")]
    assert found == [3, 3, 2] and open_source(specification).validation_apart
    shutil.rmtree(tmp_path / "ade/annotations/validation")
    with pytest.raises(ValueError, match="images has folders to train and to test on, and .*annotations has not; give"):
        open_source(specification)


def test_images_without_masks_and_masks_without_images_are_left_out(tmp_path, caplog):
    specification, masks = write_scenes(tmp_path, SIZES[:4])
    os.remove(tmp_path / "masks/01.png")
    os.remove(tmp_path / "images/02.png")
    (tmp_path / "masks/notes.txt").write_text("x")
    with caplog.at_level(logging.WARNING, logger="keras_mae"):
        source = open_source(specification)
    assert caplog.messages == [
        "left out, without a mask: 1 of 3 images: 01",
        "left out, without an image: 1 of 3 masks: 02",
    ]
    for found, mask in zip(masks_of(source), [masks[0], masks[3]], strict=True):
        np.testing.assert_array_equal(found, mask)


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda f: [os.rename(f / f"masks/0{n}.png", f / f"masks/0{n}_mask.png") for n in range(2)],
         "no image has a mask: a mask has the path and name of its image.* as 00.png, the masks such as 00_mask.png"),
        (lambda f: Image.open(f / "images/00.png").save(f / "images/00.jpg"), "00.jpg and 00.png in .* the same name"),
        (lambda f: [os.rename(f / f"masks/0{n}.png", f / f"masks/0{n}.bmp") for n in range(2)],
         "masks are PNG files, and .*masks holds none, but files such as .*00.bmp"),
        (lambda f: shutil.rmtree(f / "masks"), "folder:.*masks: there is no such folder"),
    ],
)  # fmt: skip
def test_folders_that_do_not_go_together(change, said, tmp_path):
    specification, _ = write_scenes(tmp_path, SIZES[:2])
    change(tmp_path)
    with pytest.raises(ValueError, match=said):
        open_source(specification)


@pytest.mark.parametrize(
    "specification, said",
    [("pairs:a", "given as pairs:IMAGES,MASKS, two folders; got 'pairs:a'"), ("pairs:a,", "pairs:IMAGES,MASKS"),
     ("pairs:a,b,c", "pairs:IMAGES,MASKS"), ("pairs:a,a/", "images and masks lie in two folders")],
)  # fmt: skip
def test_other_specifications(specification, said):
    with pytest.raises(ValueError, match=said):
        open_source(specification)


@pytest.fixture
def with_one_bad(tmp_path):
    """128 pairs, as one in a hundred is tolerated; the second one is bad."""
    image, mask = scene(12, 10, 0)
    write_pair(tmp_path, "000", image, mask)
    for number in range(1, 128):
        for kind in ("images", "masks"):
            os.link(tmp_path / f"{kind}/000.png", tmp_path / f"{kind}/{number:03}.png")
    os.remove(tmp_path / "masks/001.png")
    return tmp_path, mask


BAD = [
    (np.zeros((12, 11), "uint8"), "masks/001.png has 12 x 11 pixels, and the image 12 x 10"),
    (np.full((12, 10), 9, "uint8"), "masks/001.png: a mask of 4 classes holds the number 9"),
    (np.zeros((12, 10, 3), "uint8"), "masks/001.png: a mask is a PNG of gray levels or of a palette, whose numbers"),
]


@pytest.mark.parametrize("bad, said", BAD)
def test_why_a_mask_is_none(bad, said, tmp_path):
    for name, mask in (("000", np.zeros((12, 10), "uint8")), ("001", bad)):
        write_pair(tmp_path, name, np.zeros((12, 10, 3), "uint8"), mask)
    source = open_source(f"pairs:{tmp_path}/images,{tmp_path}/masks")
    source.masks = Masks(num_classes=4)
    assert source.remedy(0) == "" and source.remedy(1).startswith(f"{tmp_path}/{said}")


@pytest.mark.slow
@pytest.mark.parametrize("bad, said", BAD)
def test_a_bad_mask_is_a_corrupt_image(bad, said, with_one_bad, caplog):
    folder, mask = with_one_bad
    write_pair(folder, "001", np.asarray(Image.open(folder / "images/000.png")), bad)
    source = open_source(f"pairs:{folder}/images,{folder}/masks")
    source.masks = Masks(num_classes=4)
    corrupt = CorruptImages(source)
    with caplog.at_level(logging.WARNING, logger="keras_mae"):
        assert len(list(whole_images(source, 3, corrupt))) == 127
        assert list(corrupt.names) == [1]
    assert said in caplog.text and f"{folder}/images/001.png" in caplog.text
    batches = list(masked_dataset(source, (12, 10, 3), 64, corrupt))
    assert [len(images) for images, _ in batches] == [64, 63]
    training = TrainingData(source, (12, 10, 3), 32, 0, JointAugmentation(scale=None, flip=False, jitter=0.0))
    for images, classes in training.at().take(4):
        np.testing.assert_array_equal(classes, np.broadcast_to(mask, classes.shape))
    assert list(training.corrupt.names) == [1]


@pytest.mark.medium
def test_masks_of_other_sizes_throughout(tmp_path):
    for name in "abc":
        image, mask = scene(12, 10, 0)
        write_pair(tmp_path, name, image, mask.T)
    source = open_source(f"pairs:{tmp_path}/images,{tmp_path}/masks")
    said = (
        r"none of the 3 images looked at, of 3, can be decoded, such as .*a.png \(.*a.png has 10 x 12 pixels, and the"
    )
    with pytest.raises(ValueError, match=said):
        TrainingData(source, (8, 8, 3), 2, 0, JointAugmentation()).at()


@pytest.mark.slow
def test_folders_of_masks_that_cannot_be_used_at_all(tmp_path):
    image, mask = scene(12, 10, 0)
    for name in "abc":
        write_pair(tmp_path, name, image, np.stack([mask] * 3, -1))
    source = open_source(f"pairs:{tmp_path}/images,{tmp_path}/masks")
    with pytest.raises(ValueError, match="none of the 3 masks looked at can be used, such as that of .*images/.*RGB"):
        count_classes(source)


def test_masks_without_a_label(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.zeros((3, 12, 10, 3), "uint8"), masks=np.full((3, 12, 10), 255))
    with pytest.raises(ValueError, match="no pixel of 3 masks has a label: every number there is one to ignore"):
        count_classes(open_source(f"npz:{tmp_path}/a.npz"))


def test_a_cache_with_other_masks_of_the_same_images_is_refused(tmp_path):
    specification, _ = write_scenes(tmp_path, SIZES[:2])
    open_source(f"disk:{tmp_path}/cache:{specification}")
    shutil.copytree(tmp_path / "masks", tmp_path / "better_masks")
    with pytest.raises(
        ValueError, match="cache: does not hold what pairs:.*better_masks has: of 2 images the images are"
    ):
        open_source(f"disk:{tmp_path}/cache:pairs:{tmp_path}/images,{tmp_path}/better_masks")


def test_changed_masks_of_an_array_are_seen(tmp_path):
    images, masks = (np.stack(column) for column in zip(*[scene(16, 16, seed) for seed in range(4)]))
    summaries = []
    for changed in (masks, masks + np.eye(16, dtype="uint8")):
        np.savez(tmp_path / "a.npz", images=images, masks=changed)
        summaries.append(Seen(open_source(f"npz:{tmp_path / 'a.npz'}")).summary["digest"])
    assert summaries[0] != summaries[1]
    np.savez(tmp_path / "a.npz", images=images, masks=masks[:, :8])
    with pytest.raises(
        ValueError, match=r"masks are integers of shape \(4, 16, 16\), a number for each pixel, got uint8"
    ):
        open_source(f"npz:{tmp_path / 'a.npz'}")
    np.savez(tmp_path / "a.npz", images=images, masks=masks.astype("int64") + 2**32)
    with pytest.raises(ValueError, match="numbers in masks are those of classes, got 4294967296 to 4294967299"):
        open_source(f"npz:{tmp_path / 'a.npz'}")
