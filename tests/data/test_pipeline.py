"""Training batches are a function of (seed, step): restarts, threads, epochs, labels."""

import numpy as np
import pytest
import tensorflow as tf

from keras_mae.data import (
    ArraySource,
    Augmentation,
    CorruptImages,
    FolderSource,
    TrainingData,
    evaluation_dataset,
    evaluation_transform,
    first_images,
    sample_images,
)
from tests.drawn import as_image, drawn, encoded, write, write_pictures

pytestmark = pytest.mark.usefixtures("png_and_jpeg")

AS_THEY_COME = Augmentation(crop_scale=None, flip=False, crop_ratio=1.0)
SHAPE = (10, 12, 3)
IMAGES = np.stack([drawn(*SHAPE, seed=seed) for seed in range(23)])
NUMBER_OF = {image.tobytes(): number for number, image in enumerate(IMAGES)}


def source(count=23):
    return ArraySource(IMAGES[:count], np.arange(count) * 10)


def batches(
    count, images=None, batch_size=4, seed=3, augmentation=Augmentation(), threads=None, with_labels=False, **place
):
    """The first `count` batches, as NumPy arrays."""
    images = source() if images is None else images
    data = TrainingData(images, SHAPE, batch_size, seed, augmentation, with_labels=with_labels)
    dataset = data.at(**place)
    if threads:
        options = tf.data.Options()
        options.threading.private_threadpool_size = threads
        dataset = dataset.with_options(options)
    found = list(dataset.take(count).as_numpy_iterator())
    assert not data.corrupt.names
    return found


@pytest.fixture(scope="module")
def from_the_start():
    """The first batches, which several tests compare others with."""
    return batches(17)


@pytest.mark.medium
def test_shapes_and_types():
    images, labels = batches(1, with_labels=True)[0]
    assert images.shape == (4, *SHAPE) and images.dtype == np.uint8
    assert labels.shape == (4,) and labels.dtype == np.int64
    spec, _ = TrainingData(source(), SHAPE, 4, 0, Augmentation(), with_labels=True).at().element_spec
    assert spec.shape.as_list() == [4, *SHAPE]  # static, so that a step is compiled once


@pytest.mark.medium
def test_a_seed_gives_the_same_batches_again_and_another_gives_others(from_the_start):
    once, again, other = from_the_start[:8], batches(8), batches(8, seed=4)
    np.testing.assert_array_equal(once, again)
    assert all((one != another).any() for one, another in zip(once, other))


@pytest.mark.medium
@pytest.mark.parametrize("step", [1, 5, 13])  # 5 steps are an epoch
def test_restarted_at_a_step_it_gives_the_batches_from_there(from_the_start, step):
    np.testing.assert_array_equal(batches(4, step=step), from_the_start[step : step + 4])


@pytest.mark.medium
@pytest.mark.parametrize("threads", [1, 7])
def test_the_number_of_threads_does_not_matter(from_the_start, threads):
    np.testing.assert_array_equal(batches(12, threads=threads), from_the_start[:12])


@pytest.mark.parametrize("seed", [0, 1, 2**31 - 1])
def test_every_epoch_is_another_permutation(seed):
    """23 images make 5 batches of 4; the 3 left out differ between epochs, or some images would never be seen."""
    orders = []
    stream = batches(30, seed=seed, augmentation=AS_THEY_COME)
    for epoch in range(6):
        images = np.concatenate(stream[5 * epoch : 5 * epoch + 5])
        numbers = [NUMBER_OF[image.tobytes()] for image in images]
        assert len(set(numbers)) == 20  # no image twice
        orders.append(tuple(numbers))
    assert len(set(orders)) == 6
    assert set().union(*orders) == set(range(23))


def test_one_batch_may_hold_all_images():
    stream = batches(2, batch_size=23, augmentation=AS_THEY_COME)
    for images in stream:
        assert sorted(NUMBER_OF[image.tobytes()] for image in images) == list(range(23))


@pytest.mark.medium
def test_shuffling_is_uniform():
    """Each of 5 images at each of 5 places in 1000 epochs: Binomial(1000, 1/5), z below 5 with a false-alarm rate
    of 25 x 6e-7 = 1.4e-5, were the seed drawn anew each time.
    """
    stream = batches(1000, source(5), batch_size=5, augmentation=AS_THEY_COME)
    counts = np.zeros((5, 5))
    for images in stream:
        for place, image in enumerate(images):
            counts[place, NUMBER_OF[image.tobytes()]] += 1
    z = (counts - 200) / np.sqrt(1000 * 0.2 * 0.8)
    assert np.abs(z).max() < 5, counts


def test_labels_travel_with_their_images():
    for images, labels in batches(12, augmentation=AS_THEY_COME, with_labels=True):
        assert [NUMBER_OF[image.tobytes()] * 10 for image in images] == labels.tolist()


def test_an_image_is_augmented_in_another_way_in_every_epoch():
    one_image = source(1)
    stream = batches(8, one_image, batch_size=1, augmentation=Augmentation(crop_scale=(0.3, 0.9), flip=False))
    assert len(np.unique(np.stack(stream), axis=0)) == 8


def test_two_equal_images_are_augmented_in_different_ways():
    twins = ArraySource(np.repeat(IMAGES[:1], 6, axis=0))
    assert len(np.unique(batches(1, twins, batch_size=6)[0], axis=0)) == 6


@pytest.mark.medium
def test_a_folder_gives_the_batches_of_its_arrays(tmp_path):
    """Arrays are resized by the batch, which rounds differently once in a while."""
    write_pictures(tmp_path, 23, size=SHAPE[:2])
    found, expected = (np.stack(batches(7, images)).astype(int) for images in (FolderSource(str(tmp_path)), source()))
    assert np.abs(found - expected).max() <= 1 and (found != expected).mean() < 0.001


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """JPEG files in two classes, of which one file is of another kind."""
    path = tmp_path_factory.mktemp("folder")
    for number in range(24):
        form = "png" if number == 7 else "jpeg"
        contents = encoded(as_image(drawn(30 + number, 50 - number, seed=number)), form)
        write(path / "ab"[number % 2] / f"{number:02}.{form}", contents)
    return str(path)


@pytest.mark.medium
def test_hosts_make_disjoint_parts_of_the_same_batches():
    arguments = {"images": source(20), "batch_size": 8, "with_labels": True, "augmentation": Augmentation(flip=False)}
    whole = batches(7, **arguments)
    parts = [batches(7, num_hosts=4, host=host, **arguments) for host in range(4)]
    for step, (expected, labels) in enumerate(whole):
        found = np.concatenate([part[step][0] for part in parts]).astype(int)
        assert np.abs(found - expected).max() <= 1
        assert np.concatenate([part[step][1] for part in parts]).tolist() == labels.tolist()
    restarted = batches(3, num_hosts=4, host=1, step=4, **arguments)
    for one, other in zip(restarted, parts[1][4:], strict=True):
        np.testing.assert_array_equal(one[0], other[0])
    for step in range(2):  # an epoch has two steps: no host sees what another sees
        seen = [set(part[step][1].tolist()) for part in parts]
        assert len(set.union(*seen)) == sum(map(len, seen)) == 8


@pytest.mark.medium
def test_hosts_make_parts_of_a_folder_s_batches_wherever_they_begin(folder):
    source = FolderSource(folder)
    data = TrainingData(source, SHAPE, 8, 3, AS_THEY_COME, with_labels=True)
    part = list(data.at(step=4, num_hosts=2, host=1).take(3).as_numpy_iterator())
    for step, (images, labels) in enumerate(part, 4):
        indices = data.indices(step)[4:]
        whole = [source.image(tf.constant(index), 3) for index in indices]
        np.testing.assert_array_equal(images, [evaluation_transform(image, SHAPE, 1.0) for image in whole])
        assert labels.tolist() == source.labels[indices].tolist()
    assert len(part) == 3


def test_hosts_that_cannot_share():
    with pytest.raises(ValueError, match="batch of 4 cannot be shared evenly by 3 hosts"):
        batches(1, num_hosts=3)
    with pytest.raises(ValueError, match="numbered from 0 to 1, got host=2 of num_hosts=2"):
        batches(1, num_hosts=2, host=2)


def test_labels_that_are_not_there():
    with pytest.raises(ValueError, match=r"labels are needed, and these images have none, such as array\[0\]"):
        batches(1, ArraySource(IMAGES), with_labels=True)


def evaluated(images, **arguments):
    return list(evaluation_dataset(images, SHAPE, 5, **arguments).as_numpy_iterator())


@pytest.mark.medium
def test_evaluation_is_in_order_and_whole(folder):
    images = FolderSource(folder)
    found = evaluated(images, with_labels=True)
    assert [len(labels) for _, labels in found] == [5, 5, 5, 5, 4]
    pictures, labels = (np.concatenate(part) for part in zip(*found))
    assert labels.tolist() == images.labels.tolist() == [0] * 12 + [1] * 12
    for index in range(24):
        whole = images.image(tf.constant(index, tf.int64), 3)
        np.testing.assert_array_equal(pictures[index], evaluation_transform(whole, SHAPE))
    np.testing.assert_array_equal(np.concatenate(evaluated(source(), crop_ratio=1.0)), IMAGES)


def test_evaluation_shared_by_hosts():
    for host in range(3):
        part = np.concatenate(evaluated(source(), crop_ratio=1.0, num_hosts=3, host=host))
        np.testing.assert_array_equal(part, IMAGES[host::3])


@pytest.mark.medium
@pytest.mark.parametrize("host", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_evaluation_by_hosts_names_and_leaves_out_what_is_corrupt(tmp_path, host):
    write_pictures(tmp_path, 230, size=SHAPE[:2], corrupt=(3, 229))
    images = FolderSource(str(tmp_path))
    corrupt = CorruptImages(images)
    found = np.concatenate(evaluated(images, crop_ratio=1.0, corrupt=corrupt, num_hosts=2, host=host))
    expected = [number for number in range(host, 230, 2) if number not in (3, 229)]
    np.testing.assert_array_equal(found, np.stack([drawn(*SHAPE, seed=n) for n in expected]))
    # 229, the last, is looked at by every host before the first batch
    assert sorted(corrupt.names) == ([229] if host == 0 else [3, 229])


@pytest.mark.medium
@pytest.mark.parametrize("shape", [(10, 12, 3), (6, 6, 3)])
def test_16_bits_become_levels_with_fractions(shape):
    images = np.stack([drawn(*SHAPE, seed=n).astype("uint16") * 257 for n in range(8)])
    images[0] = np.minimum(images[0].astype(int) + 100, 65535)
    sixteen = ArraySource(images)
    evaluated = evaluated_as(sixteen, shape)
    for one, other in zip(evaluated, evaluated_as(ArraySource(IMAGES[:8]), shape), strict=True):
        assert one.dtype == np.float32 and other.dtype == np.uint8
        assert np.abs(one - other).max() <= 1.4  # 100 / 257, and 0.5 twice: each direction is rounded
    assert np.abs(evaluated[0][0] % 1).max() > 0.3
    stream = TrainingData(sixteen, shape, 4, 0, Augmentation()).at()
    assert stream.element_spec.dtype == tf.float32 and 10 < next(iter(stream)).numpy().max() <= 255
    first = first_images(sixteen, shape, 2, 1.0)
    assert first.dtype == np.uint16
    np.testing.assert_allclose(first / 257, evaluated[0][:2], rtol=0, atol=2e-5)  # float32 at 255


def evaluated_as(images, shape):
    return list(evaluation_dataset(images, shape, 5, 1.0).as_numpy_iterator())


def test_batch_size_out_of_range():
    for batch_size in (0, -1, 24):
        with pytest.raises(
            ValueError, match=f"between 1 and all 23 images, got batch_size={batch_size}; set a smaller"
        ):
            batches(1, batch_size=batch_size)


@pytest.mark.medium
def test_first_images(tmp_path):
    write_pictures(tmp_path, 6, size=SHAPE[:2], corrupt=(0, 3))
    images = first_images(FolderSource(str(tmp_path)), SHAPE, 3, crop_ratio=1.0)
    np.testing.assert_array_equal(images, IMAGES[[1, 2, 4]])
    assert len(first_images(source(), SHAPE, 99, 1.0)) == 23


@pytest.mark.medium
def test_sample_images(tmp_path):
    """From everywhere, always the same, as many as asked for though some are corrupt; the smaller begins the larger."""
    write_pictures(tmp_path, 23, size=SHAPE[:2], corrupt=(0, 3, 11))
    images = sample_images(FolderSource(str(tmp_path)), SHAPE, 99, crop_ratio=1.0)
    numbers = [NUMBER_OF[image.tobytes()] for image in images]
    assert sorted(numbers) == [n for n in range(23) if n not in (0, 3, 11)] and numbers != sorted(numbers)
    assert max(numbers[:7]) > 15
    smaller, larger = (sample_images(source(), SHAPE, count, 1.0) for count in (7, 99))
    np.testing.assert_array_equal(smaller, larger[:7])


@pytest.mark.medium
def test_a_sample_of_16_bits_is_what_batches_hold():
    deep = np.random.default_rng(0).integers(0, 4096, (5, *SHAPE)).astype("uint16")  # 12 bits: 16 of 256 levels
    found = sample_images(ArraySource(deep), SHAPE, 5, 1.0)
    assert found.dtype == np.float32 and len(np.unique(found)) > 1000
    expected = evaluated_as(ArraySource(deep), SHAPE)[0]
    np.testing.assert_array_equal(found[np.lexsort(found[:, 0, 0].T)], expected[np.lexsort(expected[:, 0, 0].T)])
