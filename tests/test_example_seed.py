"""Random numbers by (seed, step, example): against Philox in plain Python, under XLA, and split over replicas."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from keras_mae.data.augmentation import crop_draws
from keras_mae.data.fine_tuning import FineTuningAugmentation
from keras_mae.data.mixing import mix_batch
from keras_mae.data.rand_augment import RandAugment
from keras_mae.example_seed import ExampleSeed
from keras_mae.masking import BlockMasking, GridMasking, RandomMasking, UnitMasking
from tests.base import geometry, random_images, small_encoder
from tests.reference import philox


def test_reference_gives_the_published_vectors():
    """Known answers of Random123's own test file (kat_vectors, philox4x32 10)."""
    assert philox.philox4x32([0] * 4, [0] * 2) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    digits_of_pi = [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344], [0xA4093822, 0x299F31D0]
    assert philox.philox4x32(*digits_of_pi) == [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]


@given(
    seed=st.integers(0, 2**31 - 1),
    step=st.integers(0, 2**31 - 1),
    first=st.integers(0, 2**31 - 1),
    width=st.integers(1, 9),
    purpose=st.none() | st.integers(0, 1000),
)
def test_is_philox(seed, step, first, width, purpose):
    example_seed = ExampleSeed.of(seed, step, first)
    if purpose is not None:
        example_seed = example_seed.fold_in(purpose)
    number = 0 if purpose is None else purpose + 1
    expected = [philox.uniform(seed, step, number, first + row, width) for row in range(2)]
    np.testing.assert_array_equal(example_seed.uniform(2, (width,)), np.array(expected, "float32"))


@pytest.mark.parametrize("shape", [(), (5,), (2, 3)])
def test_same_with_and_without_xla(shape):
    def draw(step, first):
        return ExampleSeed.of(7, step, first).fold_in(3).uniform(4, shape)

    arguments = tf.constant(11), tf.constant(13)
    eager = draw(*arguments)
    assert eager.shape == (4, *shape) and eager.dtype == tf.float32
    np.testing.assert_array_equal(tf.function(draw)(*arguments), eager)
    np.testing.assert_array_equal(tf.function(draw, jit_compile=True)(*arguments), eager)


@given(width=st.integers(1, 10), cut=st.integers(1, 7))
def test_rows_do_not_depend_on_how_the_batch_is_split(width, cut):
    whole = ExampleSeed.of(3, 5).uniform(8, (width,))
    parts = [ExampleSeed.of(3, 5, first).uniform(size, (width,)).numpy() for first, size in ((0, cut), (cut, 8 - cut))]
    np.testing.assert_array_equal(whole, np.concatenate(parts))


def test_everything_that_should_differ_does():
    base = ExampleSeed.of(1, 2)
    seeds = [
        base,
        ExampleSeed.of(2, 2),
        ExampleSeed.of(1, 3),
        ExampleSeed.of(2, 1),
        *(base.fold_in(number) for number in range(3)),
        *(base.fold_in(first).fold_in(second) for first in range(3) for second in range(3)),
    ]
    numbers = np.concatenate([seed.uniform(4, (3,)).numpy().reshape(-1) for seed in seeds])
    # 192 numbers of 24 bits: two would be equal by chance once in a thousand seeds, and these seeds are fixed
    assert len(np.unique(numbers)) == len(numbers)


def test_is_uniform():
    """Kolmogorov-Smirnov distance below 1.95 / sqrt(n): false-alarm rate 0.001, were the seed drawn anew each time."""
    numbers = np.sort(ExampleSeed.of(0, 0).uniform(1000, (10,)).numpy().reshape(-1))
    assert numbers[0] >= 0 and numbers[-1] < 1
    ranks = np.arange(len(numbers)) / len(numbers)
    assert np.abs(numbers - ranks).max() < 1.95 / np.sqrt(len(numbers))


def test_for_step_is_the_first_replica_without_a_strategy():
    given_step = ExampleSeed.for_step(1, tf.Variable(2, dtype=tf.int64), tf.constant(4)).uniform(4, (3,))
    np.testing.assert_array_equal(given_step, ExampleSeed.of(1, 2).uniform(4, (3,)))


def everything_that_draws():
    """All random steps of a data set and of a model, each with the seed (7, 3): of an epoch, and of a step."""
    seed = ExampleSeed.of(7, 3)
    image = tf.constant(random_images(1, (40, 40, 3))[0])
    augmentation = FineTuningAugmentation(jitter=0.4, rand_augment=RandAugment(probability=1.0), erasing=1.0)
    yield "fine-tuning's augmentation", lambda: augmentation(image, (32, 32, 3), seed)
    yield "mixing", lambda: mix_batch(random_images(2, (8, 8, 3)), [0, 1], 3, 7, 3)
    block = small_encoder(num_layers=2, drop_path_rate=0.5)
    images = random_images(2, (8, 12, 3))
    yield "drop path", lambda: block.encode(images, training=True, seed=seed)
    for sampler in (RandomMasking(), UnitMasking(), BlockMasking(), GridMasking()):
        sampler.attach(geometry((64, 64, 3), (16, 16)))
        yield f"masks: {type(sampler).__name__}", lambda sampler=sampler: sampler((4, 4), 2, seed)


def test_no_two_purposes_draw_the_same_numbers(monkeypatch):
    """What is drawn for one example of one step, or of one epoch, by everything: each of it is drawn once."""
    drawn, uniform, by = {}, ExampleSeed.uniform, ""

    def recorded(self, batch_size, shape):
        numbers = uniform(self, batch_size, shape)
        assert (int(self.key[0]), int(self.first)) == (7 * 2**32 + 3, 0)
        drawn.setdefault(int(self.purpose), []).append((by, numbers.numpy().reshape(-1)))
        return numbers

    monkeypatch.setattr(ExampleSeed, "uniform", recorded)
    for by, draw in everything_that_draws():  # noqa: B007
        draw()
    own = {purpose: of for purpose, of in drawn.items() if not of[0][0].startswith("masks")}
    assert len(own) == 4 + 3 + 3 + 2  # crop, flip, jitter, RandAugment; erasing; mixing; the second block
    assert all(len(of) == 1 for of in own.values())
    masks = {purpose: of for purpose, of in drawn.items() if purpose not in own}
    assert len(masks) == 2 and all(len(of) == len({name for name, _ in of}) for of in masks.values())
    first = np.concatenate([of[0][1][:4] for of in drawn.values()])
    assert len(np.unique(first)) == len(first)


def test_the_masks_of_step_0_are_not_the_crops_of_epoch_0():
    seed = ExampleSeed.of(0, 0)
    crops = crop_draws(seed).numpy().reshape(-1)
    noise = []

    class Recording(RandomMasking):
        def noise(self, grid, batch_size, seed, mask_ratio):
            noise.append(super().noise(grid, batch_size, seed, mask_ratio).numpy())
            return noise[0]

    Recording(0.5)((5, 8), 1, seed)
    assert not np.isin(noise[0], crops).any()


def test_a_number_folds_in_what_no_other_does():
    with pytest.raises(ValueError, match=r"a purpose is a number in \[0, 1023\), got 1023"):
        ExampleSeed.of(0, 0).fold_in(1023)
