"""The recipe for CIFAR: its size, its settings, and a short run from an npz of photographs of 32 x 32 pixels."""

import keras
import numpy as np
import pytest

from keras_mae.models import ImageClassifier
from keras_mae.trainers import recipes
from keras_mae.trainers.pretrain import build, pretrain
from keras_mae.trainers.settings import changed
from tests.base import without_draws
from tests.drawn import drawn
from tests.trainers.pretraining import of

CONFIG = recipes.load("mae_cifar")


def test_settings():
    """arXiv 2402.03752."""
    assert of(CONFIG, "image_size patch_size mask_ratio masking") == ((36, 36), (3, 3), 0.75, "random")
    assert of(CONFIG, "position_embedding visible_weight predict_ratio") == ("learned", 0.1, 1.0)
    assert of(CONFIG, "epochs warmup_epochs batch_size base_learning_rate") == (2000, 200, 4096, 1.5e-4)


@pytest.mark.medium
@without_draws()
@pytest.mark.parametrize("num_classes", [10, 100])
def test_size(num_classes):
    """Below 3.65 million weights, as in the paper: 12 blocks with MLPs twice as wide, 145 positions, and the head."""
    classifier = ImageClassifier(CONFIG.encoder.build("float32"), num_classes)
    dim = 192
    block = 4 * dim + (dim + 1) * 3 * dim + (dim + 1) * dim + (dim + 1) * 2 * dim + (2 * dim + 1) * dim
    stem = (3 * 3 * 3 + 1) * dim + dim + (1 + 12 * 12) * dim
    assert classifier.count_params() == stem + 12 * block + 2 * dim + (dim + 1) * num_classes < 3_650_000


@pytest.mark.medium
def test_a_short_run_from_an_npz(tmp_path):
    """On few images, with a narrow network of two blocks; all else is the recipe's."""
    np.savez(tmp_path / "images.npz", images=np.stack([drawn(32, 32, seed=number) for number in range(16)]))
    narrow = [f"{part}.{name}" for part in ("encoder", "decoder") for name in ("hidden_dim=12", "num_layers=2")]
    short = ["mlp_dim=24", "epochs=2", "warmup_epochs=1", "batch_size=8", "base_learning_rate=0.1", "jit_compile=False"]
    config = changed(CONFIG, [*narrow, *short])
    fresh = build(config)
    model = pretrain(config, f"npz:{tmp_path}/images.npz", str(tmp_path / "run"))
    saved = keras.saving.load_model(tmp_path / "run" / "model.keras")
    for one in (model, saved):
        assert (one.visible_weight, one.predict_ratio, one.encoder.grid) == (0.1, 1.0, (12, 12))
        for part in ("encoder", "decoder"):
            before, after = (np.asarray(getattr(each, part).positions.table) for each in (fresh, one))
            assert (before != after).any(axis=1).all()  # each position is learned, those of class tokens too
