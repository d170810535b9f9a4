"""The vectors of all images: each once, in order, the same bytes however often it was interrupted."""

import errno
import fcntl
import logging
import os

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from keras_mae.retrieval import embedding, open_vectors, shards, write_vectors
from keras_mae.retrieval.embedding import Interrupted
from tests.retrieval.embedding import (
    FileSource,
    array_source,
    batches_at,
    check,
    contents,
    embed,
    embedder,
    images_of,
)

pytestmark = pytest.mark.medium
OUTPUTS = ("vectors.parquet", "vectors.npz", "vectors")
SLOW_NPZ = pytest.param("vectors.npz", marks=pytest.mark.slow)


def after(calls):
    """A function that is true from the call of this number on, counted from 1."""
    count = iter(range(1, 10**6))
    return lambda: next(count) >= calls


@pytest.fixture(autouse=True)
def quick_images(monkeypatch):
    """Images come, and corrupt files are found, without the graphs that read and decode."""
    monkeypatch.setattr(embedding, "batches_at", batches_at)
    monkeypatch.setattr(embedding, "look_at_some", lambda *arguments: None)


@pytest.fixture
def by_the_graphs(quick_images, monkeypatch):
    monkeypatch.undo()


@pytest.mark.parametrize("name", OUTPUTS)
def test_every_image_has_one_row(tmp_path, name, request):
    if name == OUTPUTS[0]:
        request.getfixturevalue("by_the_graphs")
    source, output = array_source(30), tmp_path / name
    done = embed(source, output, batch_size=4, size=9)
    assert (done.num_vectors, done.num_images, done.dim, done.was_there) == (30, 30, 6, False)
    vectors = check(output, source)
    assert vectors.class_names == ("a", "b", "c") and vectors.names[0] == "images[0]"
    assert os.listdir(output.parent) == [name]


@hypothesis.settings(max_examples=3, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@hypothesis.given(st.data())
def test_corrupt_images_shift_nothing_and_interruptions_change_no_byte(tmp_path_factory, data):
    count, name = data.draw(st.integers(100, 130)), data.draw(st.sampled_from(OUTPUTS))
    batch_size, size = data.draw(st.integers(1, 20)), data.draw(st.integers(1, 60))
    corrupt = data.draw(st.sets(st.integers(0, count - 1), max_size=1))
    source, folder = FileSource(images_of(count), np.arange(count) % 3, corrupt), tmp_path_factory.mktemp("embedded")
    whole, broken = folder / "whole" / name, folder / "broken" / name
    embed(source, whole, batch_size, size)
    check(whole, source, corrupt)
    listed = os.path.join(f"{whole}.corrupt.txt")
    assert os.path.exists(listed) == bool(corrupt)
    for number in corrupt:
        assert contents(listed)[0][1] == b"%d.raw\tcannot be decoded\n" % number

    interrupted = False
    for _ in range(2):
        try:
            embed(source, broken, batch_size, size, is_asked_to_end=after(data.draw(st.integers(1, 12))))
        except Interrupted as error:
            interrupted = f" of {count} images are embedded, in {broken}.shards; the same command" in str(error)
            assert interrupted and not broken.exists()
    embed(source, broken, batch_size, size)
    assert contents(broken) == contents(whole)
    assert os.listdir(folder / "broken") == os.listdir(folder / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("name", OUTPUTS)
def test_corrupt_files_are_found_as_they_are_read(tmp_path, name, caplog, by_the_graphs):
    """Of 402 images four are corrupt: the first and the last of a shard, one in a batch, and the last of all."""
    caplog.set_level(logging.INFO, "keras_mae")
    images, corrupt = images_of(402), (0, 159, 170, 401)
    source = FileSource(images, np.arange(402) % 3, corrupt)
    embed(source, tmp_path / name, 16, 80)
    check(tmp_path / name, source, corrupt)
    listed = (tmp_path / f"{name}.corrupt.txt").read_text()
    assert listed == "".join(f"{number}.raw\tcannot be decoded\n" for number in corrupt)

    again = tmp_path / "again" / name
    caplog.clear()
    for batches in (2, 8, 9):  # asked to end in the first shard, in the second, and after one more
        with pytest.raises(Interrupted, match=r"\d+ of 402 images are embedded, in .*shards; the same command without"):
            embed(source, again, 16, 80, is_asked_to_end=after(batches))
        assert not again.exists()
    embed(source, again, 16, 80)
    assert contents(again) == contents(tmp_path / name)
    assert (tmp_path / "again" / f"{name}.corrupt.txt").read_text() == listed
    continued = [record.message for record in caplog.records if "continues after" in record.message]
    assert [message.partition(": ")[2] for message in continued] == [
        "continues after 80 of 402 images",
        "continues after 160 of 402 images",
    ]


def test_a_keyboard_interrupt_says_how_far_it_came(tmp_path):
    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="interrupted: 0 of 20 images are embedded, in .*: the same|; the same"):
        embed(array_source(20), tmp_path / "vectors.npz", is_asked_to_end=interrupt)
    assert os.listdir(tmp_path) == []


def test_what_is_there_is_told_and_other_vectors_are_refused(tmp_path):
    source, output = array_source(20), tmp_path / "vectors.parquet"
    embed(source, output)
    before = contents(output)
    assert embed(source, output).was_there and embed(source, output, batch_size=5).was_there
    message = "weights.digest: 'ab' there, 'cd' now. Name another --output, or discard them with --overwrite"
    with pytest.raises(ValueError, match=f"vectors.parquet holds vectors that were made otherwise: {message}"):
        embed(source, output, header={"weights": {"kind": "run", "source": "encoder.keras", "digest": "cd"}})
    with pytest.raises(ValueError, match="made otherwise: num_images: 20 there, 21 now; data_digest: "):
        embed(array_source(21), output)
    assert contents(output) == before and os.listdir(tmp_path) == ["vectors.parquet"]
    embed(array_source(21), output, overwrite=True)
    check(output, array_source(21))


@pytest.mark.parametrize("name", [OUTPUTS[0], SLOW_NPZ, OUTPUTS[2]])
def test_vectors_that_are_replaced_stay_until_the_new_ones_are_there(tmp_path, name):
    output = tmp_path / name
    embed(array_source(20), output)
    with pytest.raises(Interrupted):
        embed(array_source(40), output, overwrite=True, is_asked_to_end=after(5))
    check(output, array_source(20))
    embed(array_source(40), output)  # continues
    check(output, array_source(40))
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("name", [OUTPUTS[0], SLOW_NPZ])
def test_shards_that_a_killed_process_has_left_go(tmp_path, name, monkeypatch):
    output = tmp_path / name
    with monkeypatch.context() as patch:
        patch.setattr(shards, "_remove_shards", lambda folder: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            embed(array_source(20), output)
    embed(array_source(20), output)
    check(output, array_source(20))
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("name", [OUTPUTS[0], pytest.param(OUTPUTS[2], marks=pytest.mark.slow)])
def test_other_shards_are_refused(tmp_path, name):
    source, output = array_source(40), tmp_path / name
    with pytest.raises(Interrupted):
        embed(source, output, is_asked_to_end=after(5))
    with pytest.raises(
        ValueError, match="shards holds vectors that were made otherwise: dtype: 'float32' there, 'float1"
    ):
        embed(source, output, dtype="float16")
    with pytest.raises(ValueError, match="made otherwise: batch_size: 4 there, 2 now. Name another"):
        embed(source, output, batch_size=2)
    with pytest.raises(
        ValueError, match="holds [12] of 5 shards: type the keras-mae embed that has begun them once more"
    ):
        open_vectors(f"{output}.shards")
    embed(source, output, batch_size=2, overwrite=True)
    check(output, source)
    assert os.listdir(tmp_path) == [name]


def test_nothing_but_vectors_is_discarded(tmp_path):
    source = array_source(9)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_text("mine")
    (tmp_path / "vectors.parquet.shards").mkdir()
    (tmp_path / "vectors.parquet.shards" / "notes.txt").write_text("mine")
    (tmp_path / "table.parquet").write_text("mine")
    for overwrite in (False, True):
        for name, message in (
            ("photos", "holds something that is no vectors, such as a.png|holds no vectors"),
            ("vectors.parquet", "shards holds something that is no vectors, such as notes.txt: name another output"),
            ("table.parquet", "table.parquet is damaged, or no file of vectors"),
            ("photos/a.png", "into a .parquet file, a .npz file or a folder of shards: got .*; for a folder, type"),
            ("table.parquet/", "folder of shards: got .*table.parquet/; for a file, type"),
            ("photos/a.png/", "a.png is a file: name another output"),
        ):
            with pytest.raises((ValueError, OSError), match=message):
                embed(source, f"{tmp_path}/{name}", overwrite=overwrite)
    assert (tmp_path / "photos" / "a.png").read_text() == (tmp_path / "table.parquet").read_text() == "mine"
    assert sorted(os.listdir(tmp_path)) == ["photos", "table.parquet", "vectors.parquet.shards"]


def test_one_process_at_a_time(tmp_path):
    folder = tmp_path / "vectors.npz.shards"
    folder.mkdir()
    held = os.open(folder, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    with pytest.raises(ValueError, match="another process is writing to .*vectors.npz.shards at this moment"):
        embed(array_source(9), tmp_path / "vectors.npz")
    os.close(held)
    embed(array_source(9), tmp_path / "vectors.npz")


def test_a_full_disk_keeps_what_is_done(tmp_path, monkeypatch):
    source, output, write = array_source(40), tmp_path / "vectors", shards.write_parquet

    def full(path, *arguments):
        if "00002-of" in path:
            write(path, *arguments)
            raise OSError(errno.ENOSPC, "No space left on device", path)
        write(path, *arguments)

    monkeypatch.setattr(shards, "write_parquet", full)
    with pytest.raises(
        OSError, match=r"No space left on device.*; 16 of 40 images are embedded, in .*vectors.shards; the"
    ):
        embed(source, output)
    assert sorted(os.listdir(f"{output}.shards")) == [f"vectors-0000{n}-of-00005.parquet" for n in (0, 1)]
    monkeypatch.undo()
    embed(source, output)
    check(output, source)


def test_what_was_half_written_or_damaged_is_made_anew(tmp_path, caplog):
    caplog.set_level(logging.INFO, "keras_mae")
    source, output = array_source(40), tmp_path / "vectors"
    embed(source, output)
    whole = contents(output)
    os.rename(output, f"{output}.shards")
    (tmp_path / "vectors.shards" / "vectors-00003-of-00005.writing-0123abcd.parquet").write_bytes(b"half")
    path = tmp_path / "vectors.shards" / "vectors-00001-of-00005.parquet"
    path.write_bytes(path.read_bytes()[:100])
    os.remove(tmp_path / "vectors.shards" / "vectors-00003-of-00005.parquet")
    embed(source, output)
    assert contents(output) == whole
    assert "vectors-00001-of-00005.parquet is damaged" in caplog.text and "continues after 24 of 40" in caplog.text


def test_vectors_that_are_not_finite_are_refused(tmp_path):
    with pytest.raises(
        ValueError, match="the encoder's features of 4 of 4 images are not finite: its weights hold NaN"
    ):
        embed(array_source(9), tmp_path / "vectors.npz", made_by=embedder(lambda found: found * np.nan))
    with pytest.raises(ValueError, match="a number of a vector is 2.5.e.06, and float16 holds up to 65504: leave out"):
        embed(array_source(9), tmp_path / "vectors.npz", made_by=embedder(lambda found: 1e4 * found), dtype="float16")
    assert os.listdir(tmp_path) == []
    embed(array_source(9), tmp_path / "vectors.npz", dtype="float16")
    found = open_vectors(str(tmp_path / "vectors.npz"))
    np.testing.assert_allclose(found.array(), check_float32(tmp_path), rtol=2**-11)


def check_float32(folder):
    embed(array_source(9), folder / "wide.npz")
    return check(folder / "wide.npz", array_source(9)).array()


def test_too_many_corrupt_images_are_refused(tmp_path):
    source = FileSource(images_of(100), np.zeros(100, int), corrupt=(3, 50))
    with pytest.raises(
        ValueError, match="2 of 100 images cannot be decoded, more than the tolerated 1 %: /files/3.raw, /"
    ):
        embed(source, tmp_path / "vectors.parquet", 10, 10)


def test_a_batch_has_an_image(tmp_path):
    with pytest.raises(ValueError, match="a batch holds at least 1 image, got batch_size=0"):
        embed(array_source(9), tmp_path / "vectors.npz", batch_size=0)


def test_a_file_of_vectors_by_hand_is_not_overwritten(tmp_path):
    """Vectors of another program have no header that could be the same."""
    write_vectors(str(tmp_path / "vectors.npz"), ["a"], np.zeros(1), None, np.zeros((1, 2)), {})
    with pytest.raises(ValueError, match="made otherwise: weights.kind: None there, 'run' now"):
        embed(array_source(9), tmp_path / "vectors.npz")
