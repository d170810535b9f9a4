"""How often an evaluation pays."""

import pytest

from keras_mae.trainers.monitor_interval import cost_in_epochs, image_costs, interval
from tests.base import small_mae, small_simmim


@pytest.mark.parametrize(
    ("cost", "epochs", "every"),
    [
        (0.029, 100, 1),
        (0.03, 100, 1),  # 100 evaluations cost 3 epochs of 100
        (0.031, 100, 2),
        (0.3, 100, 10),
        (0.3, 95, 11),  # 9 evaluations cost 2.7 of the 2.85 epochs that are allowed
        (1.0, 100, 34),  # 34, 68 and 100
        (3.0, 100, 100),  # the last epoch alone
        (3.1, 100, 0),
        (0.48, 42, 21),  # 2 of the 1.26 that are allowed
        (0.1, 3, 0),
    ],
)
def test_evaluations_cost_at_most_three_percent(cost, epochs, every):
    assert interval(cost, epochs) == every
    if every:
        assert len({*range(every, epochs + 1, every), epochs}) * cost <= 0.03 * epochs + 1e-9


def test_the_count_by_hand():
    """6 patches and a class token, 16 wide, one layer; a decoder 12 wide; half of the patches is masked."""
    mae = small_mae()
    encoder, decoder = mae.encoder.count_params(), mae.decoder.count_params()
    encoded = 7 * encoder + 2 * 16 * 7**2
    trained = 3 * (4 * encoder + 2 * 16 * 4**2 + 7 * decoder + 2 * 12 * 7**2)
    assert image_costs(mae) == (encoded, trained)
    assert cost_in_epochs(mae, images=30, epoch=120) == pytest.approx(encoded / trained / 4)


def test_an_encoder_that_sees_mask_tokens_sees_every_patch():
    """One layer predicts, without attention."""
    simmim = small_simmim()
    encoded, trained = image_costs(simmim)
    assert trained == 3 * (encoded + 7 * simmim.decoder.count_params())
