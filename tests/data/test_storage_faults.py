"""Storage that fails: waited for within bounds, named, and the same batches afterwards."""

import os
import threading
import time

import numpy as np
import pytest
import tensorflow as tf

from keras_mae.data import Augmentation, FolderSource, TrainingData, open_source, patient_reading
from keras_mae.data.patient_reading import storage_errors
from keras_mae.data.record_source import open_records
from keras_mae.data.record_writer import write_records
from tests.drawn import as_image, drawn, encoded, write, write_pictures

pytestmark = pytest.mark.usefixtures("png_and_jpeg")

COUNT, SHAPE, BATCH, STEPS = 120, (5, 6, 3), 20, 9
AS_THEY_COME = Augmentation(crop_scale=None, flip=False, crop_ratio=1.0)


def stream_of(source):
    data = TrainingData(source, SHAPE, BATCH, 5, AS_THEY_COME)
    return data.at(), data.corrupt


def images_of(stream):
    with storage_errors():
        return np.concatenate(list(stream.take(STEPS).as_numpy_iterator()))


@pytest.fixture
def folder(tmp_path):
    return write_pictures(tmp_path / "pictures", COUNT, size=SHAPE[:2])


@pytest.mark.medium
def test_a_folder_that_disappears_for_a_while_changes_nothing(folder, capfd, monkeypatch):
    monkeypatch.setattr(patient_reading, "FIRST_DELAY", 0.25)  # tries after 0.25, 0.75, 1.75, 3.75 s
    data = TrainingData(FolderSource(folder), SHAPE, BATCH, 5, AS_THEY_COME)
    stream = data.at()
    os.rename(folder, f"{folder}.away")
    back = threading.Timer(4.0, os.rename, (f"{folder}.away", folder))
    back.start()
    found = images_of(stream)
    back.join()
    shown = [index for step in range(STEPS) for index in data.indices(step)]
    np.testing.assert_array_equal(found, [drawn(*SHAPE[:2], seed=index) for index in shown])
    assert not data.corrupt.names
    assert f'cannot read "{folder}/' in capfd.readouterr().err


@pytest.mark.medium
def test_a_folder_that_stays_away_ends_the_stream_in_one_line(folder, monkeypatch):
    monkeypatch.setattr(patient_reading, "OUTAGE", 3.0)
    stream, _ = stream_of(FolderSource(folder))
    os.rename(folder, f"{folder}.away")
    begin = time.monotonic()
    with pytest.raises(OSError, match=rf"^the storage fails: cannot read {folder}/\d+.png; it did not come back withi"):
        images_of(stream)
    assert time.monotonic() - begin < 60  # it waits 1 and 2 seconds; the rest is a busy machine's


@pytest.mark.medium
def test_a_file_that_is_gone_and_one_that_is_a_folder_are_told_from_a_corrupt_one(folder, monkeypatch):
    monkeypatch.setattr(patient_reading, "ALONE", 1.0)
    stream, corrupt = stream_of(FolderSource(folder))
    os.remove(f"{folder}/017.png")
    with open(f"{folder}/030.png", "wb") as file:
        file.write(b"no image")
    os.remove(f"{folder}/060.png")
    os.mkdir(f"{folder}/060.png")
    assert len(images_of(stream)) == STEPS * BATCH
    message = (
        r"3 of 120 images cannot be used, more than the tolerated 1 %: 1 cannot be decoded: .*/030.png; 1 is missing: "
        r".*/017.png; 1 cannot be read: .*/060.png; remove or repair them"
    )
    with pytest.raises(ValueError, match=message):
        corrupt.check()
    assert corrupt.summary() == "3 of 120 images were skipped: 1 cannot be decoded, 1 is missing, 1 cannot be read"


@pytest.mark.medium
def test_a_damaged_record_is_one_image(folder, tmp_path):
    paths = write_records(FolderSource(folder), str(tmp_path / "records"), 2)
    source = open_records(f"{tmp_path}/records/*.tfrecord")
    place = source.index.offset[50] + source.index.length[50] // 2
    with open(paths[source.index.file[50]], "r+b") as file:
        file.seek(place)
        byte = file.read(1)
        file.seek(place)
        file.write(bytes([byte[0] ^ 255]))
    stream, corrupt = stream_of(source)
    begin = time.monotonic()
    assert len(images_of(stream)) == STEPS * BATCH
    assert list(corrupt.names) == [50] and corrupt.summary().endswith("because they cannot be decoded")
    assert time.monotonic() - begin < patient_reading.ALONE  # nothing is waited for: the bytes can be read


def test_one_odd_file_or_name_concerns_one_file(tmp_path, caplog):
    """None of these ends the folder: each is an image, is missing, or is left out by name."""
    folder = write_pictures(tmp_path / "pictures", 3, size=SHAPE[:2])
    contents = encoded(as_image(drawn(*SHAPE[:2], seed=7)), "PNG")
    for name in (b"caf\xe9.png", b"line\nbreak.png", b"star*[1].png"):
        with open(os.path.join(os.fsencode(folder), name), "wb") as file:
            file.write(contents)
    os.symlink("x.png", f"{folder}/x.png")
    os.symlink("nowhere", f"{folder}/dangling.png")
    os.mkfifo(f"{folder}/pipe.png")
    os.symlink("pipe.png", f"{folder}/link.png")
    source = open_source(f"folder:{folder}")
    names = [os.path.basename(source.name_of(index)) for index in range(source.num_images)]
    odd = [r"caf\xe9.png", "dangling.png", r"line\nbreak.png", "star*[1].png", "x.png"]
    assert names == ["000.png", "001.png", "002.png", *odd]
    for index in (3, 5, 6):
        np.testing.assert_array_equal(source.image(tf.constant(index, tf.int64), 3), drawn(*SHAPE[:2], seed=7))
        assert bool(patient_reading.exists(source.path_at(index)))
    assert not bool(patient_reading.exists(source.path_at(4)))
    left_out = {record.message for record in caplog.records}
    assert left_out == {f"left out, is not a file: {folder}/{name}.png" for name in ("pipe", "link")}


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_depth_of_tiff_files_is_read_from_their_headers(tmp_path, channels, big):
    write(tmp_path / "a.tif", b"")  # one bad file refuses no folder
    pixels = np.random.default_rng(0).integers(0, 65536, (8, 9, channels), "uint16")
    for dtype in ("uint8", "uint16"):
        tifffile = pytest.importorskip("tifffile")
        tifffile.imwrite(
            tmp_path / "b.tif", pixels.astype(dtype), bigtiff=big, photometric=("minisblack", "rgb")[channels // 3]
        )
        assert FolderSource(str(tmp_path)).dtype == dtype


@pytest.mark.parametrize(
    ("label", "said"),
    [
        (tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"cat"])), r"\[b'cat'\]"),
        (tf.train.Feature(float_list=tf.train.FloatList(value=[0.5])), r"\[0.5\]"),
        (tf.train.Feature(int64_list=tf.train.Int64List(value=[2, 7])), r"\[2, 7\]"),
    ],
)
def test_records_whose_labels_are_no_integers(tmp_path, label, said):
    path = str(tmp_path / "text.tfrecord")
    with tf.io.TFRecordWriter(path) as writer:
        for number in range(3):
            image = encoded(as_image(drawn(*SHAPE[:2], seed=number)), "PNG")
            feature = {"label": label}
            if number:
                feature["image"] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[image]))
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
    source = open_records(path)
    np.testing.assert_array_equal(source.image(tf.constant(2, tf.int64), 3), drawn(*SHAPE[:2], seed=2))
    assert not source.labelled
    with pytest.raises(ValueError, match=rf"text.tfrecord: a label is one integer, counted from 0; got {said}"):
        source.required_labels()


def test_a_record_file_that_was_cut_off_gives_what_is_whole(tmp_path, caplog):
    folder = write_pictures(tmp_path / "pictures", 8, size=SHAPE[:2])
    paths = write_records(FolderSource(folder), str(tmp_path / "records"), 2)
    os.remove(tmp_path / "records" / "index.npz")
    os.truncate(paths[1], os.path.getsize(paths[1]) - 3)
    write(tmp_path / "records" / "zero.tfrecord", b"")
    assert open_records(f"{tmp_path}/records/*").num_images == 7
    assert f"{paths[1]}: record 3 does not end within the file" in caplog.text
