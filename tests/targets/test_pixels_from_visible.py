"""Interpolation from visible patches: against sums written out, and by what it must not depend on."""

import numpy as np

from keras_mae.targets.pixels import interpolate_visible

NAN = np.nan


def interpolated(values, mask, grid):
    values, mask = (np.asarray(x, "float32").reshape(len(x), -1) for x in (values, mask))
    return interpolate_visible(values[..., None], mask, grid).numpy().reshape(-1, *grid)


def test_by_hand():
    """In between: the mean. At distances 1 and 2: weights 1 and 1/16."""
    found = interpolated([[10, NAN, 20, NAN]], [[0, 1, 0, 1]], (1, 4))
    np.testing.assert_allclose(found, [[[10, 15, 20, (20 + 10 / 81) / (1 + 1 / 81)]]], rtol=1e-6)
    # the middle of 2 x 3: neighbours at distances 1 and sqrt(2), so that weights are 1 and 1/4
    found = interpolated([[[8, NAN, NAN], [NAN, 4, NAN]]], [[[0, 1, 1], [1, 0, 1]]], (2, 3))
    np.testing.assert_allclose(found[0, 0, 1], 6, rtol=1e-6)
    np.testing.assert_allclose(found[0, 0, 2], (8 / 16 + 4 / 4) / (1 / 16 + 1 / 4), rtol=1e-6)


def test_against_a_slow_sum():
    rng = np.random.default_rng(0)
    grid = (5, 7)
    values, mask = rng.normal(size=(3, *grid)), rng.random((3, *grid)) < 0.75
    found = interpolated(values, mask, grid)
    for image in range(3):
        for place in np.ndindex(grid):
            if not mask[image][place]:
                assert found[image][place] == np.float32(values[image][place])
                continue
            visible = np.argwhere(~mask[image])
            weights = 1 / np.square(visible - place).sum(axis=1) ** 2
            expected = weights @ values[image][~mask[image]] / weights.sum()
            np.testing.assert_allclose(found[image][place], expected, atol=1e-6)  # float32 sums of numbers near 1


def test_hidden_values_play_no_part_and_one_visible_patch_is_enough():
    mask = np.ones((2, 24 * 24))
    mask[:, 17] = 0
    values = np.random.default_rng(0).normal(size=(2, 24 * 24)) * 1e30
    values[:, 17] = 3, -2
    np.testing.assert_allclose(interpolated(values, mask, (24, 24)).reshape(2, -1).T, [[3, -2]] * 576, rtol=1e-6)
