"""Small models of ours with two blocks on a 2 x 3 grid, every weight random."""

from keras_mae.models import ImageClassifier, MAEDecoder, MaskedAutoencoder, ViTEncoder
from tests.base import fill_randomly, without_draws, without_keys


@without_draws()
def small_encoder(image_shape=(8, 12, 3), patch_size=4, seed=1, **overrides):
    sizes = {"hidden_dim": 16, "num_layers": 2, "num_heads": 2, "mlp_dim": 24}
    return fill_randomly(ViTEncoder(image_shape, patch_size, **{**sizes, **overrides}), seed)


@without_draws()
def vit_encoder(arguments, seed=1):
    """A `ViTEncoder`, every weight random but the biases of keys, if it has none."""
    encoder = fill_randomly(ViTEncoder(**arguments), seed)
    for block in encoder.blocks if encoder.qkv_bias and not encoder.key_bias else ():
        block.attention.qkv.bias.assign(without_keys(block.attention.qkv.bias.numpy()))
    return encoder


@without_draws()
def small_mae(seed=1, decoder=None, **overrides):
    sizes = {"hidden_dim": 12, "num_layers": 1, "num_heads": 3, "mlp_dim": 20}
    mae = MaskedAutoencoder(small_encoder(**overrides), MAEDecoder(**{**sizes, **(decoder or {})}))
    return fill_randomly(mae, seed)


@without_draws()
def small_classifier(pooling="cls", num_classes=5, num_trainable_layers=None, seed=1, **overrides):
    classifier = ImageClassifier(small_encoder(**overrides), num_classes, pooling, num_trainable_layers)
    return fill_randomly(classifier, seed)
