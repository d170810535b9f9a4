"""The presets' exact sizes, counted by hand."""

import pytest

from keras_mae.encoders.presets import MAE_PRESETS, PIXIO_PRESETS, VIT_PRESETS
from keras_mae.masking import RandomMasking
from keras_mae.models import ImageClassifier, MAEDecoder, MaskedAutoencoder, ViTEncoder
from keras_mae.targets import PixelTarget
from tests.base import without_draws

# name: width, layers, heads, patch; arXiv 2010.11929, table 1, and 2012.12877, table 1
SIZES = {
    "vit_tiny_patch16": (192, 12, 3, 16),
    "vit_small_patch16": (384, 12, 6, 16),
    "vit_base_patch16": (768, 12, 12, 16),
    "vit_large_patch16": (1024, 24, 16, 16),
    "vit_huge_patch14": (1280, 32, 16, 14),
}

# what timm reports for the same networks with a head for 1,000 classes
WITH_HEAD = {
    "vit_tiny_patch16": 5_717_416,
    "vit_small_patch16": 22_050_664,
    "vit_base_patch16": 86_567_656,
    "vit_large_patch16": 304_326_632,
    "vit_huge_patch14": 632_045_800,
}
BIG = ("vit_large_patch16", "vit_huge_patch14")
QUICK = [name for name in SIZES if name not in BIG]

# width, layers, heads, and the millions of weights that Pixio's authors state for the files that they publish
PIXIO = {
    "pixio_vit_base_patch16": (768, 12, 12, 86),
    "pixio_vit_large_patch16": (1024, 24, 16, 303),
    "pixio_vit_huge_patch16": (1280, 32, 16, 631),
}


def block(dim):
    """Two norms, q, k and v, the projection, and an MLP four times as wide."""
    return 2 * 2 * dim + (dim + 1) * 3 * dim + (dim + 1) * dim + (dim + 1) * 4 * dim + (4 * dim + 1) * dim


def encoder_count(name):
    """`(all, trainable)`: patch projection, class token, blocks and norm; the positions are not trained."""
    dim, layers, _, patch = SIZES[name]
    trainable = (patch * patch * 3 + 1) * dim + dim + layers * block(dim) + 2 * dim
    return trainable + (1 + (224 // patch) ** 2) * dim, trainable


def mae_count(name):
    """The encoder, and the decoder: embedding, mask token, 8 blocks, norm and head."""
    dim, _, _, patch = SIZES[name]
    values = patch * patch * 3
    decoder = (dim + 1) * 512 + 512 + 8 * block(512) + 2 * 512 + (512 + 1) * values
    encoder, trainable = encoder_count(name)
    return encoder + decoder + (1 + (224 // patch) ** 2) * 512, trainable + decoder


def pixio_counts(name):
    """Encoder and decoder, all of them trained: eight class tokens, and positions for them and for 16 x 16 patches."""
    dim, layers, _, _ = PIXIO[name]
    encoder = (16 * 16 * 3 + 1) * dim + 8 * dim + (8 + 256) * dim + layers * block(dim) + 2 * dim
    decoder = (dim + 1) * 512 + 512 + (8 + 256) * 512 + 32 * block(512) + 2 * 512 + (512 + 1) * 16 * 16 * 3
    return encoder, decoder


def counts(model):
    trainable = sum(variable.value.shape.num_elements() for variable in model.trainable_variables)
    return model.count_params(), trainable


def test_the_formulas_give_the_known_totals():
    assert encoder_count("vit_base_patch16") == (85_798_656, 85_647_360)
    assert mae_count("vit_base_patch16") == (111_907_840, 111_655_680)
    for name, total in WITH_HEAD.items():
        assert encoder_count(name)[0] + (SIZES[name][0] + 1) * 1000 == total


@without_draws()
def test_every_preset_has_its_size():
    assert list(VIT_PRESETS) == list(SIZES)
    for name, (dim, layers, heads, patch) in SIZES.items():
        encoder = ViTEncoder.from_preset(name, num_layers=1)
        assert VIT_PRESETS[name]["num_layers"] == layers
        assert (encoder.hidden_dim, encoder.num_heads, encoder.patch_size) == (dim, heads, (patch, patch))
        assert encoder.mlp_dim == 4 * dim and encoder.image_shape == (224, 224, 3)
        # one block instead of all: the big ones are counted without being made
        missing = (layers - 1) * block(dim)
        assert counts(encoder) == tuple(count - missing for count in encoder_count(name))


@pytest.mark.medium
@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in BIG)])
@without_draws()
def test_parameters(name):
    mae = MaskedAutoencoder.from_preset(f"mae_{name}")
    assert counts(mae) == mae_count(name)
    assert counts(mae.encoder) == encoder_count(name)
    decoder = mae.decoder
    assert (decoder.hidden_dim, decoder.num_layers, decoder.num_heads, decoder.mlp_dim) == (512, 8, 16, 2048)
    assert mae.masking.mask_ratio == 0.75


@pytest.mark.medium
@pytest.mark.parametrize("name", PIXIO)
@without_draws()
def test_pixio(name):
    """Of one block: the others are counted."""
    assert list(PIXIO) == list(PIXIO_PRESETS)
    dim, layers, heads, millions = PIXIO[name]
    in_encoder, in_decoder = pixio_counts(name)
    assert round(in_encoder / 1e6) == millions
    assert PIXIO_PRESETS[name]["num_layers"] == layers
    mae = MaskedAutoencoder.from_preset(name, num_layers=1)
    encoder, decoder = mae.encoder, mae.decoder
    assert counts(encoder) == (in_encoder - (layers - 1) * block(dim),) * 2
    assert counts(decoder) == (in_decoder,) * 2
    assert (encoder.image_shape, encoder.grid, encoder.num_prefix_tokens) == ((256, 256, 3), (16, 16), 8)
    assert (encoder.num_heads, encoder.mlp_dim) == (heads, 4 * dim)
    assert (decoder.hidden_dim, decoder.num_layers, decoder.num_heads, decoder.mlp_dim) == (512, 32, 16, 2048)
    assert mae.masking.get_config() == {"unit": 64, "mask_ratio": 0.75} and mae.masking.unit_patches == (4, 4)
    assert mae.num_visible() == 64 and mae.target.normalize  # 4 of 16 units


def test_a_part_that_is_given_replaces_the_preset_s():
    small = {"image_shape": (16, 16, 3), "patch_size": 4, "hidden_dim": 16, "num_layers": 1, "num_heads": 2}
    parts = {"decoder": MAEDecoder(8, 1, 2), "masking": RandomMasking(0.5), "target": PixelTarget()}
    mae = MaskedAutoencoder.from_preset("pixio_vit_base_patch16", **parts, seed=3, **small)
    assert (mae.decoder, mae.masking, mae.target, mae.seed) == (*parts.values(), 3)
    assert mae.encoder.num_prefix_tokens == 8 and mae.encoder.positions.table.trainable
    with pytest.raises(ValueError, match="units of 64 pixels, 16 x 16 patches, do not fill a grid of 4 x 4 patches"):
        MaskedAutoencoder.from_preset("pixio_vit_base_patch16", parts["decoder"], **small)
    assert all(
        preset.target == {} and "unit" not in preset.masking for name, preset in MAE_PRESETS.items() if "mae_" in name
    )
    plain = MaskedAutoencoder.from_preset("mae_vit_tiny_patch16", MAEDecoder(8, 1, 2), **small)
    assert type(plain.masking) is RandomMasking and not plain.target.normalize


@without_draws()
def test_classifier_parameters():
    classifier = ImageClassifier.from_preset("vit_base_patch16", num_classes=1000, num_layers=1)
    assert classifier.count_params() + 11 * block(768) == 86_567_656


def test_overrides_replace_the_presets_arguments():
    encoder = ViTEncoder.from_preset("vit_tiny_patch16", image_shape=(32, 32, 1), patch_size=4, num_layers=1)
    assert encoder.grid == (8, 8) and encoder.num_layers == 1 and encoder.hidden_dim == 192
    assert ViTEncoder.from_preset("vit_tiny_patch16", hidden_dim=48, num_layers=1).mlp_dim == 192
    small = {"image_shape": (8, 8, 1), "patch_size": 4, "num_layers": 1, "dtype": "mixed_bfloat16"}
    mae = MaskedAutoencoder.from_preset("mae_vit_tiny_patch16", decoder=MAEDecoder(8, 1, 2), seed=3, **small)
    assert mae.decoder.hidden_dim == 8 and mae.seed == 3 and mae.encoder.compute_dtype == "bfloat16"
    assert ImageClassifier.from_preset("vit_tiny_patch16", 5, "cls", **small).pooling == "cls"


def test_unknown_presets():
    with pytest.raises(ValueError, match="no preset is called 'vit_bse_patch16'.*did you mean vit_base_patch16"):
        ViTEncoder.from_preset("vit_bse_patch16")
    with pytest.raises(ValueError, match=r"no preset is called 'zzz'; there are: vit_tiny_patch16, "):
        ViTEncoder.from_preset("zzz")
    for name in ("vit_base_patch16", "mae_vit_giant"):
        with pytest.raises(ValueError, match="no MaskedAutoencoder preset .* There are: mae_vit_tiny_patch16, "):
            MaskedAutoencoder.from_preset(name)
