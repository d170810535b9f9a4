"""The schedules, by numbers worked out by hand and against PyTorch's."""

import keras
import numpy as np
import pytest
import torch

from keras_mae.optimizers import WarmupCosine, WarmupMultiStep


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, 0.0),
        (1, 0.2),
        (3, 0.6),
        (4, 0.8),  # 4 warm-up steps: the peak is reached at the fourth
        (10, 0.1 + 0.7 * (1 + np.sqrt(0.5)) / 2),  # a quarter of the 24 steps down: cos(pi / 4)
        (12, 0.1 + 0.7 * 3 / 4),  # a third: cos(pi / 3) = 1/2
        (16, 0.45),  # half-way: the mean of peak and minimum
        (28, 0.1),
        (1000, 0.1),
    ],
)
def test_by_hand(step, expected):
    schedule = WarmupCosine(peak=0.8, warmup_steps=4, total_steps=28, minimum=0.1)
    # float32: relative round-off of 6e-8, a few times
    np.testing.assert_allclose(schedule(step), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("warmup", [0, 1, 7])
@pytest.mark.parametrize("minimum", [0.0, 1e-5, 0.05])
def test_every_step(warmup, minimum):
    peak, total = 0.3, 40
    schedule = WarmupCosine(peak, warmup, total, minimum)
    for step in range(total + 5):
        cosine = np.cos(np.pi * min(max(step - warmup, 0) / (total - warmup), 1))
        falling = minimum + (peak - minimum) * (1 + cosine) / 2
        expected = peak * step / warmup if step < warmup else falling
        np.testing.assert_allclose(schedule(np.int64(step)), expected, rtol=1e-6, atol=1e-7 * peak)


def test_without_warmup_it_begins_at_the_peak():
    schedule = WarmupCosine(0.5, 0, 4)
    np.testing.assert_allclose([schedule(step) for step in (0, 2, 4)], [0.5, 0.25, 0], atol=1e-7)


def test_steps_of_a_long_run_are_exact():
    """800 epochs of ImageNet in batches of 256 are 4 million steps, which float32 still counts one by one."""
    schedule = WarmupCosine(1.0, 0, 4_000_000)
    for step in (1_000_000, 3_999_999):
        expected = (1 + np.cos(np.pi * step / 4e6)) / 2
        np.testing.assert_allclose(schedule(np.int64(step)), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("warmup", "total"), [(10, 10), (11, 10), (-1, 10), (0, 0)])
def test_warmup_is_shorter_than_the_run(warmup, total):
    message = f"warm-up must be shorter than the run: got {warmup} warm-up steps of {total}; train longer, or shorten"
    with pytest.raises(ValueError, match=message):
        WarmupCosine(1e-3, warmup, total)


def test_config_round_trip():
    schedule = WarmupCosine(peak=0.8, warmup_steps=4, total_steps=28, minimum=0.1)
    serialized = keras.optimizers.schedules.serialize(schedule)
    copy = keras.optimizers.schedules.deserialize(serialized)
    assert isinstance(copy, WarmupCosine) and copy.get_config() == schedule.get_config()
    assert schedule.get_config() == {"peak": 0.8, "warmup_steps": 4, "total_steps": 28, "minimum": 0.1}


def test_is_that_of_torch():
    """LinearLR to the peak, then CosineAnnealingLR, which is what timm's scheduler computes with warmup_prefix."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.8)
    schedulers = torch.optim.lr_scheduler
    reference = schedulers.SequentialLR(
        optimizer,
        [
            schedulers.LinearLR(optimizer, start_factor=1e-12, total_iters=5),
            schedulers.CosineAnnealingLR(optimizer, T_max=20, eta_min=0.05),
        ],
        milestones=[5],
    )
    schedule = WarmupCosine(peak=0.8, warmup_steps=5, total_steps=25, minimum=0.05)
    for step in range(26):
        np.testing.assert_allclose(schedule(step), optimizer.param_groups[0]["lr"], rtol=1e-5, atol=1e-7)
        optimizer.step()
        reference.step()


@pytest.mark.parametrize(
    ("step", "expected"), [(0, 0.0), (3, 0.6), (4, 0.8), (6, 0.8), (7, 0.08), (9, 0.08), (10, 0.008)]
)
def test_steps_by_hand(step, expected):
    schedule = WarmupMultiStep(peak=0.8, warmup_steps=4, milestones=(7, 10))
    np.testing.assert_allclose(schedule(step), expected, rtol=1e-6)


def test_steps_are_those_of_torch():
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.8)
    schedulers = torch.optim.lr_scheduler
    parts = [
        schedulers.LinearLR(optimizer, start_factor=1e-12, total_iters=5),
        schedulers.MultiStepLR(optimizer, milestones=[15, 18], gamma=0.3),  # counted from the end of warm-up
    ]
    reference = schedulers.SequentialLR(optimizer, parts, milestones=[5])
    schedule = WarmupMultiStep(peak=0.8, warmup_steps=5, milestones=[20, 23], factor=0.3)
    for step in range(26):
        np.testing.assert_allclose(schedule(step), optimizer.param_groups[0]["lr"], rtol=1e-5, atol=1e-7)
        optimizer.step()
        reference.step()


@pytest.mark.parametrize("milestones", [(), (3,), (7, 6), (6, 6)])
def test_milestones_come_after_warmup_and_rise(milestones):
    with pytest.raises(ValueError, match="milestones are one or more increasing steps that come after warm-up: got "):
        WarmupMultiStep(1e-3, 4, milestones)


def test_steps_config_round_trip():
    schedule = WarmupMultiStep(0.8, 4, (7, 10), 0.5)
    copy = keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(schedule))
    assert isinstance(copy, WarmupMultiStep) and copy.get_config() == schedule.get_config()
    assert schedule.get_config() == {"peak": 0.8, "warmup_steps": 4, "milestones": [7, 10], "factor": 0.5}
