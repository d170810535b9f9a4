"""Training batches are a function of (seed, step): restarts, threads, epochs, labels."""

import numpy as np
import pytest
import tensorflow as tf

from keras_mae.data import ArraySource, Augmentation, CorruptImages, FolderSource, first_images, training_dataset
from tests.drawn import drawn, write_pictures

AS_THEY_COME = Augmentation(crop_scale=None, flip=False, crop_ratio=1.0)
SHAPE = (10, 12, 3)
IMAGES = np.stack([drawn(*SHAPE, seed=seed) for seed in range(23)])
NUMBER_OF = {image.tobytes(): number for number, image in enumerate(IMAGES)}


def source(count=23):
    return ArraySource(IMAGES[:count], np.arange(count) * 10)


def batches(count, images=None, batch_size=4, seed=3, augmentation=Augmentation(), threads=None, **arguments):
    """The first `count` batches, as NumPy arrays."""
    images = source() if images is None else images
    corrupt = CorruptImages(images.num_images, images.name_of)
    dataset = training_dataset(images, SHAPE, batch_size, seed, augmentation, corrupt, **arguments)
    if threads:
        options = tf.data.Options()
        options.threading.private_threadpool_size = threads
        dataset = dataset.with_options(options)
    found = list(dataset.take(count).as_numpy_iterator())
    assert not corrupt.names
    return found


def test_shapes_and_types():
    images, labels = batches(1, with_labels=True)[0]
    assert images.shape == (4, *SHAPE) and images.dtype == np.uint8
    assert labels.shape == (4,) and labels.dtype == np.int64
    corrupt = CorruptImages(23, str)
    spec = training_dataset(source(), SHAPE, 4, 0, Augmentation(), corrupt).element_spec
    assert spec.shape.as_list() == [4, *SHAPE]  # static, so that a step is compiled once


def test_a_seed_gives_the_same_batches_again_and_another_gives_others():
    once, again, other = batches(8), batches(8), batches(8, seed=4)
    np.testing.assert_array_equal(once, again)
    assert all((one != another).any() for one, another in zip(once, other))


@pytest.mark.parametrize("first_step", [1, 5, 13])  # 5 steps are an epoch
def test_restarted_at_a_step_it_gives_the_batches_from_there(first_step):
    np.testing.assert_array_equal(batches(4, first_step=first_step), batches(first_step + 4)[first_step:])


@pytest.mark.parametrize("threads", [1, 7])
def test_the_number_of_threads_does_not_matter(threads):
    np.testing.assert_array_equal(batches(12, threads=threads), batches(12))


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


def test_a_folder_gives_the_batches_of_its_arrays(tmp_path):
    write_pictures(tmp_path, 23, size=SHAPE[:2])
    np.testing.assert_array_equal(batches(7, FolderSource(str(tmp_path))), batches(7))


def test_batch_size_out_of_range():
    for batch_size in (0, -1, 24):
        with pytest.raises(
            ValueError, match=f"between 1 and all 23 images, got batch_size={batch_size}; set a smaller"
        ):
            batches(1, batch_size=batch_size)


def test_first_images(tmp_path):
    write_pictures(tmp_path, 6, size=SHAPE[:2], corrupt=(0, 3))
    images = first_images(FolderSource(str(tmp_path)), SHAPE, 3, crop_ratio=1.0)
    np.testing.assert_array_equal(images, IMAGES[[1, 2, 4]])
    assert len(first_images(source(), SHAPE, 99, 1.0)) == 23
