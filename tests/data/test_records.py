"""TFRecord files: written, continued, opened again; the same images as the folder they were made from."""

import io
import os

import numpy as np
import pytest
import tensorflow as tf

from keras_mae.data import (
    Augmentation,
    CorruptImages,
    FolderSource,
    TrainingData,
    evaluation_dataset,
    evaluation_transform,
    open_source,
    record_writer,
    write_records,
)
from keras_mae.data.record_index import RecordIndex
from tests.drawn import as_image, drawn, encoded, write

pytestmark = pytest.mark.usefixtures("png_and_jpeg")

COUNT = 23


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """JPEG and PNG files of different sizes in three classes."""
    path = tmp_path_factory.mktemp("folder")
    for number in range(COUNT):
        form = ("png", "jpeg")[number % 2]
        contents = encoded(as_image(drawn(20 + number, 40 - number, seed=number)), form)
        write(path / "abc"[number % 3] / f"{number:02}.{form}", contents)
    return str(path)


@pytest.fixture(scope="module")
def records(folder, tmp_path_factory):
    path = str(tmp_path_factory.mktemp("records"))
    write_records(FolderSource(folder), path, 4)
    return path


SHAPE = (16, 12, 3)


def batches(source, **arguments):
    return list(evaluation_dataset(source, SHAPE, 5, with_labels=True, **arguments).as_numpy_iterator())


def one_by_one(source):
    """What an evaluation sees of each image, without a data set, whose graph takes longer: one batch of all."""
    images = [source.image(tf.constant(index, tf.int64), 3) for index in range(source.num_images)]
    return [(np.stack([evaluation_transform(image, SHAPE) for image in images]), source.labels)]


@pytest.fixture(scope="module")
def whole(folder):
    """What the folder's batches hold, with which several tests compare others."""
    return one_by_one(FolderSource(folder))


def assert_some(found, whole, indices):
    """The batches are those images of the whole, in this order."""
    for one, other in zip(zip(*found, strict=True), zip(*whole, strict=True), strict=True):
        np.testing.assert_array_equal(np.concatenate(one), np.concatenate(other)[indices])


def assert_same(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected):
        for part, other_part in zip(one, other):
            np.testing.assert_array_equal(part, other_part)


@pytest.mark.medium
def test_give_the_folders_evaluation_batches_and_names(folder, records, whole):
    source, expected = open_source(f"tfrecord:{records}/*.tfrecord"), FolderSource(folder)
    assert source.class_names == ["a", "b", "c"] and source.num_classes == 3
    assert source.labels.tolist() == expected.labels.tolist()
    assert_some(batches(source), whole, slice(None))
    assert source.name_of(1).startswith(f"{records}/images-00001-of-00004.tfrecord, record at byte 0")
    assert sorted(source.storage_order) == list(range(COUNT))
    assert source.storage_order[:6].tolist() == [0, 4, 8, 12, 16, 20]  # image i lies in file i % 4


@pytest.mark.medium
def test_without_the_index_they_are_read_file_by_file(folder, records, whole, tmp_path):
    for name in os.listdir(records):
        if name.endswith(".tfrecord"):
            os.link(os.path.join(records, name), tmp_path / name)
    source, expected = open_source(f"tfrecord:{tmp_path}/*"), FolderSource(folder)
    order = np.concatenate([np.arange(n, COUNT, 4) for n in range(4)])
    assert source.labelled and source.labels.tolist() == expected.labels[order].tolist()
    assert_some(one_by_one(source), whole, order)


@pytest.mark.medium
def test_some_of_the_files_are_some_of_the_images(records, whole):
    source = open_source(f"tfrecord:{records}/images-0000[13]*")
    chosen = [n for n in range(COUNT) if n % 4 in (1, 3)]
    assert_some(one_by_one(source), whole, chosen)


@pytest.mark.medium
def test_training_batches_are_those_of_the_folder(folder, records):
    """So few images are shuffled freely, and the same index is the same image."""
    augmentation = Augmentation(crop_scale=None, flip=False)
    of_folder, of_records = (
        TrainingData(source, SHAPE, 4, 1, augmentation, with_labels=True)
        for source in (FolderSource(folder), open_source(f"tfrecord:{records}/*.tfrecord"))
    )
    ((images, labels),) = one_by_one(of_folder.source)
    stream = list(of_records.at().take(8).as_numpy_iterator())
    assert_same(stream, [(images[of_folder.indices(step)], labels[of_folder.indices(step)]) for step in range(8)])


@pytest.mark.medium
def test_continues_where_it_was_interrupted(folder, records, tmp_path, monkeypatch):
    source, read, calls = FolderSource(folder), record_writer._read, []

    def interrupted(corrupt):
        calls.append(corrupt)
        if len(calls) == 3:
            raise KeyboardInterrupt  # while the third file is written

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(CorruptImages, "check", interrupted)
        write_records(source, str(tmp_path), 4)
    assert sorted(os.listdir(tmp_path)) == [f"images-0000{n}-of-00004.tfrecord" for n in range(2)]
    calls.clear()
    monkeypatch.setattr(
        record_writer, "_read", lambda source, indices, *rest: (calls.extend(indices), read(source, indices, *rest))[1]
    )
    write_records(source, str(tmp_path), 4)
    assert sorted(calls) == [n for n in range(COUNT) if n % 4 in (2, 3)]  # only what was missing
    for name in os.listdir(records):
        if name.endswith(".tfrecord"):
            with open(tmp_path / name, "rb") as one, open(os.path.join(records, name), "rb") as other:
                assert one.read() == other.read()


@pytest.mark.medium
def test_a_file_that_cannot_be_read_keeps_its_place_and_is_reported(folder, tmp_path, caplog):
    for number in range(120):
        write(tmp_path / "in" / f"{number:03}.png", encoded(as_image(drawn(4, 5, seed=number)), "PNG"))
    os.remove(tmp_path / "in" / "017.png")
    os.symlink("nowhere", tmp_path / "in" / "017.png")
    write_records(FolderSource(str(tmp_path / "in")), str(tmp_path / "out"), 2)
    assert "1 of 120 images were skipped: 1 is missing" in caplog.text
    source = open_source(f"tfrecord:{tmp_path}/out/*.tfrecord")
    corrupt = CorruptImages(source)
    found = list(evaluation_dataset(source, (4, 5, 3), 50, 1.0, corrupt).unbatch().as_numpy_iterator())
    assert list(corrupt.names) == [17] and len(found) == 119
    np.testing.assert_array_equal(found[17], drawn(4, 5, seed=18))


def test_other_settings_and_other_sets_are_refused(folder, records, tmp_path):
    source = FolderSource(folder)
    with pytest.raises(ValueError, match="holds TFRecord files of another set, such as .*00000-of-00004"):
        write_records(source, records, 3)
    with pytest.raises(ValueError, match="23 images go into 1 to 23 files, got 24"):
        write_records(source, str(tmp_path), 24)
    with pytest.raises(ValueError, match=r"written from image files, and array\[0\] is in memory"):
        from keras_mae.data import ArraySource

        write_records(ArraySource(np.zeros((2, 3, 3, 1), "uint8")), str(tmp_path))


def test_no_file_a_cut_off_one_and_something_else(folder, records, tmp_path):
    with pytest.raises(ValueError, match=r"there is no such file; a pattern has \*"):
        open_source(f"tfrecord:{tmp_path}/*.tfrecord")
    with open(os.path.join(records, "images-00000-of-00004.tfrecord"), "rb") as file:
        whole = file.read()
    for contents in (whole[:-5], whole[:7], b"no records at all, but some text"):
        write(tmp_path / "cut.tfrecord", contents)
        with pytest.raises(ValueError, match="cut.tfrecord: record . does not end within the file"):
            open_source(f"tfrecord:{tmp_path}/cut.tfrecord")
    write(tmp_path / "empty.tfrecord", b"")
    with pytest.raises(ValueError, match="holds no image"):
        open_source(f"tfrecord:{tmp_path}/empty.tfrecord")
    for name in os.listdir(records):
        os.link(os.path.join(records, name), tmp_path / name)
    os.remove(tmp_path / "images-00003-of-00004.tfrecord")
    write(tmp_path / "images-00003-of-00004.tfrecord", whole)
    with pytest.raises(ValueError, match="images-00003.* does not belong to .*index.npz"):
        open_source(f"tfrecord:{tmp_path}/images-*.tfrecord")


def examples(path, **features):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for row in zip(*features.values()):
            feature = {
                key: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
                if isinstance(value, bytes)
                else tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
                for key, value in zip(features, row)
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())


def test_records_of_other_programs(tmp_path):
    files = [encoded(as_image(drawn(6, 8, seed=n)), "PNG") for n in range(3)]
    examples(tmp_path / "a.tfrecord", **{"image/encoded": files, "image/class/label": [7, 0, 2]})
    source = open_source(f"tfrecord:{tmp_path}/a.tfrecord")
    assert source.labels.tolist() == [7, 0, 2] and source.num_classes == 8
    np.testing.assert_array_equal(source.image(tf.constant(1, tf.int64), 3), drawn(6, 8, seed=1))
    examples(tmp_path / "b.tfrecord", image=files)
    assert open_source(f"tfrecord:{tmp_path}/b.tfrecord").labels is None
    examples(tmp_path / "c.tfrecord", picture=files)
    with pytest.raises(ValueError, match="an encoded image called image or image/encoded, these hold picture"):
        open_source(f"tfrecord:{tmp_path}/c.tfrecord")


def test_index_of_records(tmp_path):
    with tf.io.TFRecordWriter(str(tmp_path / "one")) as writer:
        for length in (5, 0, 300):
            writer.write(b"x" * length)
    index = RecordIndex.of([str(tmp_path / "one")] * 2)
    assert index.length.tolist() == [5, 0, 300] * 2 and index.file.tolist() == [0] * 3 + [1] * 3
    assert index.offset[:3].tolist() == [12, 33, 49]


@pytest.mark.medium
@pytest.mark.parametrize("cache", ["memory", "disk"])
def test_kept_in_memory_or_on_disk(folder, whole, tmp_path, cache):
    prefix = "memory:" if cache == "memory" else f"disk:{tmp_path}/cache:"
    source = open_source(f"{prefix}folder:{folder}")
    assert source.num_classes == 3 and source.encoded
    # on disk they are records, whose batches are those of the folder by a test above
    assert_some((batches if cache == "memory" else one_by_one)(source), whole, slice(None))
    again, set_aside = (open_source(f"{kept}folder:{folder}", split="validation") for kept in (prefix, ""))
    assert again.num_images == set_aside.num_images and again.labels.tolist() == set_aside.labels.tolist()
    for number in range(set_aside.num_images):
        index = tf.constant(number, tf.int64)
        np.testing.assert_array_equal(again.image(index, 3), set_aside.image(index, 3))
    assert open_source(f"{prefix}digits").num_images == 4000  # is in memory already


@pytest.mark.medium
def test_paths_of_other_file_systems(folder, whole):
    """TensorFlow's file in memory stands in for gs://: no call may go past `tf.io.gfile`."""
    for place, _, names in os.walk(folder):
        below = os.path.join("ram://photographs", os.path.relpath(place, folder))
        tf.io.gfile.makedirs(below)
        for name in names:
            tf.io.gfile.copy(os.path.join(place, name), os.path.join(below, name), overwrite=True)
    remote = open_source("folder:ram://photographs")
    assert remote.num_images == open_source(f"folder:{folder}").num_images
    write_records(remote, "ram://records", num_files=2)
    records = open_source("tfrecord:ram://records/*.tfrecord")
    assert_some(one_by_one(records), whole, slice(None))

    contents = io.BytesIO()
    np.savez(contents, images=np.zeros((20, 4, 4, 1), "uint8"))
    with tf.io.gfile.GFile("ram://arrays.npz", "wb") as file:
        file.write(contents.getvalue())
    assert open_source("npz:ram://arrays.npz").num_images == 20


def test_records_of_both_depths_are_read_in_16_bits(tmp_path):
    """As the folder that they were made from, though the first has 8; with the index or without."""
    for number in range(4):
        picture = drawn(6, 6, 1, seed=number).astype("uint16" if number == 2 else "uint8")
        write(str(tmp_path / "d" / f"{number}.png"), encoded(as_image(picture), "PNG"))
    source = FolderSource(str(tmp_path / "d"))
    write_records(source, str(tmp_path / "r"), 1)
    pattern = f"tfrecord:{tmp_path / 'r'}/*.tfrecord"
    assert source.dtype == open_source(pattern).dtype == "uint16"
    os.remove(tmp_path / "r" / "index.npz")
    assert open_source(pattern).dtype == "uint16"
