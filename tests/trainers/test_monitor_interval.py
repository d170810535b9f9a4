"""How often an evaluation pays."""

import pytest

from keras_mae.masking import RandomMasking
from keras_mae.models import CrossDecoder, MAEDecoder, MaskedAutoencoder
from keras_mae.trainers.monitor_interval import cost_in_epochs, image_costs, interval
from tests.base import small_encoder, small_mae, small_simmim


@pytest.mark.parametrize(
    ("cost", "epochs", "every"),
    [
        (0.019, 100, 1),
        (0.02, 100, 1),  # 100 evaluations cost 2 epochs of 100
        (0.021, 100, 2),
        (0.3, 100, 17),  # 6 evaluations, the last one after epoch 100, cost 1.8 epochs
        (0.3, 95, 16),
        (0.9, 100, 50),
        (1.1, 100, 100),  # the last epoch alone
        (2.1, 100, 0),
        (0.47, 42, 42),
        (0.1, 3, 0),
    ],
)
def test_evaluations_cost_at_most_two_percent_of_what_is_counted(cost, epochs, every):
    assert interval(cost, epochs) == every
    if every:
        assert len({*range(every, epochs + 1, every), epochs}) * cost <= 0.02 * epochs + 1e-9


def test_the_count_by_hand():
    """6 patches and a class token, 16 wide, one layer; a decoder 12 wide; half of the patches is masked."""
    mae = small_mae()
    encoder, decoder = mae.encoder.count_params(), mae.decoder.count_params()
    encoded = 7 * encoder + 2 * 16 * 7**2
    trained = 3 * (4 * encoder + 2 * 16 * 4**2 + 7 * decoder + 2 * 12 * 7**2)
    assert image_costs(mae) == (encoded, trained)
    # 30 images, of 120 in an epoch, and ten steps of 40
    assert cost_in_epochs(mae, 30, steps=40, batch_size=3) == pytest.approx(encoded / trained / 4 + 10 / 40)


@pytest.mark.parametrize(
    ("settings", "predicted"), [({}, 3), ({"predict_ratio": 0.4}, 1), ({"visible_weight": 0.1}, 6)]
)
def test_other_decoders_and_other_patches_by_hand(settings, predicted):
    """3 of 6 patches are masked; the cross decoder's keys and values come from 3 visible ones and the class token."""
    mae = make_mae(CrossDecoder(12, 2, 3, 20), **settings)
    of_memory = 2 * 2 * 12 * 16
    rest = mae.decoder.count_params() - of_memory
    decoded = predicted * rest + 4 * of_memory + 2 * 2 * 12 * predicted * 4
    encoded = 4 * mae.encoder.count_params() + 2 * 16 * 4**2
    assert image_costs(mae)[1] == 3 * (encoded + decoded)
    mae = make_mae(MAEDecoder(12, 1, 3, 20), **settings)
    tokens = 5 if predicted == 1 else 7
    decoded = tokens * mae.decoder.count_params() + 2 * 12 * tokens**2
    assert image_costs(mae)[1] == 3 * (encoded + decoded)


def make_mae(decoder, **settings):
    return MaskedAutoencoder(small_encoder(), decoder, RandomMasking(0.5), **settings)


def test_an_encoder_that_sees_mask_tokens_sees_every_patch():
    """One layer predicts, without attention."""
    simmim = small_simmim()
    encoded, trained = image_costs(simmim)
    assert trained == 3 * (encoded + 7 * simmim.decoder.count_params())
