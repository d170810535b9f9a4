"""What no model can be made of is refused by its argument's name."""

import math

import pytest

from keras_mae.models import MAEDecoder, ViTEncoder

SMALL = {"image_shape": (8, 8, 3), "patch_size": 4, "hidden_dim": 8, "num_layers": 1, "num_heads": 2}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_shape": (0, 0, 3)}, "the image's height is a positive integer, got 0"),
        ({"image_shape": (8, -8, 3)}, "the image's width is a positive integer, got -8"),
        ({"image_shape": (8, 8, 0)}, "channels is a positive integer, got 0"),
        ({"image_shape": (8.0, 8, 3)}, "the image's height is a positive integer, got 8.0"),
        ({"patch_size": 0}, "a patch size is a positive integer"),
        ({"hidden_dim": -3}, "hidden_dim is a positive integer, got -3"),
        ({"num_layers": 0}, "num_layers is a positive integer, got 0"),
        ({"num_heads": 0}, "num_heads is a positive integer, got 0"),
        ({"num_heads": True}, "num_heads is a positive integer, got True"),
        ({"mlp_dim": 0}, "mlp_dim is a positive integer, got 0"),
        ({"drop_path_rate": -0.1}, r"a drop path rate lies in \[0, 1\), got -0.1"),  # the first of one block has rate 0
        ({"drop_path_rate": math.nan}, "a drop path rate lies in"),
        ({"position_temperature": 0.0}, "the temperature of position embeddings is above 0, got 0.0"),
        ({"layer_norm_epsilon": -1e-6}, "the epsilon of a LayerNorm is above 0, got -1e-06"),
    ],
)
def test_encoder(arguments, message):
    with pytest.raises(ValueError, match=message):
        ViTEncoder(**{**SMALL, **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hidden_dim": 0}, "hidden_dim is a positive integer, got 0"),
        ({"num_layers": -1}, "num_layers is a positive integer, got -1"),
        ({"num_heads": 0}, "num_heads is a positive integer, got 0"),
        (
            {"hidden_dim": 10, "num_heads": 4},
            "hidden_dim must be divisible by num_heads: got hidden_dim=10 and num_heads=4",
        ),
    ],
)
def test_decoder(arguments, message):
    with pytest.raises(ValueError, match=message):
        MAEDecoder(**arguments)
