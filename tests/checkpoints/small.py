"""Small models of ours with two blocks on a 2 x 3 grid, every weight random."""

from keras_mae.models import ImageClassifier, MAEDecoder, MaskedAutoencoder, ViTEncoder
from tests.base import fill_randomly


def small_encoder(image_shape=(8, 12, 3), patch_size=4, seed=1, **overrides):
    sizes = {"hidden_dim": 16, "num_layers": 2, "num_heads": 2, "mlp_dim": 24}
    return fill_randomly(ViTEncoder(image_shape, patch_size, **{**sizes, **overrides}), seed)


def small_mae(seed=1, decoder=None, **overrides):
    sizes = {"hidden_dim": 12, "num_layers": 1, "num_heads": 3, "mlp_dim": 20}
    mae = MaskedAutoencoder(small_encoder(**overrides), MAEDecoder(**{**sizes, **(decoder or {})}))
    return fill_randomly(mae, seed)


def small_classifier(pooling="cls", num_classes=5, num_trainable_layers=None, seed=1, **overrides):
    classifier = ImageClassifier(small_encoder(**overrides), num_classes, pooling, num_trainable_layers)
    return fill_randomly(classifier, seed)
